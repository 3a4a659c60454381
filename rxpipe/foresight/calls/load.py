"""How the server slows down under load, found from calls that were made at different loads.

The slowdown is that of ``Load``: none up to a knee, then a straight line. Calls go at a speed r(n) while n of them run.
The work of a call, its seconds if it had run alone, is the integral of r over its time. The knee and the slope are
those for which the works of a stage's calls are most alike, by least squares of their logarithms. A load is only
believed in if it explains more than chance does (Schwarz's criterion, 1978).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rxpipe.foresight.calls.record import RecordedCall

_MOST = 3_000  # calls that are looked at
_FEW = 40  # calls: of fewer, no load is inferred
_KNEES = 24
_SLOPES = (1.0, 0.25, 0.5, 1.5)  # times 1 / knee
_FINER = (0.96, 0.98, 1.02, 1.04)
_UNEVEN = -5.0  # the prior logarithm of the likelihood of servers that do not share themselves evenly
_EVIDENCE = 8.0  # by so much a load must be likelier than none, as a logarithm: the best of many is taken
_UNLIKELY = 0.01  # times as likely as the likeliest: what is less is left out
_LEAST = 1e-9  # of a work in seconds, and of a variance


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How load slows calls down: with n calls running, each goes ``1 + slope * (n - knee)`` times as slowly.

    A server that shares itself evenly among its calls has a slope of ``1 / knee``.

    Attributes:
        knee: Up to so many calls, none is slowed down.
        slope: How much more slowly they go with each further call.
    """

    knee: float
    slope: float

    def speed(self, running: int) -> float:
        """How fast calls go: 1 where they are not slowed down."""
        over = running - self.knee
        return 1.0 if over <= 0 else 1 / (1 + self.slope * over)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLoad:
    """What is known of a server's load.

    Attributes:
        load: The likeliest; None if there is no sign of any.
        others: Those that are nearly as likely, with their weights, the likeliest included.
        most: The most calls that ran at once.
    """

    load: Load | None = None
    others: Sequence[tuple[float, Load]] = ()
    most: int = 0

    def likely(self, share: float) -> Load | None:
        """One of those that are likely, for a number of 0 to 1."""
        left = share * sum(weight for weight, _ in self.others)
        for weight, load in self.others:
            left -= weight
            if left <= 0:
                return load
        return self.load


def find_load(calls: Sequence[RecordedCall]) -> FoundLoad:
    """What calls say of how their server slows down under load.

    Args:
        calls: Those of all stages that the server serves.
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
    """How likely a load is before anything is known of it, as a logarithm: most servers share themselves evenly."""
    return 0.0 if math.isclose(load.slope * load.knee, 1.0) else _UNEVEN


def distinct(calls: Sequence[RecordedCall]) -> list[RecordedCall]:
    """The calls, those for many items once."""
    return list({(call.stage, call.began, call.seconds): call for call in calls}.values())


def _coarse(most: int) -> Iterator[Load]:
    for place in range(_KNEES):
        knee = max(1.0, most * (place + 0.5) / _KNEES)
        for slope in _SLOPES:
            yield Load(knee=knee, slope=slope / knee)


def _finer(load: Load) -> Iterator[Load]:
    """Loads near to another one, with the same product of slope and knee and with others."""
    for by in (1.0, *_FINER):
        knee = load.knee * by
        yield Load(knee=knee, slope=load.slope / by)
        for steeper in (0.8, 1.25):
            yield Load(knee=knee, slope=load.slope / by * steeper)


class Levels:
    """How many calls ran at each time.

    Attributes:
        most: The most that ran at once.
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
        """Seconds of work that a call has done by each time, if it had been running from the first one on."""
        done = [0.0]
        speeds = {count: 1.0 if load is None else load.speed(count) for count in set(self.counts)}
        for place in range(1, len(self.times)):
            step = self.times[place] - self.times[place - 1]
            done.append(done[-1] + step * speeds[self.counts[place - 1]])
        return done

    def place(self, at: float) -> int:
        """The place of a time in ``times``."""
        return bisect_right(self.times, at) - 1


def works_of(calls: Sequence[RecordedCall], load: Load | None, levels: Levels) -> list[float]:
    """Seconds that each call would have taken alone.

    Args:
        calls: Some calls.
        load: How their server slows down.
        levels: Of all calls that it served.
    """
    if load is None:
        return [call.seconds for call in calls]
    done = levels.work(load)
    return [done[levels.place(call.until)] - done[levels.place(call.began)] for call in calls]


class _Sample:
    """Calls, and how likely they are with a load."""

    def __init__(self, levels: Levels, calls: Sequence[RecordedCall]) -> None:
        self._levels = levels
        self._calls = [(levels.place(call.began), levels.place(call.until), call.stage) for call in calls]

    def likelihood(self, load: Load | None) -> float:
        """The logarithm of the likelihood, but for what is the same with all loads.

        The works of a stage's calls are taken to follow a lognormal distribution.
        """
        levels, done = self._levels, self._levels.work(load)
        works: defaultdict[str, list[float]] = defaultdict(list)
        total = 0.0
        for began, until, stage in self._calls:
            work = max(_LEAST, done[until] - done[began])
            works[stage].append(math.log(work))
            if load is not None:  # the density of seconds is that of works, times the speed at the end
                seconds = levels.times[until] - levels.times[began]
                total += math.log(load.speed(levels.counts[until - 1]) * seconds / work)
        return total + sum(map(_likelihood, works.values()))


def _likelihood(logs: Sequence[float]) -> float:
    mean = sum(logs) / len(logs)
    variance = sum((one - mean) ** 2 for one in logs) / len(logs)
    return -len(logs) / 2 * math.log(max(variance, _LEAST))
