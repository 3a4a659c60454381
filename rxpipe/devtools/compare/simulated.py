"""``compare_simulated``: the strategies side by side in virtual time. Calls no function, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reactivex import Observer

from rxpipe.config import Config
from rxpipe.config.build import pipeline_of
from rxpipe.devtools.compare.comparison import Comparison, Row
from rxpipe.devtools.compare.least_time import StagePlan, items_at_once, least_seconds
from rxpipe.devtools.compare.running import SCHEDULERS, STRATEGIES, ids_of, plans_of, with_speed_up
from rxpipe.devtools.compare.timeline import Call, Commit, StageTimeline, Timeline
from rxpipe.errors import ConfigError
from rxpipe.foresight.calls.distributions import Constant
from rxpipe.foresight.calls.record import RecordedRun
from rxpipe.foresight.simulation import Scenario
from rxpipe.foresight.virtual.copies import simulated_pipeline
from rxpipe.foresight.virtual.server import Server
from rxpipe.foresight.virtual.to_the_end import endless, let_happen
from rxpipe.operators.core.virtual_time import VirtualTime
from rxpipe.operators.errors import describe
from rxpipe.pipeline.listener import Listener
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.pipeline import Pipeline
from rxpipe.pipeline.run.strategies import Strategy
from rxpipe.pipeline.start import start
from rxpipe.pipeline.views import ItemView


def compare_simulated(
    config: Config,
    *,
    latency: Mapping[str, float],
    count: int,
    record: Callable[[], RecordedRun] | None = None,
    seed: int = 0,
) -> Comparison:
    """Simulate the config's stages over the same IDs with every strategy, and compare.

    Like ``compare``, but in virtual time: each strategy takes a fraction of a second, whatever its calls would take.
    Calls take the latencies; without any latency, as long as recorded calls. The time of the functions, the database
    and rxpipe itself is not included. So the schedulers come out alike.

    Args:
        config: The stages, their settings, and the source of IDs.
        latency: Seconds that calls take, by the name of the stage. In other stages they take no time.
        count: How many IDs to take.
        record: Returns the calls of an earlier run. Called if there is no latency.
        seed: The seed of all random draws.

    Raises:
        ConfigError: A latency or the count is out of range, or the config's stages or IDs cannot be used, or there is
            neither a latency nor a record.
        TypeError: A limiter of the user's own cannot be simulated.
    """
    pipeline = pipeline_of(config)
    plans = plans_of(config, pipeline.stages, latency)
    ids = ids_of(config, count)
    known = record() if record is not None and not latency else None
    seconds = {plan.name: Constant(plan.latency) for plan in plans} if latency else {}
    scenario = Scenario.of(pipeline, count=len(ids), until=None, record=known, latency=seconds, slots=None)
    once = {strategy: _simulated(scenario, plans, strategy, ids, seed) for strategy in STRATEGIES}
    rows = [replace(once[strategy], scheduler=scheduler) for scheduler in SCHEDULERS for strategy in STRATEGIES]
    return Comparison(
        count=len(ids), stages=plans, rows=tuple(with_speed_up(row, rows) for row in rows), simulated=True
    )


def _simulated(
    scenario: Scenario, plans: Sequence[StagePlan], strategy: Strategy, ids: Sequence[Any], seed: int
) -> Row:
    time = VirtualTime()
    load = scenario.load.load
    server = Server(time, load, slots=scenario.slots, rate=scenario.rate)
    drawn = simulated_pipeline(scenario.pipeline, scenario.draws(load), time, server, seed)
    total = items_at_once(plans)
    try:
        make: Callable[..., Pipeline[Any, Any]] = Pipeline
        pipeline = make(*drawn.stages, strategy=strategy, concurrency=total, name="simulation")
    except ValueError as error:  # the strategy does not allow a stage
        raise ConfigError(str(error)) from None
    noted = _Noted(time)
    errors: list[Exception] = []
    run = start(
        pipeline, ids, Observer[Outcome[Any]](noted.committed, errors.append), scheduler=time, listeners=[noted]
    )
    if not let_happen(time, run):
        raise ConfigError(endless(run))
    report = run.report()
    slots = tuple(total if strategy == "per_item" else plan.slots for plan in plans)
    stopped = describe(errors[0]) if errors else None
    if not run.finished.done():
        stopped = "calls that are never answered: give their stage a timeout"
    return Row(
        strategy=strategy,
        scheduler="threads",
        slots=slots,
        report=report,
        rows=len(noted.commits) if stopped else len(ids),
        expected_rows=len(ids),
        bound=least_seconds(strategy, plans, len(ids)) or None,
        speed_up=None,
        timeline=noted.timeline(report.seconds, plans, slots),
        error=stopped,
    )


class _Noted(Listener):
    """Records when calls ran and when items ended, in virtual time."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self._began: dict[tuple[ItemView, str], float] = {}
        self._calls: dict[str, list[Call]] = {}
        self.commits: list[Commit] = []

    def call_started(self, item: ItemView, stage: str) -> None:
        self._began[item, stage] = self._time.seconds

    def call_ended(self, item: ItemView, stage: str, error: BaseException | None, *, again: bool) -> None:
        call = Call(item.id, self._began.pop((item, stage)), self._time.seconds, error is None)
        self._calls.setdefault(stage, []).append(call)

    def committed(self, outcome: Outcome[Any]) -> None:
        """Record that an item has ended."""
        if outcome.status in ("written", "failed"):
            self.commits.append(Commit(outcome.id, self._time.seconds, outcome.status == "written"))

    def timeline(self, seconds: float, plans: Sequence[StagePlan], slots: Sequence[int]) -> Timeline:
        """Returns the records."""
        return Timeline(
            seconds=seconds,
            stages=tuple(
                StageTimeline(
                    name=plan.name,
                    slots=slot,
                    calls=tuple(sorted(self._calls.get(plan.name, ()), key=lambda call: call.began)),
                )
                for plan, slot in zip(plans, slots, strict=True)
            ),
            commits=tuple(self.commits),
        )
