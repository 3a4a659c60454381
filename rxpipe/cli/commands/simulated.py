"""The subject of ``rxpipe simulate`` and ``rxpipe advise``: a config's pipeline, and the source of its calls."""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from rxpipe.cli.commands.imports_only import no_bytecode
from rxpipe.cli.commands.overrides import overridden, with_settings
from rxpipe.cli.commands.server_option import ServerOption, server_option
from rxpipe.config import Config, load_config
from rxpipe.config.build import pipeline_of
from rxpipe.config.error_texts import given, unknown
from rxpipe.errors import ConfigError, SinkError, StoreError
from rxpipe.foresight.calls.distributions import Distribution, parse_distribution
from rxpipe.foresight.calls.from_store import recorded
from rxpipe.foresight.calls.record import ENOUGH, RecordedRun
from rxpipe.foresight.simulation import Scenario
from rxpipe.pipeline.pipeline import Pipeline
from rxpipe.pipeline.plan import until_written
from rxpipe.screen.texts import plural
from rxpipe.store.queries.existing_store import opened, snapshot
from rxpipe.store.queries.history import runs

_LEAST = 5  # recorded calls of a stage: fewer say nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A simulation, as the command line describes it.

    Attributes:
        path: The config.
        count: How many items the source gives.
        until: How many rows are to be written.
        runs: The runs whose calls are drawn from: ``3``, ``3,4`` or ``latest``.
        database: The database of these runs.
        latency: Texts ``STAGE=DISTRIBUTION``.
        settings: Texts ``KEY=VALUE``.
        server: ``slots=N``, ``rate=N/s``, or both.
        seed: The seed of all random numbers.
        replications: How many simulations differ by chance.
    """

    path: Path
    count: int | None = None
    until: int | None = None
    runs: str | None = None
    database: str | None = None
    latency: Sequence[str] = ()
    settings: Sequence[str] = ()
    server: str | None = None
    seed: int = 0
    replications: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The subject of a simulation.

    Attributes:
        config: The config, with the requested settings.
        pipeline: The config's pipeline.
        scenario: The pipeline with the source of its calls.
        runs: The runs that calls are drawn from.
        drawn_from: The runs in words.
        notes: Assumptions besides those of the scenario.
    """

    config: Config
    pipeline: Pipeline
    scenario: Scenario
    runs: tuple[int, ...]
    drawn_from: str
    notes: tuple[str, ...]

    @property
    def as_json(self) -> Mapping[str, object]:
        """The beginning of a JSON document about the subject; ``run`` is the latest of the runs."""
        return {
            "pipeline": self.config.pipeline_name,
            "run": max(self.runs, default=None),
            "runs": list(self.runs),
        }

    def variant(self, settings: Mapping[str, object]) -> Pipeline:
        """Returns the pipeline with other settings of the config."""
        with _leaving_nothing():
            return pipeline_of(self.config.with_settings(settings))


def subject_of(request: Request) -> Subject:
    """Load a config and the calls of its latest run. Imports the stages, and changes nothing.

    Raises:
        ConfigError: The config cannot be simulated, or an option cannot be used.
    """
    as_it_is = load_config(request.path)
    config = with_settings(as_it_is, request.settings)
    latency = _latencies(request.latency, [stage.name for stage in config.stages])
    server = ServerOption() if request.server is None else server_option(request.server)
    with _leaving_nothing():
        pipeline = pipeline_of(config)
        before = pipeline_of(as_it_is)  # the record is of a run with these settings
    until = config.until if request.until is None else request.until
    try:
        until_written(pipeline, until)
    except ValueError as error:
        raise ConfigError(f"--until: {error}") from None
    numbers, record = _recorded(request, config, latency)
    if record is not None:
        _check_samples(record, numbers, config, latency)
    count = _known_length(config) if request.count is None else request.count
    if count is None and until is None and (record is None or not record.roots):
        raise ConfigError("how many items? The source is not read to find out: give --count")
    scenario = Scenario.of(
        before, count=count, until=until, record=record, latency=latency, slots=server.slots, rate=server.rate
    )
    return Subject(
        config=config,
        pipeline=pipeline,
        scenario=scenario.with_pipeline(pipeline),
        runs=numbers,
        drawn_from=f"calls are drawn from {_named(numbers)}"
        if numbers
        else "all calls are drawn from the latencies given",
        notes=(*_notes(config, latency, record, is_counted=count is not None or until is not None), *server.notes),
    )


@contextmanager
def _leaving_nothing() -> Generator[None]:
    """Send the modules' output to standard error, and import them without leaving files."""
    with redirect_stdout(sys.stderr), no_bytecode():
        yield


def _known_length(config: Config) -> int | None:
    """Returns the number of items, if the config itself says it."""
    source = config.source
    if source.rows is not None:
        return len(source.rows) or None  # without rows, submitted items only
    return None if source.range is None else len(source.range.ids())


def _latencies(texts: Sequence[str], names: Sequence[str]) -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    for text in texts:
        name, equals, distribution = (part.strip() for part in text.partition("="))
        if not equals:
            allowed = "STAGE=DISTRIBUTION, like answering=lognormal(median=2.1, p95=6)"
            raise ConfigError(f"--latency: {given(text, allowed)}")
        if name not in names:
            raise ConfigError(f"--latency: {unknown(f'no stage is called {name!r}', name, names)}")
        if name in found:
            raise ConfigError(f"--latency: {name}: given twice; allowed: once for each stage")
        try:
            found[name] = parse_distribution(distribution)
        except ConfigError as error:
            raise ConfigError(f"--latency: {name}: {error}") from None
    return found


def _recorded(
    request: Request, config: Config, latency: Mapping[str, Distribution]
) -> tuple[tuple[int, ...], RecordedRun | None]:
    """Returns the runs to draw calls from, and the calls.

    There are none if all stages have a latency and no run is named.
    """
    missing = [stage.name for stage in config.stages if stage.name not in latency]
    is_named = request.runs is not None or request.database is not None
    if not missing and not is_named:
        return (), None
    url = config.database.url
    if request.database is not None:
        url = overridden(config, database=request.database).database.url
    try:
        with opened(url) as engine:
            numbers = _numbers(engine, config, request)
            return numbers, recorded(engine, *numbers)
    except (ConfigError, SinkError) as error:
        if is_named:
            options = {"--from": request.runs, "--database": request.database}
            said_by = " and ".join(option for option, value in options.items() if value is not None)
            raise ConfigError(f"{said_by}: {error}") from None
        raise ConfigError(
            f"stage {missing[0]}: there are no recorded calls to draw from ({error}); run the config first, for "
            f"instance with --count 50, or give --latency '{_example(missing[0])}'"
        ) from None


def _numbers(engine: Engine, config: Config, request: Request) -> tuple[int, ...]:
    """Returns the runs' numbers; by default that of the latest run of the config."""
    if request.runs is not None and request.runs != "latest":
        return tuple(map(int, request.runs.split(",")))
    with snapshot(engine) as connection:
        numbers = [one.id for one in runs(connection) if one.name == config.pipeline_name]
    if not numbers:
        raise StoreError(f"there is no run called {config.pipeline_name}")
    return (numbers[-1],)


def _named(numbers: Sequence[int]) -> str:
    """Returns ``run 3``, or ``runs 3, 4 and 5``."""
    *some, last = map(str, numbers)
    return f"runs {', '.join(some)} and {last}" if some else f"run {last}"


def _check_samples(
    record: RecordedRun, numbers: Sequence[int], config: Config, latency: Mapping[str, Distribution]
) -> None:
    for name, count in _samples(record, config, latency).items():
        if count < _LEAST:
            have = "has" if len(numbers) == 1 else "have"
            raise ConfigError(
                f"stage {name}: {_named(numbers)} {have} {plural(count, 'recorded call')} of it; needed: {_LEAST} at "
                f"least, or --latency '{_example(name)}'"
            )


def _samples(record: RecordedRun, config: Config, latency: Mapping[str, Distribution]) -> dict[str, int]:
    """Returns how many recorded calls each stage is drawn from."""
    calls = record.by_stage()
    return {stage.name: len(calls.get(stage.name, ())) for stage in config.stages if stage.name not in latency}


def _example(name: str) -> str:
    return f"{name}=lognormal(median=2.1, p95=6)"


def _notes(
    config: Config,
    latency: Mapping[str, Distribution],
    record: RecordedRun | None,
    *,
    is_counted: bool,
) -> list[str]:
    notes: list[str] = []
    if record is not None and not is_counted:
        notes.append(f"the source gives {plural(len(record.roots), 'item')}, as in the record; --count says otherwise")
    notes += [f"{name} takes {one.text} seconds, and no call of it fails" for name, one in latency.items()]
    if record is not None:
        few = {name: count for name, count in _samples(record, config, latency).items() if count < ENOUGH}
        notes += [f"{name} has {plural(count, 'recorded call')} only" for name, count in few.items()]
    return notes
