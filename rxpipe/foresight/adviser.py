"""``advise``: the settings that finish a run soonest, or the smallest that meet a deadline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rxpipe.errors import ConfigError
from rxpipe.foresight.calls.draws import Distribution
from rxpipe.foresight.calls.record import RecordedRun
from rxpipe.foresight.forecast import Forecast
from rxpipe.foresight.search import WORTH, Bound, Search, Slots, Trial
from rxpipe.foresight.simulation import Scenario, forecast_of
from rxpipe.operators.stages.adaptive import AdaptiveConcurrency
from rxpipe.operators.stages.options import is_count
from rxpipe.pipeline.pipeline import Pipeline
from rxpipe.pipeline.ports import ManagedExecutor

TOTAL = "total"
"""All calls at once, in ``at_most``."""

MOST = 200
"""Slots of a stage that are tried at most, unless ``at_most`` says otherwise."""

_REPLICATIONS = 12
_LEAST, _ITEMS = 4, 30_000  # fewer replications of many items, but so many at least
_TIGHTER = 1.002
_ROUNDS = 6
_BINDS = 0.9  # of a limit: from there on it is told
_FAR = 1.5  # times the calls at once of the record


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Another number of slots.

    Attributes:
        setting: Its path.
        before: How many there are.
        after: How many there should be.
        rate: Rows in a second with this change and those before it.
        gain: How much more that is than before this change, as a share.
    """

    setting: str
    before: int
    after: int
    rate: float
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """Which settings to take.

    ``print(recommendation)`` is a readable summary.

    Attributes:
        settings: The recommended slots by their paths, those that stay as they are included.
        changes: What differs from the settings now, what gains most first.
        before: The run as it is.
        after: The run with the recommended settings.
        deadline: Seconds that it may take; None for as soon as possible.
        max_cost: What it may cost; None for anything.
        meets_deadline: Whether it takes no longer in 19 of 20 cases; also True without a deadline.
        is_paid: Whether it probably costs no more than ``max_cost``.
        notes: What else to know, a sentence each.
        trials: How many settings were simulated.
    """

    settings: Mapping[str, int]
    changes: tuple[Change, ...]
    before: Forecast
    after: Forecast
    deadline: float | None
    max_cost: float | None
    meets_deadline: bool
    is_paid: bool
    notes: tuple[str, ...]
    trials: int

    def as_json(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {
            "settings": dict(self.settings),
            "changes": [asdict(change) for change in self.changes],
            "before": self.before.as_json(),
            "after": self.after.as_json(),
            "deadline": self.deadline,
            "max_cost": self.max_cost,
            "meets_deadline": self.meets_deadline,
            "is_paid": self.is_paid,
            "notes": list(self.notes),
            "trials": self.trials,
        }

    def __str__(self) -> str:
        lines = [
            f"{change.setting}: {change.before} to {change.after}, {change.rate:.4g} rows/s ({change.gain:+.0%})"
            for change in self.changes
        ]
        taken = [f"{one.seconds.middle:.4g} s ({one.seconds.low:.4g} to {one.seconds.high:.4g})" for one in self._both]
        lines.append(f"{taken[0]} now, {taken[1]} then" if lines else f"{taken[0]}, and no change gains anything")
        return "\n".join([*lines, self.after.advice.sentence, *self.notes])

    @property
    def _both(self) -> tuple[Forecast, Forecast]:
        return self.before, self.after


def advise(
    pipeline: Pipeline[Any, Any],
    *,
    deadline: float | None = None,
    max_cost: float | None = None,
    at_most: Mapping[str | tuple[str, ...], int] | None = None,
    count: int | None = None,
    until: int | None = None,
    record: RecordedRun | None = None,
    latency: Mapping[str, Distribution] | None = None,
    server_slots: int | None = None,
    server_rate: float | None = None,
    seed: int = 0,
    replications: int | None = None,
) -> Recommendation:
    """Look for the slots of each stage that finish a run soonest; or for the fewest that meet a deadline.

    ::

        found = advise(pipeline, count=10_000, record=record, at_most={"answering": 64, "total": 100})
        print(found)

    Only slots are changed: the concurrency of each stage, with ``per_item`` that of the pipeline. Stages that adapt
    themselves and limits stay as they are. See ``search.py`` for how it is done.

    Args:
        pipeline: What is to be run.
        deadline: Seconds that the run may take.
        max_cost: What the run may cost.
        at_most: How many calls may run at once: of a stage by its name, of several by a tuple of names, of all by
            ``total``. A stage that is not named has at most 200.
        count: See ``simulate``, as for all that follows.
        until: As there.
        record: As there.
        latency: As there.
        server_slots: As there.
        server_rate: As there.
        seed: As there.
        replications: How many simulations differ by chance, for the intervals; by default 12, or fewer of very
            many items.

    Raises:
        ConfigError: There is no stage of a name in ``at_most``, no slots can be changed, or no item gets through; or
            what ``simulate`` raises.
        ValueError: A number is out of range.
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
    return advise_of(
        scenario, deadline=deadline, max_cost=max_cost, at_most=at_most, seed=seed, replications=replications
    )


def advise_of(
    scenario: Scenario,
    *,
    deadline: float | None,
    max_cost: float | None,
    at_most: Mapping[str | tuple[str, ...], int] | None,
    seed: int,
    replications: int | None = None,
) -> Recommendation:
    """The same for a scenario that is prepared."""
    for name, value in (("deadline", deadline), ("max_cost", max_cost)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be above 0, not {value}")
    if replications is None:
        replications = max(_LEAST, min(_REPLICATIONS, _ITEMS // scenario.items))
    adviser = _Adviser(scenario, at_most or {}, seed, replications, max_cost)
    return adviser.recommendation(deadline)


class _Adviser:
    """Looks for the settings of one scenario."""

    def __init__(
        self,
        scenario: Scenario,
        at_most: Mapping[str | tuple[str, ...], int],
        seed: int,
        replications: int,
        max_cost: float | None,
    ) -> None:
        self._scenario, self._seed, self._replications, self._max_cost = scenario, seed, replications, max_cost
        self._settings = _settings(scenario.pipeline)
        if not self._settings:
            raise ConfigError("all stages adapt their slots themselves: there are none to change")
        self._now: Slots = tuple(now for now, _ in self._settings.values())
        self._at_most = at_most
        self._before = self._forecast(scenario)
        if not self._before.written.middle:
            raise ConfigError("no item gets through all stages in a simulation: there is nothing to advise")
        stages = {path: stage for path, (_, stage) in self._settings.items()}
        bounds = _bounds(scenario.pipeline, list(stages.values()), at_most)
        most_cost = math.inf if max_cost is None else max_cost / self._before.written.middle
        self._search = Search(scenario, stages, bounds, seed=seed, most_cost=most_cost)

    def recommendation(self, deadline: float | None) -> Recommendation:
        """What to do."""
        fast = self._search.fastest(self._now)
        chosen = self._search.smallest(fast, fast.rate * (1 - WORTH))
        after = self._forecast_of(chosen.slots)
        if deadline is not None and after.seconds.high <= deadline:
            chosen, after = self._within(fast, chosen, after, deadline)
        elif deadline is None and not self._is_worth_it(chosen):
            chosen, after = self._search.trial(self._now), self._before
        changes = self._changes(chosen)
        meets = deadline is None or after.seconds.high <= deadline
        return Recommendation(
            settings=dict(zip(self._settings, chosen.slots, strict=True)),
            changes=changes,
            before=self._before,
            after=after,
            deadline=deadline,
            max_cost=self._max_cost,
            meets_deadline=meets,
            is_paid=self._max_cost is None or after.cost.middle <= self._max_cost,
            notes=tuple(self._notes(chosen, after, deadline)),
            trials=self._search.trials,
        )

    def _is_worth_it(self, chosen: Trial) -> bool:
        """Whether it is faster, or as fast with fewer slots, or those now are more than there may be."""
        now = self._search.trial(self._now)
        if self._search.within(self._now) != self._now or chosen.rate > now.rate * (1 + WORTH):
            return True
        return sum(chosen.slots) < sum(now.slots)

    def _within(self, fast: Trial, chosen: Trial, after: Forecast, deadline: float) -> tuple[Trial, Forecast]:
        """The smallest settings that meet a deadline which the fastest ones meet."""
        enough = after.written.middle / deadline
        for _ in range(_ROUNDS):
            slower = self._search.smallest(fast, min(enough, chosen.rate))
            forecast = self._forecast_of(slower.slots)
            if forecast.seconds.high <= deadline:
                return slower, forecast
            enough = max(enough * forecast.seconds.high / deadline, slower.rate * _TIGHTER)
        return chosen, after

    def _forecast_of(self, slots: Slots) -> Forecast:
        return self._forecast(self._scenario.with_pipeline(self._search.pipeline(slots)))

    def _forecast(self, scenario: Scenario) -> Forecast:
        return forecast_of(scenario, seed=self._seed, replications=self._replications)

    def _changes(self, chosen: Trial) -> tuple[Change, ...]:
        """One after the other, what gains most first."""
        paths, slots = list(self._settings), self._now
        left = [place for place, count in enumerate(chosen.slots) if count != slots[place]]
        found: list[Change] = []
        while left:
            before = self._search.trial(slots)
            tried = {place: (*slots[:place], chosen.slots[place], *slots[place + 1 :]) for place in left}
            place = max(left, key=lambda place: self._search.trial(tried[place]).rate)
            rate = self._search.trial(tried[place]).rate
            found.append(
                Change(
                    setting=paths[place],
                    before=slots[place],
                    after=chosen.slots[place],
                    rate=rate,
                    gain=rate / before.rate - 1 if before.rate > 0 else 0.0,
                )
            )
            slots = tried[place]
            left.remove(place)
        return tuple(found)

    def _notes(self, chosen: Trial, after: Forecast, deadline: float | None) -> list[str]:
        notes: list[str] = []
        if deadline is not None and after.seconds.high > deadline:
            notes.append(f"no settings meet the deadline of {deadline:g} s: these come nearest")
        if self._max_cost is not None and after.cost.middle > self._max_cost:
            notes.append(
                f"the run costs {after.cost.middle:.4g}, more than {self._max_cost:g}, whatever the settings: fewer "
                "items cost less"
            )
        if self._max_cost is not None and not after.cost.high:
            notes.append("no call tells what it costs: the bound of the cost bounds nothing")
        notes += [
            f"the limit of {limit.name} is {limit.used.middle:.0%} used: more slots gain nothing while it stays"
            for limit in after.limits
            if limit.used.middle >= _BINDS
        ]
        stages = list(zip(self._settings.values(), chosen.slots, strict=True))
        notes += [
            f"{name or 'the pipeline'} has {count} slots, the most that are tried unless a bound says otherwise"
            for (_, name), count in stages
            if count == MOST and not self._at_most
        ]
        most, calls = self._scenario.load.most, sum(chosen.slots)
        if most and calls > _FAR * most:
            notes.append(
                f"the record has {most} calls at once, and these settings have up to {calls}: nobody has seen how the "
                "server does then, so go there in steps"
            )
        names = [stage.name for stage in self._scenario.pipeline.stages if _adapts(stage.concurrency)]
        return [*notes, *(f"{name} adapts its slots itself, and stays as it is" for name in names)]


def _settings(pipeline: Pipeline[Any, Any]) -> dict[str, tuple[int, str | None]]:
    """The settings by their paths: how many slots there are now, and of which stage; None for all."""
    if pipeline.strategy == "per_item":
        return {"concurrency": (int(pipeline.concurrency), None)}
    return {
        f"stages.{stage.name}.concurrency": (int(stage.concurrency or pipeline.concurrency), stage.name)
        for stage in pipeline.stages
        if not isinstance(stage.concurrency, AdaptiveConcurrency)
    }


def _adapts(concurrency: object) -> bool:
    return isinstance(concurrency, AdaptiveConcurrency)


def _bounds(
    pipeline: Pipeline[Any, Any], names: Sequence[str | None], at_most: Mapping[str | tuple[str, ...], int]
) -> list[Bound]:
    found: list[Bound] = []
    known = [stage.name for stage in pipeline.stages]
    for name, most in at_most.items():
        if not (is_count(most) and most >= 1):
            raise ValueError(f"at_most: {name}: {most!r} is no whole number of at least 1")
        stages = name if isinstance(name, tuple) else tuple(known) if name == TOTAL and name not in known else (name,)
        if unknown := [one for one in stages if one not in known]:
            raise ConfigError(f"at_most: there is no stage {unknown[0]!r}; there are {', '.join(known)} and {TOTAL}")
        places = frozenset(place for place, stage in enumerate(names) if stage is None or stage in stages)
        if most < len(places):
            raise ConfigError(f"at_most: {most} for {name} is too few: {len(places)} stages take one each")
        if places:
            found.append(Bound(places, most))
    bounded = {place for bound in found for place in bound.places}
    for place, stage in enumerate(names):
        width = _width(pipeline, stage)
        if place not in bounded or width is not None:
            found.append(Bound(frozenset({place}), width or MOST))
    return found


def _width(pipeline: Pipeline[Any, Any], name: str | None) -> int | None:
    """How many calls the stage's executor can run at once, if it is known."""
    executor = next((stage.executor for stage in pipeline.stages if stage.name == name), None)
    return executor.width if isinstance(executor, ManagedExecutor) else None
