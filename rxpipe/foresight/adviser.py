"""``advise`` finds the settings that finish a run soonest, or the fewest slots that meet a deadline."""

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
"""The key of ``at_most`` that bounds all calls together."""

MOST = 200
"""The most slots of a stage that are tried, unless ``at_most`` has another bound."""

_REPLICATIONS = 12
_LEAST, _ITEMS = 4, 30_000  # with many items there are fewer replications, but never fewer than _LEAST
_TIGHTER = 1.002
_ROUNDS = 6
_BINDS = 0.9  # share of a limit in use from which a note names it
_FAR = 1.5  # times the record's calls at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A recommended change of a number of slots.

    Attributes:
        setting: The path of the setting.
        before: The slots now.
        after: The recommended slots.
        rate: Rows per second with this change and all changes before it.
        gain: How much this change adds to the rate, as a share of the rate before it.
    """

    setting: str
    before: int
    after: int
    rate: float
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The settings that ``advise`` recommends.

    ``print(recommendation)`` shows a readable summary.

    Attributes:
        settings: The recommended slots by path. Settings that stay the same are included.
        changes: The settings that change, the largest gain first.
        before: The forecast with the settings of today.
        after: The forecast with the recommended settings.
        deadline: The seconds that the run may take; None for as soon as possible.
        max_cost: What the run may cost, in the currency of the prices; None for no bound.
        meets_deadline: True if the run meets the deadline in 19 of 20 cases, or if there is no deadline.
        is_paid: True if the run probably costs no more than ``max_cost``, or if there is no ``max_cost``.
        notes: Further remarks, one sentence each.
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
        """Returns the recommendation as plain data, for JSON."""
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
    """Finds the slots of each stage that finish a run soonest, or the fewest slots that meet a deadline.

    ::

        found = advise(pipeline, count=10_000, record=record, at_most={"answering": 64, "total": 100})
        print(found)

    ``advise`` changes only slots: the concurrency of each stage, or that of the pipeline with ``per_item``. Rate limits
    and stages that adapt their own slots stay as they are. ``search.py`` describes the search.

    Args:
        pipeline: The pipeline of the run.
        deadline: The seconds that the run may take.
        max_cost: What the run may cost, in the currency of the prices.
        at_most: The most calls that may run at once. A key is the name of a stage, a tuple of names, or ``total`` for
            all stages. A stage without a bound has at most 200.
        count: See ``simulate``.
        until: See ``simulate``.
        record: See ``simulate``.
        latency: See ``simulate``.
        server_slots: See ``simulate``.
        server_rate: See ``simulate``.
        seed: See ``simulate``.
        replications: How many simulations with other random numbers give the intervals. The default is 12, or fewer if
            there are very many items.

    Returns:
        The recommended settings, with a forecast of the run before and after.

    Raises:
        ConfigError: A name in ``at_most`` is no stage, no slots can be changed, or no item gets through all stages.
            Also raised for the reasons that ``simulate`` has.
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
    """Does the same as ``advise`` for a scenario that exists already."""
    for name, value in (("deadline", deadline), ("max_cost", max_cost)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be above 0, not {value}")
    if replications is None:
        replications = max(_LEAST, min(_REPLICATIONS, _ITEMS // scenario.items))
    adviser = _Adviser(scenario, at_most or {}, seed, replications, max_cost)
    return adviser.recommendation(deadline)


class _Adviser:
    """Finds the settings for one scenario."""

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
        """Returns the recommended settings."""
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
        """Returns True if the chosen settings are faster, have fewer slots, or replace settings that exceed a bound."""
        now = self._search.trial(self._now)
        if self._search.within(self._now) != self._now or chosen.rate > now.rate * (1 + WORTH):
            return True
        return sum(chosen.slots) < sum(now.slots)

    def _within(self, fast: Trial, chosen: Trial, after: Forecast, deadline: float) -> tuple[Trial, Forecast]:
        """Returns the smallest settings that meet the deadline. The fastest settings must meet it."""
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
        """Returns the changes one by one, the largest gain first."""
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
    """Returns the slots now and the stage of each setting, by path; None stands for all stages."""
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
    """Returns how many calls the stage's executor can run at once; None if that is unknown."""
    executor = next((stage.executor for stage in pipeline.stages if stage.name == name), None)
    return executor.width if isinstance(executor, ManagedExecutor) else None
