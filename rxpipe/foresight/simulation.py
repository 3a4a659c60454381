"""``simulate`` runs the same pipeline in virtual time, and draws its calls instead of making them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reactivex import Observer

from rxpipe.errors import ConfigError, StopRun
from rxpipe.foresight.calls.chance import share_of
from rxpipe.foresight.calls.draws import Distribution, StageDraws, drawn_from
from rxpipe.foresight.calls.load import FoundLoad, Load, find_load
from rxpipe.foresight.calls.record import RecordedRun
from rxpipe.foresight.calls.recorded_draws import assumptions, recorded_draws
from rxpipe.foresight.calls.refusals import Rate, find_rate
from rxpipe.foresight.forecast import Forecast, LimitForecast, Simulated, StageForecast
from rxpipe.foresight.virtual.copies import simulated_pipeline
from rxpipe.foresight.virtual.rare_collections import rare_collections
from rxpipe.foresight.virtual.server import Server
from rxpipe.foresight.virtual.to_the_end import endless, let_happen
from rxpipe.insight.advice import Advice
from rxpipe.insight.interval import Interval
from rxpipe.operators.core.virtual_time import VirtualTime
from rxpipe.operators.stages.durations import Durations
from rxpipe.operators.stages.options import is_count, is_number
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.pipeline import Pipeline
from rxpipe.pipeline.run.run import Run
from rxpipe.screen.texts import duration

REPLICATIONS = 30
_ITEMS = 60_000  # the most items of all simulations of a forecast together, unless _LEAST simulations have more
_SHORT = 5_000  # items of a shortened run: enough to show how its numbers vary by chance
_LEAST = 4  # the fewest simulations, however many items each has
_MANY = 5_000  # items: above this, timing every call is not needed to find what holds the run up
_LARGE = 1_009  # distance between the seeds of two simulations
_WORTH = 0.01  # share of the run time: a shorter start is not mentioned
_NEW = 10**12  # the first ID of items that are not in the record


def simulate(
    pipeline: Pipeline[Any, Any],
    *,
    count: int | None = None,
    until: int | None = None,
    record: RecordedRun | None = None,
    latency: Mapping[str, Distribution] | None = None,
    server_slots: int | None = None,
    server_rate: float | None = None,
    seed: int = 0,
    replications: int | None = None,
) -> Forecast:
    """Forecasts a run: how long it takes, what it costs, and what holds it up.

    ::

        forecast = rxpipe.simulate(pipeline, count=10_000, record=recorded("sqlite:///bank.db", 3))

    The pipeline's own stages, queues, limits, retries and strategy run in virtual time. Only the functions are
    replaced: a call takes its seconds, tokens and failure from the record, or its seconds from a distribution. Nothing
    is called, opened or waited for. The same arguments give the same forecast.

    Args:
        pipeline: The pipeline of the run. Its sink, store and listeners are left out.
        count: The number of items that the source gives. The default is the number of items in the record, or as many
            as ``until`` needs.
        until: As for ``Pipeline.run``.
        record: Calls of an earlier run of the same stages. The settings of that run do not matter.
        latency: Distributions of the seconds of calls, by the names of stages. They replace the record.
        server_slots: How many calls the server runs at once. Further calls wait in the server.
        server_rate: How many calls per second the server accepts; after a rest it accepts a second's worth at once. It
            refuses further calls for now. The default is the rate that the record shows, if it shows one.
        seed: The seed of all random numbers.
        replications: How many simulations with other random numbers give the intervals. The default is 30, or fewer if
            each simulation has very many items. These simulations have at most 5,000 items each; their numbers are
            assumed to vary in proportion.

    Raises:
        ConfigError: A name in ``latency`` is no stage, there is nothing to draw the calls of a stage from, the number
            of items is not known, or the run would fail or never end.
        ValueError: A number is out of range.
        TypeError: A limiter of your own class has no ``fresh()``, so it cannot be simulated.
    """
    scenario = Scenario.of(
        pipeline,
        count=count,
        until=until,
        record=record,
        latency=latency,
        slots=server_slots,
        rate=server_rate,
    )
    return forecast_of(scenario, seed=seed, replications=replications)


def forecast_of(scenario: Scenario, *, seed: int, replications: int | None = None) -> Forecast:
    """Returns the forecast of a scenario; see ``simulate``."""
    main = scenario.run(seed, as_recorded=True)
    short = scenario.shortened(_SHORT)
    if replications is None:
        replications = max(_LEAST, min(REPLICATIONS, _ITEMS // short.items))
    others = [short.run(seed + number + 1).simulated for number in range(replications)]
    return _forecast(scenario, main, others, seed)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """The pipeline to simulate, its items, and how its calls and its server behave.

    Attributes:
        pipeline: The pipeline.
        count: The number of items that the source gives; None for as many as the run needs.
        until: The number of rows to write; None for all.
        record: Recorded calls; None if there are none.
        given: The draws of stages that do not use the record, by the stage's name.
        timeouts: The timeout in seconds of each stage that uses the record, by the stage's name. The recorded calls may
            have had the same timeout.
        load: How the server slows down under load.
        rate: The rate beyond which the server refuses calls; None if there is no such rate.
        slots: How many calls the server runs at once.
        assumptions: What the forecast assumes, one sentence each.
    """

    pipeline: Pipeline[Any, Any]
    count: int | None
    until: int | None
    record: RecordedRun | None
    given: Mapping[str, StageDraws]
    timeouts: Mapping[str, float | None]
    load: FoundLoad
    rate: Rate | None
    slots: float
    assumptions: tuple[str, ...]
    _draws: dict[Load | None, Mapping[str, StageDraws]] = field(default_factory=dict[Any, Any])

    @classmethod
    def of(
        cls,
        pipeline: Pipeline[Any, Any],
        *,
        count: int | None,
        until: int | None,
        record: RecordedRun | None,
        latency: Mapping[str, Distribution] | None,
        slots: int | None,
        rate: float | None = None,
    ) -> Scenario:
        """Checks the arguments, and makes a scenario of them; see ``simulate``."""
        for name, number in (("count", count), ("until", until), ("server_slots", slots)):
            if number is not None and not (is_count(number) and number >= 1):
                raise ValueError(f"{name} must be a whole number of at least 1, not {number!r}")
        if rate is not None and not (is_number(rate) and 0 < rate < math.inf):
            raise ValueError(f"server_rate must be a number above 0, not {rate!r}")
        names = [stage.name for stage in pipeline.stages]
        given = dict(latency or {})
        if unknown := [name for name in given if name not in names]:
            raise ConfigError(f"there is no stage {unknown[0]!r}; the stages are {', '.join(names)}")
        load = FoundLoad() if record is None else find_load(record.calls)
        found_rate = None if record is None or rate is not None else find_rate(record.calls)
        ids = () if record is None else record.roots
        if count is None and until is None:
            if not ids:
                raise ConfigError("how many items? give count")
            count = len(ids)
        told = [] if record is None else assumptions(record, load, found_rate)
        told += [f"{stage.name}: all keys differ" for stage in pipeline.stages if stage.key is not None]
        scenario = cls(
            pipeline=pipeline,
            count=count,
            until=until,
            record=record,
            given={name: drawn_from(each) for name, each in given.items()},
            timeouts={stage.name: stage.timeout for stage in pipeline.stages if stage.name not in given},
            load=load,
            rate=found_rate if rate is None else Rate(unit="calls", rate=rate, size=max(1.0, rate)),
            slots=math.inf if slots is None else slots,
            assumptions=tuple(told),
        )
        if missing := [name for name in names if name not in scenario.draws(load.load)]:
            raise ConfigError(
                f"stage {missing[0]}: there are no recorded calls to draw from; give a run that has called it, "
                f"or its latency, such as {missing[0]}=lognormal(median=2.1, p95=6)"
            )
        return scenario

    def with_pipeline(self, pipeline: Pipeline[Any, Any]) -> Scenario:
        """Returns a copy with another pipeline. The pipeline has the same stages with other settings."""
        return replace(self, pipeline=pipeline)

    def shortened(self, most: int) -> Scenario:
        """Returns a copy with at most ``most`` items. With ``max_cost`` the scenario stays as it is."""
        if self.pipeline.max_cost is not None:
            return self
        count, until = (None if one is None else min(one, most) for one in (self.count, self.until))
        return replace(self, count=count, until=until)

    def draws(self, load: Load | None) -> Mapping[str, StageDraws]:
        """Returns the draws of each stage by its name, for a server that slows down like ``load``."""
        if load not in self._draws:
            known = {} if self.record is None else recorded_draws(self.record, self.timeouts, load)
            self._draws[load] = {**known, **self.given}
        return self._draws[load]

    @property
    def commit_seconds(self) -> float:
        """How long a row waits for others that are committed with it, in seconds."""
        return float(getattr(self.pipeline.sink, "max_seconds", 0.0))

    @property
    def startup(self) -> float:
        """Seconds from the start of a run to its first call: imports, connections, creation of the table."""
        return 0.0 if self.record is None else self.record.startup

    def told(self, seconds: float) -> tuple[str, ...]:
        """Returns the assumptions for a run that takes ``seconds`` seconds."""
        if self.startup <= _WORTH * seconds:
            return self.assumptions
        return (*self.assumptions, f"the first call begins after {duration(self.startup)}, as in the record")

    @property
    def items(self) -> int:
        """About how many items a simulation has."""
        return self.count or self.until or 1

    def run(self, seed: int, *, as_recorded: bool = False) -> Ran:
        """Simulates the scenario once.

        Args:
            seed: The seed of all random numbers.
            as_recorded: If True, items of the record get their own recorded calls. If False, calls are drawn as if
                another record had been made.
        """
        if as_recorded:
            return run_once(self, self.draws(self.load.load), self.load.load, seed)
        load = self.load.likely(share_of(seed, -5))
        draws = {
            name: one if name in self.given else one.resampled(seed * _LARGE + place)
            for place, (name, one) in enumerate(self.draws(load).items())
        }
        return run_once(self, draws, load, seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A simulation that has ended.

    Attributes:
        simulated: The numbers of the simulation.
        slots: How many slots each stage had; None for no bound.
        limits: The names of the rate limits.
        advice: What held the run up.
        stopped: Why the run stopped early, as a sentence; None if it did not.
    """

    simulated: Simulated
    slots: Sequence[int | None]
    limits: Sequence[str]
    advice: Advice
    stopped: str | None


def run_once(scenario: Scenario, draws: Mapping[str, StageDraws], load: Load | None, seed: int) -> Ran:
    """Runs a pipeline in virtual time, to its end."""
    time = VirtualTime()
    server = Server(time, load, slots=scenario.slots, rate=scenario.rate)
    pipeline = simulated_pipeline(scenario.pipeline, draws, time, server, seed)
    spans = Durations()

    def ended(outcome: Outcome[Any]) -> None:
        spans.add(outcome.seconds)

    ids = () if scenario.record is None else scenario.record.roots
    errors: list[Exception] = []
    observer = Observer[Outcome[Any]](ended, errors.append)
    run = pipeline.start(_Ids(ids, scenario.count), observer, until=scenario.until, scheduler=time)
    if scenario.items > _MANY:
        for stage in run.stages:
            stage.times.thin()
    with rare_collections():
        has_end = let_happen(time, run)
    if not has_end:
        raise ConfigError(endless(run))
    if not run.finished.done():
        stuck = next((stage for stage in run.snapshot().stages if stage.running), None)
        raise ConfigError(
            "the run would never end"
            if stuck is None
            else f"stage {stuck.name}: {stuck.running} calls are never answered, so the run would never end; give the "
            "stage a timeout"
        )
    if errors and not isinstance(errors[0], StopRun):
        raise ConfigError(f"the run would fail: {errors[0]}")
    return _ran(run, spans, scenario, f"the run would stop: {errors[0]}" if errors else None)


def _ran(run: Run, spans: Durations, scenario: Scenario, stopped: str | None) -> Ran:
    snapshot = run.snapshot()
    around = scenario.startup + scenario.commit_seconds
    seconds = max(run.seconds + around, 1e-9)
    under_way = run.seconds / max(run.seconds + scenario.startup, 1e-9)
    usage = run.usage
    ended = run.written + run.failed + run.dropped + run.expanded + run.collected
    stages = [
        {
            "busy": min(1.0, stage.busy / stage.slot_seconds * under_way) if stage.slot_seconds else 0.0,
            "calls": stage.calls,
            "failed": stage.failed,
            "dropped": stage.dropped,
        }
        for stage in snapshot.stages
    ]
    numbers = {
        "seconds": seconds,
        "first_seconds": (run.first_seconds or run.seconds) + around,
        "rate": ended / seconds,
        "item_p50": spans.quantile(0.5) or 0.0,
        "item_p95": spans.quantile(0.95) or 0.0,
        "written": run.written,
        "failed": run.failed,
        "dropped": run.dropped,
        "calls": sum(stage.calls for stage in snapshot.stages),
        "retried": sum(stage.retried for stage in snapshot.stages),
        "pushed_back": sum(stage.pushed_back for stage in snapshot.stages),
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cost": usage.cost,
        "in_flight": run.most_in_flight,
    }
    limits = [min(1.0, each.taken / (each.rate * seconds)) for each in snapshot.limiters]
    return Ran(
        simulated=Simulated(numbers=numbers, stages=stages, limits=limits),
        slots=[stage.concurrency for stage in snapshot.stages],
        limits=[each.name for each in snapshot.limiters],
        advice=run.insight().advice,
        stopped=stopped,
    )


def _forecast(scenario: Scenario, main: Ran, others: Sequence[Simulated], seed: int) -> Forecast:
    first, most = main.simulated, _bounds(scenario)
    stages = tuple(
        StageForecast(
            name=stage.name,
            slots=main.slots[place],
            **_intervals(first.stages[place], [one.stages[place] for one in others], most),
        )
        for place, stage in enumerate(scenario.pipeline.stages)
    )
    limits = tuple(
        LimitForecast(name=name, used=Interval.of([one.limits[place] for one in others], first.limits[place], most=1.0))
        for place, name in enumerate(main.limits)
    )
    return Forecast(
        count=scenario.count,
        **_intervals(first.numbers, [one.numbers for one in others], most),
        stages=stages,
        limits=limits,
        advice=main.advice,
        assumptions=(*scenario.told(first.numbers["seconds"]), *([main.stopped] if main.stopped else [])),
        simulations=len(others) + 1,
        seed=seed,
    )


def _bounds(scenario: Scenario) -> dict[str, float]:
    """Returns the upper bounds of some numbers, by name."""
    expands = any(stage.expand for stage in scenario.pipeline.stages)
    items = math.inf if scenario.count is None or expands else float(scenario.count)
    rows = items if scenario.until is None else min(items, float(scenario.until))
    return {"busy": 1.0, "written": rows, "failed": items, "dropped": items}


def _intervals(
    main: Mapping[str, float], others: Sequence[Mapping[str, float]], most: Mapping[str, float]
) -> dict[str, Any]:
    return {
        name: Interval.of([one[name] for one in others], number, most=most.get(name, math.inf))
        for name, number in main.items()
    }


class _Ids(Collection[int | str]):
    """The IDs of a simulation's items. IDs of the record come first."""

    def __init__(self, known: Sequence[int | str], count: int | None) -> None:
        self._known = known
        self._count = count

    def __len__(self) -> int:
        return _NEW if self._count is None else self._count

    def __iter__(self) -> Iterator[int | str]:
        return itertools.islice(itertools.chain(self._known, itertools.count(_NEW)), self._count)

    def __contains__(self, one: object) -> bool:
        return False
