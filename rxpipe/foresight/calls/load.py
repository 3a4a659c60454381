"""Finds how the server slows down under load, from calls that were made at different loads.

``Load`` describes the slowdown: none up to a knee, then a straight line. Calls run at the speed r(n) while n of them
run. The work of a call is the integral of r over its time: its seconds if it had run alone. The search takes the knee
and the slope for which the works of a stage's calls are most alike, by least squares of their logarithms. A load is
accepted only if it explains more than chance does (Schwarz's criterion, 1978).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rxpipe.foresight.calls.record import RecordedCall

_MOST = 3_000  # the most calls that are used
_FEW = 40  # calls: with fewer, no load is inferred
_KNEES = 24
_SLOPES = (1.0, 0.25, 0.5, 1.5)  # times 1 / knee
_FINER = (0.96, 0.98, 1.02, 1.04)
_UNEVEN = -5.0  # the prior log-likelihood of servers that do not share themselves evenly
_EVIDENCE = 8.0  # how much likelier a load must be than none, as a logarithm: high, as the best of many is taken
_UNLIKELY = 0.01  # times the likelihood of the best load: less likely loads are left out
_LEAST = 1e-9  # the least work in seconds, and the least variance


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How load slows calls down: with n running calls, each takes ``1 + slope * (n - knee)`` times as long.

    A server that shares itself evenly among its calls has a slope of ``1 / knee``.

    Attributes:
        knee: Up to this many running calls, none is slowed down.
        slope: How much slower calls become with each further call.
    """

    knee: float
    slope: float

    def speed(self, running: int) -> float:
        """Returns the speed of calls: 1 without slowdown."""
        over = running - self.knee
        return 1.0 if over <= 0 else 1 / (1 + self.slope * over)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLoad:
    """The slowdown of a server, as found from recorded calls.

    Attributes:
        load: The most likely load; None if there is no sign of a slowdown.
        others: The likely loads with their weights, ``load`` included.
        most: The most calls that ran at once.
    """

    load: Load | None = None
    others: Sequence[tuple[float, Load]] = ()
    most: int = 0

    def likely(self, share: float) -> Load | None:
        """Returns one of the likely loads. ``share`` is a random number from 0 to 1."""
        left = share * sum(weight for weight, _ in self.others)
        for weight, load in self.others:
            left -= weight
            if left <= 0:
                return load
        return self.load


def find_load(calls: Sequence[RecordedCall]) -> FoundLoad:
    """Finds how a server slows down under load.

    Args:
        calls: The calls of all stages that use the server.
    """
    calls = distinct(calls)
    levels = Levels(calls)
    good = [call for call in calls if call.ended in ("ok", "dropped", "sent_back") and call.seconds > 0]
    step = max(1, len(good) // _MOST)
    chosen = good[::step]
    if len(chosen) < _FEW:
        return FoundLoad(most=levels.most)
    sample = _Sample(levels, chosen)
    tried = {load: sample.likelihood(load) + _prior(load) for load in _coarse(levels.most)}
    best = max(tried, key=lambda load: tried[load])
    tried |= {load: sample.likelihood(load) + _prior(load) for load in _finer(best) if load not in tried}
    best = max(tried, key=lambda load: tried[load])
    if tried[best] - sample.likelihood(None) < _EVIDENCE:
        return FoundLoad(most=levels.most)
    others = [(math.exp(each - tried[best]), load) for load, each in tried.items()]
    return FoundLoad(load=best, others=[one for one in others if one[0] > _UNLIKELY], most=levels.most)


def _prior(load: Load) -> float:
    """Returns the prior log-likelihood of a load. Most servers share themselves evenly."""
    return 0.0 if math.isclose(load.slope * load.knee, 1.0) else _UNEVEN


def distinct(calls: Sequence[RecordedCall]) -> list[RecordedCall]:
    """Returns the calls; a call for many items is there once."""
    return list({(call.stage, call.began, call.seconds): call for call in calls}.values())


def _coarse(most: int) -> Iterator[Load]:
    for place in range(_KNEES):
        knee = max(1.0, most * (place + 0.5) / _KNEES)
        for slope in _SLOPES:
            yield Load(knee=knee, slope=slope / knee)


def _finer(load: Load) -> Iterator[Load]:
    """Yields loads close to another load, with the same product of slope and knee and with others."""
    for by in (1.0, *_FINER):
        knee = load.knee * by
        yield Load(knee=knee, slope=load.slope / by)
        for steeper in (0.8, 1.25):
            yield Load(knee=knee, slope=load.slope / by * steeper)


class Levels:
    """The number of running calls over time.

    Attributes:
        most: The highest number of calls that ran at once.
    """

    def __init__(self, calls: Sequence[RecordedCall]) -> None:
        changes = sorted([(call.began, 1) for call in calls] + [(call.until, -1) for call in calls])
        self.times: list[float] = []
        self.counts: list[int] = []
        count = 0
        for at, change in changes:
            count += change
            if self.times and self.times[-1] == at:
                self.counts[-1] = count
            else:
                self.times.append(at)
                self.counts.append(count)
        self.most = max(self.counts, default=0)

    def work(self, load: Load | None) -> list[float]:
        """Returns the work in seconds that a call would have done by each time, if it had run since the first time."""
        done = [0.0]
        speeds = {count: 1.0 if load is None else load.speed(count) for count in set(self.counts)}
        for place in range(1, len(self.times)):
            step = self.times[place] - self.times[place - 1]
            done.append(done[-1] + step * speeds[self.counts[place - 1]])
        return done

    def place(self, at: float) -> int:
        """Returns the index in ``times`` of the interval that contains a time."""
        return bisect_right(self.times, at) - 1


def works_of(calls: Sequence[RecordedCall], load: Load | None, levels: Levels) -> list[float]:
    """Returns the seconds that each call would have taken alone.

    Args:
        calls: Some calls of a server.
        load: How the server slows down; None if it does not.
        levels: The levels of all calls of the server.
    """
    if load is None:
        return [call.seconds for call in calls]
    done = levels.work(load)
    return [done[levels.place(call.until)] - done[levels.place(call.began)] for call in calls]


class _Sample:
    """Some calls, with their likelihood under a load."""

    def __init__(self, levels: Levels, calls: Sequence[RecordedCall]) -> None:
        self._levels = levels
        self._calls = [(levels.place(call.began), levels.place(call.until), call.stage) for call in calls]

    def likelihood(self, load: Load | None) -> float:
        """Returns the log-likelihood of the calls, up to a constant that is the same for all loads.

        The works of a stage's calls are assumed to be lognormal.
        """
        levels, done = self._levels, self._levels.work(load)
        works: defaultdict[str, list[float]] = defaultdict(list)
        total = 0.0
        for began, until, stage in self._calls:
            work = max(_LEAST, done[until] - done[began])
            works[stage].append(math.log(work))
            if load is not None:  # the density of seconds is the density of works, times the speed at the end
                seconds = levels.times[until] - levels.times[began]
                total += math.log(load.speed(levels.counts[until - 1]) * seconds / work)
        return total + sum(map(_likelihood, works.values()))


def _likelihood(logs: Sequence[float]) -> float:
    mean = sum(logs) / len(logs)
    variance = sum((one - mean) ** 2 for one in logs) / len(logs)
    return -len(logs) / 2 * math.log(max(variance, _LEAST))
