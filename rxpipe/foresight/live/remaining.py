"""Estimates how long a live run still takes, and what it will have cost.

A few simulations continue from where the run stands. In half of them the calls of a stage take a standard deviation
longer than so far, in the other half a standard deviation less. The middle of their results is the estimate, and their
spread is its interval. If many items are to come, only some hundreds are simulated, and their rate extends the
steady part. If many items are in flight, there are fewer simulations, as each must take all of these items to the end.

The run's recent rate is a check. If the run goes slower than the simulations, the reason is unknown to them: a slow
source, a slow database, or a busy processor. The estimate then assumes that the run goes on like that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from rxpipe.foresight.live.present import Present, present_of
from rxpipe.foresight.live.rest import Bounds, Rest, simulated_rest
from rxpipe.insight.interval import Interval
from rxpipe.insight.outlook import Outlook
from rxpipe.insight.snapshot import Snapshot
from rxpipe.insight.window import History, Window, settled
from rxpipe.operators.stages.times import Standing
from rxpipe.pipeline.plan import Plan

CPU = 0.06  # processor seconds of an estimate, about
_REPLICATIONS = 8
_FEWER = ((320, 2), (160, 4))  # (items in flight, replications): the replications with more items than that
_TIMES = 1.645  # standard deviations of an interval: the 95% quantile
_PER_ITEM = 100e-6  # processor seconds per item before the first measurement: rather too many
_LEARNS = 0.3  # weight of the latest measurement
_LEAST_NEW, _MOST_NEW = 40, 1_000
_LEAST_OFF = 0.02  # the least standard deviation of what simulations do not know, as a share
_MOST_DOUBT = 1.0
_TINY = 1e-9
_KEPT = 0.4  # weight of the previous estimate, as a few simulations scatter
_ENOUGH = 100  # items: a rate of fewer is no check
_CALLS = 200  # calls in each stage from which their recent behaviour is known
_EVENLY = 0.3  # error of the count of items that came, as a share of the items in flight


class Remaining:
    """Estimates what is left of one run, repeatedly. Not thread-safe."""

    def __init__(self, plan: Plan, *, total: int | None = None, seed: int = 0) -> None:
        """Prepares estimates of a run.

        Args:
            plan: The pipeline of the run.
            total: How many items the source has; None if unknown.
            seed: The seed of all random numbers.
        """
        self._plan = plan
        self._total = total
        self._seed = seed
        self._history = History()
        self._measured: float | None = None
        self._before: Outlook | None = None

    def cost(self, snapshot: Snapshot) -> float:
        """Returns about how many processor seconds an estimate takes."""
        replications = _replications(snapshot.in_flight)
        return replications * (snapshot.in_flight + self._most_new(snapshot.in_flight)) * self._per_item

    def estimate(
        self, snapshot: Snapshot, standing: Sequence[Standing], pause: Callable[[], object] = lambda: None
    ) -> Outlook | None:
        """Estimates what is left.

        Args:
            snapshot: The run's numbers.
            standing: The calls of each stage, at the same moment or soon after.
            pause: Called now and then during the calculation. If it raises, the calculation ends with that error.

        Returns:
            The estimate. None if none is possible yet: the server refuses all calls, or the number of items to come is
            not known.

        Raises:
            TypeError: A limiter of your own class has no ``fresh()``, so it cannot be simulated.
        """
        window = settled(self._history.add(snapshot))
        present = present_of(self._plan, snapshot, _lately(window, snapshot), standing, self._total)
        if present is None or all(one.seconds is None for one in present.calls):
            return None
        if present.missing == 0 or (present.coming == 0 and not present.in_flight):
            return _outlook(snapshot, [0.0], [0.0])
        bounds, more = self._bounds(present)
        coming = more + bounds.expected
        doubts = [
            min(_MOST_DOUBT, one.doubt(one.attempts * (coming * visits + one.called * present.in_flight)))
            for one, visits in zip(present.calls, present.visits, strict=True)
        ]
        self._seed += 1
        signs = _signs(_replications(present.in_flight))
        began = time.thread_time()
        found = [
            simulated_rest(
                self._plan,
                present,
                bounds,
                scales=[math.exp(doubt * row[place % len(row)]) for place, doubt in enumerate(doubts)],
                seed=self._seed * _REPLICATIONS + number,
                pause=pause,
            )
            for number, row in enumerate(signs)
        ]
        rests = [rest for rest in found if rest is not None]
        if len(rests) < len(found):
            return None
        self._learn(time.thread_time() - began, sum(one.items for one in rests))
        slower, off = _check(window, present, rests)
        seconds = [_seconds(one, more, slower) for one in rests]
        self._before = _outlook(snapshot, seconds, _costs(present, rests, more, doubts, signs), off, self._before)
        return self._before

    def _bounds(self, present: Present) -> tuple[Bounds, float]:
        """Returns how much to simulate, and how many further items will be taken."""
        most = self._most_new(present.in_flight)
        if present.missing is None:
            coming = present.coming or 0
            new = min(coming, most)
            return Bounds(new=new, missing=None, expected=new), coming - new
        rows = max(present.rows, 1e-3)
        needed = max(0.0, present.missing / rows - present.in_flight)
        needed = needed if present.coming is None else min(needed, present.coming)
        expected = min(round(needed), most)
        missing = present.missing if expected >= needed else round((expected + present.in_flight) * rows)
        bounds = Bounds(new=present.coming, missing=max(1, missing), expected=expected)
        return bounds, needed - expected

    def _most_new(self, in_flight: int) -> int:
        """Returns the most new items to simulate."""
        if self._plan.strategy == "staged":
            return _MOST_NEW  # the rate of stages that have not begun is not known
        afford = int(CPU / _replications(in_flight) / self._per_item) - in_flight
        return max(_LEAST_NEW, min(_MOST_NEW, afford))

    @property
    def _per_item(self) -> float:
        return _PER_ITEM if self._measured is None else self._measured

    def _learn(self, cpu: float, items: int) -> None:
        now = cpu / max(1, items)
        self._measured = now if self._measured is None else self._measured + _LEARNS * (now - self._measured)


def _replications(in_flight: int) -> int:
    return next((fewer for many, fewer in _FEWER if in_flight > many), _REPLICATIONS)


def _signs(replications: int) -> list[list[int]]:
    """Returns for each replication which stages are slow (1) and which are fast (-1).

    The signs of a stage are a column of a Hadamard matrix. For any two stages, all four combinations are equally
    frequent, unless there are only two replications.
    """
    return [
        [-1 if (row & column).bit_count() % 2 else 1 for column in range(1, replications)]
        for row in range(replications)
    ]


def _lately(window: Window | None, snapshot: Snapshot) -> Snapshot:
    """Returns the counts since the run has gone as it goes now; those of the whole run if they are too few."""
    if window is None or any(stage.seconds.count < _CALLS for stage in window.counts.stages):
        return snapshot
    return replace(window.counts, taken=snapshot.taken)


def _check(window: Window | None, present: Present, rests: Sequence[Rest]) -> tuple[float, float]:
    """Returns how much slower items come than the simulations say, as a factor, and the factor's standard deviation.

    The simulated rate and the observed rate are weighted by how exactly they are known. A difference that chance does
    not explain is taken as something that the simulations do not know (DerSimonian and Laird, 1986).
    """
    rates = [one.rate for one in rests if one.rate is not None]
    if window is None or len(rates) < len(rests) or window.counts.taken < _ENOUGH or window.end.source.is_over:
        return 1.0, _LEAST_OFF
    taken = window.counts.taken
    simulated = sum(map(math.log, rates)) / len(rates)
    difference = simulated - math.log(taken / window.seconds)
    scatter = max((one.seconds.scatter for one in present.calls if one.seconds is not None), default=1.0)
    chance = scatter / taken + (_EVENLY * present.in_flight / taken) ** 2
    unknown = max(_LEAST_OFF**2, difference**2 - chance)
    weight = unknown / (unknown + chance)
    return math.exp(weight * difference), math.sqrt(max(_LEAST_OFF**2, weight * chance))


def _seconds(rest: Rest, more: float, slower: float) -> float:
    if rest.new == 0:
        return rest.seconds
    rate = rest.rate or rest.new / max(rest.fed, 1e-9)
    return rest.seconds - rest.fed + (rest.fed + more / rate) * slower


def _costs(
    present: Present, rests: Sequence[Rest], more: float, doubts: Sequence[float], signs: Sequence[Sequence[int]]
) -> list[float]:
    """Returns the cost of the calls that have not ended yet, for each simulation."""
    costs: list[float] = []
    for rest, row in zip(rests, signs, strict=True):
        cost = 0.0
        for place, one in enumerate(present.calls):
            calls = rest.calls[place] + more * present.visits[place] * one.attempts
            cost += calls * one.cost * math.exp(doubts[place] * row[place % len(row)])
        costs.append(cost)
    return costs


def _outlook(
    snapshot: Snapshot,
    seconds: Sequence[float],
    costs: Sequence[float],
    off: float = 0.0,
    before: Outlook | None = None,
) -> Outlook:
    spent = (snapshot.usage_before + snapshot.usage).cost
    still = None if before is None else before.later(snapshot.elapsed)
    known = None if still is None else still.seconds.middle
    to_spend = _interval(costs, _LEAST_OFF)
    cost = Interval(middle=spent + to_spend.middle, low=spent + to_spend.low, high=spent + to_spend.high)
    return Outlook(
        elapsed=snapshot.elapsed,
        seconds=_interval(seconds, off, known),
        cost=cost if cost.high > 0 else None,
        spent=spent,
    )


def _interval(values: Sequence[float], off: float, before: float | None = None) -> Interval:
    """Returns the middle of some numbers and their spread, by their logarithms.

    Args:
        values: The numbers, 0 or more.
        off: A further standard deviation, as a share.
        before: The previous estimate; None if there is none.
    """
    if max(values) <= 0:
        return Interval(middle=0.0, low=0.0, high=0.0)
    logs = [math.log(max(_TINY, one)) for one in values]
    middle = sum(logs) / len(logs)
    spread = math.sqrt(sum((one - middle) ** 2 for one in logs) / max(1, len(logs) - 1) + off**2)
    if before and abs(math.log(before) - middle) < spread:
        middle += _KEPT * (math.log(before) - middle)
    wide = _TIMES * spread
    return Interval(middle=math.exp(middle), low=math.exp(middle - wide), high=math.exp(middle + wide))
