"""Searches for the fastest settings, or for the smallest settings that are fast enough.

All settings are numbers of slots. Each trial simulates a few runs, with the same random numbers in all trials (common
random numbers), so that few runs suffice to compare two settings. The search

1. begins with capacity formulas. With D slot seconds per row (Denning and Buzen, ACM Computing Surveys 1978), X rows
per
   second need D * X slots. X grows by half until the gain is below 1% twice, or until the bounds and rate limits are
   reached,
2. raises the setting that holds the simulated run up, until the gain is below 1%,
3. changes one setting after the other (coordinate descent), then all together, until more slots gain less than 1% and
   fewer slots gain nothing. At a bound, slots move from one stage to another,
4. looks for the smallest settings that lose less than 1%: first of all settings together, then of each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rxpipe.foresight.simulation import Ran, Scenario
from rxpipe.foresight.variants import with_settings
from rxpipe.insight.advice import Advice
from rxpipe.pipeline.pipeline import Pipeline

WORTH = 0.01
"""The smallest gain that is worth a change, and the largest loss that is worth fewer slots."""

_ITEMS = 1_200  # items of all runs of a trial together
_RUNS = 4
_GROWTH = 1.5
_NOISE = 0.003  # smaller gains are noise
_STEPS = (1.5, 1.15, 1.0)  # factors by which a setting is changed, by at least 1 slot
_ROUNDS = 12
_HALVINGS = 7

Slots = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound of the slots of some settings together.

    Attributes:
        places: The places of these settings.
        most: The highest number of slots.
    """

    places: frozenset[int]
    most: int

    def room(self, slots: Slots) -> int:
        """Returns how many slots are left; below 0 if there are too many."""
        return self.most - sum(slots[place] for place in self.places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The average results of the runs with some settings.

    Attributes:
        slots: The settings.
        rate: Rows per second.
        cost: The cost of calls per row.
        demands: Slot seconds per row, for each setting.
        limits: The use of the rate limit that is used most, 0 to 1.
        busy: How busy the slots of each setting are, 0 to 1.
        advice: What holds the first run up.
    """

    slots: Slots
    rate: float
    cost: float
    demands: Sequence[float]
    limits: float
    busy: Sequence[float]
    advice: Advice


class Search:
    """Tries settings of a pipeline, each combination once."""

    def __init__(
        self,
        scenario: Scenario,
        settings: Mapping[str, str | None],
        bounds: Sequence[Bound],
        *,
        seed: int,
        most_cost: float = math.inf,
    ) -> None:
        """Creates a search without trials.

        Args:
            scenario: The scenario to simulate.
            settings: The stage of each setting, by path; None for a setting of all stages.
            bounds: The bounds of the settings.
            seed: The seed of all random numbers.
            most_cost: The highest cost of calls per row.
        """
        self._scenario = scenario.shortened(_ITEMS)
        self._runs = max(1, min(_RUNS, _ITEMS // self._scenario.items))
        self._paths = tuple(settings)
        self._stages = tuple(settings.values())
        self._names = [stage.name for stage in scenario.pipeline.stages]
        self._bounds = bounds
        self._seed = seed
        self._most_cost = most_cost
        self._trials: dict[Slots, Trial] = {}

    @property
    def trials(self) -> int:
        """How many settings were tried."""
        return len(self._trials)

    def pipeline(self, slots: Slots) -> Pipeline[Any, Any]:
        """Returns the pipeline with these settings."""
        return with_settings(self._scenario.pipeline, dict(zip(self._paths, slots, strict=True)))

    def trial(self, slots: Slots) -> Trial:
        """Simulates the settings, or returns the earlier trial of the same settings."""
        if slots not in self._trials:
            scenario = self._scenario.with_pipeline(self.pipeline(slots))
            runs = [scenario.run(self._seed + number, as_recorded=number == 0) for number in range(self._runs)]
            self._trials[slots] = self._mean(slots, runs)
        return self._trials[slots]

    def fastest(self, start: Slots) -> Trial:
        """Finds the settings with the highest rate within the bounds."""
        best, now = self._by_capacity(self.trial(start)), self.trial(self.within(start))
        best = self._climbed(now if self._gains(now, best, WORTH) else best)
        for step in _STEPS:
            best = self._descended(best, step)
        return best

    def smallest(self, fast: Trial, enough: float) -> Trial:
        """Finds the fewest slots that reach a rate.

        Args:
            fast: Settings that reach the rate.
            enough: The rate in rows per second.
        """
        must_be_paid = self._is_paid(fast)

        def reaches(slots: Slots) -> bool:
            trial = self.trial(slots)
            return trial.rate >= enough and (self._is_paid(trial) or not must_be_paid)

        low, high, best = 0.0, 2.0, fast.slots  # times the slots that the rate needs if all are always busy
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            demands = [math.ceil(demand * enough * middle) for demand in fast.demands]
            slots = tuple(max(1, min(most, need)) for most, need in zip(fast.slots, demands, strict=True))
            if reaches(slots):
                high, best = middle, slots
            else:
                low = middle
        for place in sorted(range(len(best)), key=lambda place: -best[place]):
            least, most = 0, best[place]
            while most - least > 1:
                middle_slots = (least + most) // 2
                least, most = (
                    (least, middle_slots) if reaches(_put(best, place, middle_slots)) else (middle_slots, most)
                )
            best = _put(best, place, most)
        return self.trial(best)

    def within(self, slots: Slots) -> Slots:
        """Returns the settings within the bounds that are nearest to these."""
        for bound in self._bounds:
            while bound.room(slots) < 0:
                largest = max(bound.places, key=lambda place: slots[place])
                share = bound.most / (bound.most - bound.room(slots))
                slots = _put(slots, largest, max(1, min(slots[largest] - 1, round(slots[largest] * share))))
        return slots

    def _mean(self, slots: Slots, runs: Sequence[Ran]) -> Trial:
        seconds = [max(run.simulated.numbers["seconds"], 1e-9) for run in runs]
        rows = [run.simulated.numbers["written"] for run in runs]
        per_row = max(fmean(rows), 1e-9)
        busy = [self._busy(place, runs) for place in range(len(slots))]
        return Trial(
            slots=slots,
            rate=sum(rows) / sum(seconds),
            cost=fmean(run.simulated.numbers["cost"] for run in runs) / per_row,
            demands=[share * slots[place] * fmean(seconds) / per_row for place, share in enumerate(busy)],
            limits=max(
                (fmean(each) for each in zip(*(run.simulated.limits for run in runs), strict=True)), default=0.0
            ),
            busy=busy,
            advice=runs[0].advice,
        )

    def _busy(self, place: int, runs: Sequence[Ran]) -> float:
        name = self._stages[place]
        stages = range(len(self._names)) if name is None else (self._names.index(name),)
        return fmean(sum(run.simulated.stages[stage]["busy"] for stage in stages) for run in runs)

    def _by_capacity(self, trial: Trial) -> Trial:
        """Returns the trial with the highest rate that bounds and limits allow, without slots that gain nothing."""
        rates = [_GROWTH * trial.rate / trial.limits] if trial.limits > 0 else []  # near a limit, more slots still help
        for bound in self._bounds:
            demand = sum(trial.demands[place] for place in bound.places)
            rates += [bound.most / demand] if demand > 0 else []
        most = min(rates, default=trial.rate)
        below = max(1, math.ceil(math.log(max(1.0, most / trial.rate), _GROWTH))) if trial.rate > 0 else 0
        best, without_gain = self._with_rate(trial, most / _GROWTH**below), 0
        for place in reversed(range(below)):
            larger = self._with_rate(trial, most / _GROWTH**place)
            without_gain = 0 if self._gains(larger, best, WORTH) else without_gain + 1
            best = best if without_gain else larger
            if without_gain > 1:
                break
        return best

    def _with_rate(self, trial: Trial, rate: float) -> Trial:
        return self.trial(self.within(tuple(max(1, math.ceil(demand * rate)) for demand in trial.demands)))

    def _climbed(self, best: Trial) -> Trial:
        """Raises the setting that holds the run up, as long as that gains."""
        for _ in range(_ROUNDS):
            place, to = self._advised(best)
            slots = best.slots if place is None else _put(best.slots, place, to)
            if slots == best.slots or not self._is_allowed(slots):
                return best
            trial = self.trial(slots)
            if not self._gains(trial, best, WORTH):
                return best
            best = trial
        return best

    def _advised(self, trial: Trial) -> tuple[int | None, int]:
        """Returns the place of the setting to raise, and its new value within the bounds; (None, 0) for none."""
        advice = trial.advice
        if advice.kind not in ("stage", "items"):
            return None, 0
        place = 0 if advice.kind == "items" else self._place_of(advice.name)
        if place is None:
            return None, 0
        now = trial.slots[place]
        room = min((bound.room(trial.slots) for bound in self._bounds if place in bound.places), default=now)
        return place, now + min(max(0, room), max(1, math.ceil((advice.to or now * _STEPS[0]) - now)))

    def _place_of(self, stage: str | None) -> int | None:
        return self._stages.index(stage) if stage in self._stages else None

    def _descended(self, best: Trial, step: float) -> Trial:
        """Changes one setting after the other by the factor ``step``, as long as a change gains."""
        for _ in range(_ROUNDS):
            before = best
            for place in sorted(range(len(best.slots)), key=lambda place: -best.busy[place]):
                for slots in self._neighbours(best, place, step):
                    best = self._if_better(best, slots)
            best = self._if_better(best, self.within(tuple(_grown(count, step) for count in best.slots)))
            if best is before:
                break
        return best

    def _if_better(self, best: Trial, slots: Slots) -> Trial:
        trial, is_larger = self.trial(slots), sum(slots) > sum(best.slots)
        return trial if self._gains(trial, best, WORTH if is_larger else _NOISE) else best

    def _neighbours(self, trial: Trial, place: int, step: float) -> list[Slots]:
        """Returns changes of one setting: more slots, slots moved from others if there is no room, and fewer slots."""
        slots = trial.slots
        by = _grown(slots[place], step) - slots[place]
        more, fewer = _put(slots, place, slots[place] + by), _put(slots, place, max(1, slots[place] - by))
        found = [more] if self._is_allowed(more) else []
        if not found:
            others = sorted(
                (other for other in range(len(slots)) if other != place), key=lambda other: trial.busy[other]
            )
            moved = [_put(more, other, slots[other] - by) for other in others if slots[other] > by]
            found = [one for one in moved if self._is_allowed(one)]
        return [*found, fewer] if fewer != slots else found

    def _is_allowed(self, slots: Slots) -> bool:
        return all(bound.room(slots) >= 0 for bound in self._bounds)

    def _is_paid(self, trial: Trial) -> bool:
        return trial.cost <= self._most_cost

    def _gains(self, trial: Trial, than: Trial, least: float) -> bool:
        if self._is_paid(trial) != self._is_paid(than):
            return self._is_paid(trial)
        return trial.rate > than.rate * (1 + least)


def _grown(count: int, step: float) -> int:
    return count + max(1, round(count * (step - 1)))


def _put(slots: Slots, place: int, count: int) -> Slots:
    return (*slots[:place], count, *slots[place + 1 :])
