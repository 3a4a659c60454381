"""``compare``: every strategy on every scheduler, one run after the other."""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import URL, func, select

from rxpipe.config import Config
from rxpipe.config.build import pipeline_of
from rxpipe.config.error_texts import given, unknown
from rxpipe.config.imports import describe_raised
from rxpipe.config.sources import read_source
from rxpipe.database import DatabaseSink, RowRefused
from rxpipe.database.rows import key_text
from rxpipe.database.writer import Writer
from rxpipe.devtools.compare.comparison import Comparison, Row, items_text, seconds_text
from rxpipe.devtools.compare.interrupts import Interrupts
from rxpipe.devtools.compare.least_time import StagePlan, items_at_once, least_seconds
from rxpipe.devtools.compare.recording import Recorder
from rxpipe.errors import ConfigError, RxPipeError
from rxpipe.operators import AdaptiveConcurrency
from rxpipe.operators.core.clock import running_loop
from rxpipe.operators.errors import describe
from rxpipe.pipeline.blocking import run_blocking
from rxpipe.pipeline.pipeline import Pipeline
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.run.strategies import Strategy
from rxpipe.pipeline.stage import Stage
from rxpipe.questions.seen_texts import seen_on_copies

STRATEGIES: tuple[Strategy, ...] = ("staged", "per_item", "per_stage")
SCHEDULERS: tuple[Scheduler, ...] = ("threads", "asyncio")


def compare(
    config: Config,
    *,
    latency: Mapping[str, float],
    count: int,
    progress: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Run the config's stages over the same IDs with every strategy on every scheduler, and compare.

    These are six runs, one after the other: ``staged``, ``per_item`` and ``per_stage``, on ``threads`` and on
    ``asyncio``. Stages keep their settings: slots, queues, timeouts and retries. ``staged`` and ``per_stage`` have each
    stage's slots as configured. ``per_item`` has as many items at once as there are slots in all stages together,
    whatever ``parallel_pipelines`` says: see ``items_at_once``.

    The stages' functions are called six times for each ID: mind the cost of calls. With a latency you can avoid that:
    give the config functions that return at once, such as the question bank's, and the comparison shows how calls to a
    slow model would behave. A plain function waits on its worker thread on ``threads``, and on the event loop on
    ``asyncio``, whose timers have a resolution of a millisecond. A coroutine function always waits on its loop. Without
    any latency the comparison is of overhead.

    Each run writes into a temporary SQLite database of its own, which is removed however the run ends. The config's
    database is not opened, unless its IDs are queried from there.

    Args:
        config: The stages, their settings, and the source of IDs.
        latency: Seconds by which calls are prolonged, by the name of the stage.
        count: How many IDs to take; fewer if the source ends before (a range goes on).
        progress: Called with a line of text as each run begins.

    Returns:
        The figures and timelines. Failed items are counted, and so are failed runs.

    Raises:
        ConfigError: A latency or the count is out of range, or the config's stages or IDs cannot be used.
        KeyboardInterrupt: At Ctrl-C, after the current run has been cancelled.
        RuntimeError: An event loop is running on this thread.
    """
    if running_loop() is not None:
        raise RuntimeError("compare() blocks, and an event loop is running here: use asyncio.to_thread(compare, ...)")
    stages = pipeline_of(config).stages
    for index, stage in enumerate(stages):
        if stage.executor is not None:
            text = "calls are noted in this process only; to compare, leave it out"
            raise ConfigError(f"{config.where(f'stages[{index}].executor')}: {text}")
    plans = plans_of(config, stages, latency)
    ids = ids_of(config, count)
    work = _Work(stages, plans, ids)
    rows: list[Row] = []
    ways: list[tuple[Strategy, Scheduler]] = [
        (strategy, scheduler) for scheduler in SCHEDULERS for strategy in STRATEGIES
    ]
    for number, (strategy, scheduler) in enumerate(ways, 1):
        bound = work.bound(strategy)
        least = f", at least {seconds_text(bound)}" if bound else ""
        work_text = f"{items_text(len(ids))} into a temporary database{least}"
        progress(f"{number}/{len(ways)} {strategy} on {scheduler}: {work_text}")
        rows.append(work.run(strategy, scheduler))
    return Comparison(count=len(ids), stages=plans, rows=tuple(with_speed_up(row, rows) for row in rows))


class _Work:
    """The work of every run."""

    def __init__(self, stages: Sequence[Stage], plans: Sequence[StagePlan], ids: Sequence[Any]) -> None:
        self._stages = stages
        self._plans = plans
        self._ids = ids
        self._expected_rows = len({key for item in ids if (key := _key(item)) is not None})

    def bound(self, strategy: Strategy) -> float | None:
        """Returns the least seconds that a strategy can take, if there is a latency."""
        return least_seconds(strategy, self._plans, len(self._ids)) or None

    def run(self, strategy: Strategy, scheduler: Scheduler) -> Row:
        """Do the work once, in a temporary database."""
        # Files that a second Ctrl-C leaves open must not keep the rest from being removed.
        with tempfile.TemporaryDirectory(prefix="rxpipe-compare-", ignore_cleanup_errors=True) as folder:
            database = URL.create("sqlite", database=str(Path(folder) / "questions.db"))
            recorder = Recorder(self._stages)
            pipeline = Pipeline(
                *recorder.stages(self._plans, scheduler),
                sink=recorder.sink(DatabaseSink(database)),
                listeners=[recorder.listener],
                strategy=strategy,
                scheduler=scheduler,
                concurrency=items_at_once(self._plans),
            )
            run, zero, error = _drive(pipeline, self._ids)
            rows = _rows_in(database)
        report = run.report()
        total = items_at_once(self._plans)
        slots = tuple(total if strategy == "per_item" else plan.slots for plan in self._plans)
        return Row(
            strategy=strategy,
            scheduler=scheduler,
            slots=slots,
            report=report,
            rows=rows,
            expected_rows=self._expected_rows,
            bound=self.bound(strategy),
            speed_up=None,
            timeline=recorder.timeline(zero, report.seconds, slots),
            error=error,
        )


def _key(item: Any) -> str | None:
    """Returns the key of an ID's row; None for an ID that has none."""
    try:
        return key_text(item) if isinstance(item, int | str) else None
    except RowRefused:
        return None


def _drive(pipeline: Pipeline, ids: Sequence[Any]) -> tuple[Run, float, str | None]:
    """Returns the run, when it began, and the error that it failed with."""
    started: list[tuple[Run, float]] = []
    error: str | None = None
    with seen_on_copies(), Interrupts() as interrupts:  # each run shows the texts that were there before

        def on_start(run: Run) -> None:
            started.append((run, time.perf_counter() - run.seconds))
            interrupts.watch(run)

        try:
            run_blocking(pipeline, ids, started=on_start, signals=())
        except ConfigError:
            raise  # a value that is no ID, as in all runs
        except Exception as failure:  # this run's failure, whatever it is: the other runs may do better
            if not started:
                raise
            error = describe(failure)
    if interrupts.came:
        raise KeyboardInterrupt
    ((run, zero),) = started
    return run, zero, error


def _rows_in(database: URL) -> int:
    """Returns the rows in a database, to check the report against them."""
    with Writer(database) as writer, writer.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(writer.table)).scalar_one()


def plans_of(config: Config, stages: Sequence[Stage], latency: Mapping[str, float]) -> tuple[StagePlan, ...]:
    """Returns the stages as they are compared.

    Raises:
        ConfigError: A latency is out of range, or belongs to no stage.
    """
    names = [stage.name for stage in stages]
    timeouts = {stage.name: math.inf if stage.timeout is None else stage.timeout for stage in stages}
    for name, seconds in latency.items():
        if name not in timeouts:
            raise ConfigError(f"latency: {unknown(f'there is no stage {name!r}', name, names)}")
        if not 0 <= seconds < timeouts[name]:
            allowed = f"seconds, 0 or more and below the stage's timeout of {timeouts[name]:g}"
            raise ConfigError(f"latency: {name}: {given(seconds, allowed)}")
    slots = [stage.concurrency for stage in config.resolved_stages()]
    return tuple(
        StagePlan(
            name=name,
            latency=float(latency.get(name, 0.0)),
            slots=count.most if isinstance(count, AdaptiveConcurrency) else count,
        )
        for name, count in zip(names, slots, strict=True)
    )


def ids_of(config: Config, count: int) -> list[Any]:
    """Returns the IDs of all runs, read once: the source may not give the same IDs again.

    Raises:
        ConfigError: There are no IDs, or the source cannot be read.
    """
    if count < 1:
        raise ConfigError(f"count: {given(count, 'a whole number, 1 or more')}")
    source = read_source(config, count=count)
    try:
        ids = asyncio.run(_collected(source)) if isinstance(source, AsyncIterable) else list(source)
    except Exception as error:
        if isinstance(error, RxPipeError):
            raise
        raise ConfigError(f"{config.where('source')}: it raised {describe_raised(error, config.folder)}") from error
    if not ids:
        raise ConfigError(f"{config.where('source')}: it has no IDs, so there is nothing to compare")
    return ids


async def _collected(source: AsyncIterable[Any]) -> list[Any]:
    return [item async for item in source]


def with_speed_up(row: Row, rows: Sequence[Row]) -> Row:
    """Returns the row with its speed-up over ``staged`` on the same scheduler."""
    (baseline,) = (other for other in rows if (other.strategy, other.scheduler) == ("staged", row.scheduler))
    if row.error or baseline.error or not row.report.seconds:
        return row
    return replace(row, speed_up=baseline.report.seconds / row.report.seconds)
