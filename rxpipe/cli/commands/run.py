"""``rxpipe run``."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from rxpipe.cli.commands.beside import service_of
from rxpipe.cli.commands.overrides import overridden, with_settings
from rxpipe.cli.commands.results_place import results_file, results_place, results_title
from rxpipe.cli.commands.staying import stay_of, staying_source, warn_of_default_source
from rxpipe.cli.messages import ExitCode, configure_logs, raised_text, tell_error
from rxpipe.cli.views.failures import FailureLimit, Failures
from rxpipe.cli.views.next_steps import print_next_steps
from rxpipe.cli.views.summary import print_summary
from rxpipe.config import load_config
from rxpipe.config.build import pipeline_of
from rxpipe.config.field_fits import check_source_fields
from rxpipe.config.sources import read_source
from rxpipe.database.engine import database_option
from rxpipe.errors import BudgetSpent, ConfigError, OtherPipeline, SinkError, StagesChanged
from rxpipe.foresight.live.foretelling import Foretelling
from rxpipe.pipeline.blocking import run_blocking
from rxpipe.pipeline.outcome import Report
from rxpipe.pipeline.pipeline import Pipeline
from rxpipe.pipeline.plan import until_written
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.source import Source, length
from rxpipe.questions.rehearsed import is_rehearsed, without_waits
from rxpipe.screen.figures import Meter
from rxpipe.screen.progress import Progress, progress_of
from rxpipe.screen.texts import cost, number, plural
from rxpipe.service.options import ServiceOptions
from rxpipe.store import RunStore

if TYPE_CHECKING:
    from rxpipe.cli.commands.view import RunPage
    from rxpipe.service.service import Service

_log: structlog.stdlib.BoundLogger = structlog.get_logger()
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of ``rxpipe run``. Options that are None leave the choice to the config."""

    count: int | None = None
    until: int | None = None
    settings: Sequence[str] = ()
    strategy: str | None = None
    scheduler: str | None = None
    database: str | None = None
    fresh: bool = False
    replace: bool = False
    resume: bool = False
    max_failures: str | None = None
    max_cost: float | None = None
    grace: float | None = None
    quiet: bool = False
    as_json: bool = False
    view: bool = False
    view_port: int | None = None
    stay: bool = False
    every: float | None = None
    service: ServiceOptions = field(default_factory=ServiceOptions)
    fast: bool = False


def run(path: Path, options: Options) -> ExitCode:
    """Run a config's pipeline, and show its progress and its result.

    Args:
        path: The config.
        options: The options that change the run.

    Returns:
        The exit code of the program.

    Raises:
        ConfigError: The config, an option, the source or the database cannot be used. Nothing was run.
    """
    origin = configure_logs(quiet=options.quiet, as_json=options.service.json_logs)
    config = overridden(
        with_settings(load_config(path), options.settings),
        strategy=options.strategy,
        scheduler=options.scheduler,
        database=options.database,
    )
    if options.fresh and options.resume:
        raise ConfigError("--fresh begins a new run, --resume goes on with one: give one of them")
    if (options.fresh or options.resume) and not config.durable:
        raise ConfigError(f"{'--fresh' if options.fresh else '--resume'}: this run keeps nothing to go on with")
    stays = stay_of(config, stay=options.stay, every=options.every, until=options.until)
    rehearsal = any(is_rehearsed(stage.call) for stage in config.resolved_stages())
    if options.fast and not rehearsal:
        raise ConfigError(
            "--fast leaves out the waits of rxpipe.questions.rehearsed, and no stage of this config has any"
        )
    grace = config.pipeline_config.grace if options.grace is None else options.grace
    file = results_file(config)
    was_there = file is not None and os.path.exists(file)
    max_cost, limit = (config.max_cost, "max_cost") if options.max_cost is None else (options.max_cost, "--max-cost")
    watched = _WatchedRun(options.max_failures, grace, limit, stays=stays is not None)
    # Standard output is for the results. The output of modules and functions goes where the progress goes.
    with service_of(config, options.service, origin) as service:
        if config.asks_durable and not config.durable:
            _log.warning("staged keeps nothing to go on with: every ID is called")
        if stays is not None:
            warn_of_default_source(config, count=options.count)
        pipeline = pipeline_of(
            config,
            fresh=options.fresh,
            resume=options.resume,
            replace=options.replace,
            max_cost=max_cost,
            listeners=service.listeners,
        )
        found_by = database_option(config.database.url) if options.database else f"-c {shlex.quote(str(path))}"
        if isinstance(pipeline.store, RunStore):
            pipeline.store.found_by = found_by
            pipeline.store.stay = stays
        free = [name for name, one in config.providers.items() if one.gguf is None and one.prices is None]
        if max_cost is not None and free:
            _log.warning("calls of providers without prices are free to max_cost", providers=", ".join(free))
        try:
            pipeline = until_written(pipeline, config.until if options.until is None else options.until)
        except ValueError as error:
            raise ConfigError(f"{config.where('until') if options.until is None else '--until'}: {error}") from None
        source = read_source(config, count=options.count)
        check_source_fields(config, source)
        total = length(source) if stays is None else None
        ids = source if stays is None else staying_source(config, source, every=stays, count=options.count)
        title = f"{path} · {config.strategy} on {config.scheduler} · {results_title(config)}"
        with ExitStack() as beside:
            if options.fast:
                beside.enter_context(without_waits())
            if options.view or options.view_port is not None:
                from rxpipe.cli.commands.view import RunPage  # needs the extra web

                watched.page = beside.enter_context(RunPage(config, options.view_port))
            watched.service = service
            progress = beside.enter_context(service.progress or progress_of(title, grace, quiet=options.quiet))
            known = options.count if total is None and stays is None else total
            try:
                watched.run(pipeline, ids, known, progress, beside)
            except OtherPipeline as error:
                raise ConfigError(f"{config.where('name')}: {error}") from None
            except StagesChanged as error:
                raise ConfigError(f"{config.where('stages')}: {error}") from None
            except SinkError as error:
                key = "--database" if options.database and config.output is None else config.where_results
                raise ConfigError(f"{key}: {error}") from None
    report = watched.report()
    early = None if watched.error is None or watched.budget else raised_text(watched.error, config.folder)
    stopped_by = watched.stopped_by(report)
    if max_cost is not None and report.usage.tokens and not report.usage.cost:
        _log.warning("no call told what it cost, so max_cost bounds nothing", hint="prices are the provider's")
    if early is not None:
        tell_error(f"the run ended early: {early}")
    if options.as_json:
        also = {"ended_early": early, "stopped_by": stopped_by}
        print(json.dumps({**asdict(report), **also}), flush=True)
    elif options.quiet or options.service.json_logs:
        if watched.budget:
            tell_error(f"stopped by {stopped_by}")
        if not options.service.json_logs:  # JSON logs have them in the run's last line, not as errors
            _tell_failures(report)
    else:
        what = "database" if config.output is None else "file"
        new = f" (new {what}: {file})" if file and not was_there and os.path.exists(file) else ""
        place = f"{results_place(config)}{new}"
        goes_on = f"the same command with a higher {limit}" if watched.budget else "the same command"
        print_summary(report, place, stopped_by, f" {found_by}", goes_on)
        if rehearsal and report.finished:
            print_next_steps(shlex.quote(str(path)), found_by if options.database else "")
    return watched.exit_code(report)


def _tell_failures(report: Report) -> None:
    if report.failed_before and not report.taken:
        tell_error(f"run {report.run}: {plural(report.failed_before, 'item')} failed before")
    for failed in report.errors:
        tell_error(f"{failed.stage}: {failed.text} ({plural(failed.count, 'item')})")


class _WatchedRun:
    """A run and its result."""

    def __init__(self, max_failures: str | None, grace: float, cost_limit: str, *, stays: bool) -> None:
        limit = None if max_failures is None else FailureLimit.parse(max_failures)
        self.failures = Failures(limit, self._stop)
        self._max_failures = max_failures
        self._grace = grace
        self._cost_limit = cost_limit
        self._stays = stays
        self.error: BaseException | None = None
        self._signal: signal.Signals | None = None
        self._run: Run | None = None
        self.page: RunPage | None = None
        self.service: Service | None = None

    def run(self, pipeline: Pipeline, source: Source, total: int | None, progress: Progress, beside: ExitStack) -> None:
        """Run a pipeline to its end, however it ends. Raises only if the run could not start."""

        def started(run: Run) -> None:
            self._run = run
            if self.page is not None:
                self.page.begin(run.snapshot)
            if self.service is not None:
                self.service.begin(run, pipeline)
            if not self._stays:  # the number of submitted items is unknown
                beside.enter_context(Foretelling(pipeline, run, total=total))
            expands = any(stage.expand for stage in pipeline.stages)
            progress.begin(Meter(run.snapshot, total=total, expands=expands, stays=self._stays))

        def interrupted(number: signal.Signals, count: int) -> None:
            self._signal = self._signal or number
            if self.service is not None:
                self.service.drain()
            progress.interrupted(number, count)

        try:
            run_blocking(
                pipeline,
                source,
                observer=self.failures,
                started=started,
                interrupted=interrupted,
                signals=_SIGNALS,
                grace=self._grace,
            )
        except KeyboardInterrupt as interrupt:
            if self._run is None:
                raise
            self._signal = self._signal or signal.SIGINT
            self.error = interrupt.__cause__
        except Exception as error:
            if self._run is None:
                raise
            self.error = error  # the finished work is worth showing, whatever the error is

    def _stop(self) -> None:
        if self._run is not None:
            self._run.stop()

    def report(self) -> Report:
        """Returns the report. Its counts add up also if a third Ctrl-C left items on their way."""
        assert self._run is not None  # otherwise run() has raised
        report = self._run.report()
        ended = report.written + report.failed + report.dropped + report.expanded + report.collected + report.cancelled
        left = report.taken + report.spawned - ended
        return replace(report, cancelled=report.cancelled + max(0, left))

    @property
    def budget(self) -> BudgetSpent | None:
        """The refused call that stopped the run by its cost, if nothing else stopped the run before."""
        return self.error if isinstance(self.error, BudgetSpent) and self._signal is None else None

    def stopped_by(self, report: Report) -> str | None:
        """Describe what stopped the run."""
        if self._signal is not None:
            return "Ctrl-C" if self._signal is signal.SIGINT else self._signal.name
        if self.budget is not None:
            return (
                f"{self._cost_limit} {self.budget.limit:g}: {cost(report.usage_before.cost + report.usage.cost)} spent"
            )
        if not self.failures.too_many:
            return None
        cause = report.errors[0]
        failed = f"{plural(self.failures.failed, 'item')} of {number(self.failures.ended)} failed"
        commonest = f"the commonest error, of {number(cause.count)}, in {cause.stage}: {cause.text}"
        return f"--max-failures {self._max_failures}: {failed}, {commonest}"

    def exit_code(self, report: Report) -> ExitCode:
        """Returns the exit code of the program."""
        if self._signal is not None:
            return ExitCode.TERMINATED if self._signal is signal.SIGTERM else ExitCode.INTERRUPTED
        bad = self.error is not None or self.failures.too_many
        if report.missing is None:
            bad = bad or bool(report.failed or report.cancelled or report.failed_before)
        else:  # failed items were made up for, if no row is missing
            bad = bad or report.missing > 0
        return ExitCode.FAILED if bad else ExitCode.OK
