"""Which calls a server refuses for now, as by a 429: some at random, or those beyond a rate.

A rate shows in what the server lets in while it refuses calls: about as much in each stretch of time. What it refuses
at random depends on nothing. A rate is taken for a token bucket (Turner, 1986), as most servers have one, that asks to
wait until there is room again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, pvariance
from typing import Literal

from rxpipe.foresight.record import RecordedCall

Unit = Literal["calls", "tokens"]

_LEAST = 20  # refusals: of fewer, nothing is inferred
_STRETCH = 20  # calls that are let in, in a stretch of time
_STRETCHES = 4  # of these, at least
_EVEN = 0.2  # variance over mean of what is let in: less, if a rate holds it; at random it is about 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A limit of the server's.

    Attributes:
        unit: What is counted.
        rate: How many of these in a second.
        size: How many at once, after a rest.
    """

    unit: Unit
    rate: float
    size: float


def find_rate(calls: Sequence[RecordedCall]) -> Rate | None:
    """The rate beyond which the server refused calls; None if there is no sign of one.

    Of several runs, it is that of the run in which most calls were refused.

    Args:
        calls: Those of all stages that the server serves.
    """
    by_run: defaultdict[int, list[RecordedCall]] = defaultdict(list)
    for call in calls:
        by_run[call.run].append(call)
    return max(map(_rate_in, by_run.values()), key=lambda found: found[0], default=(0, None))[1]


def _rate_in(calls: Sequence[RecordedCall]) -> tuple[int, Rate | None]:
    """How many calls of a run were refused for a rate, and that rate."""
    refused = sorted(call.began for call in calls if call.ended == "pushed_back")
    let_in = sorted((call.began, float(call.usage.tokens)) for call in calls if call.ended != "pushed_back")
    if len(refused) < _LEAST or len(let_in) < _STRETCH * _STRETCHES:
        return 0, None
    found = [_rate(refused, [(at, 1.0) for at, _ in let_in], "calls")]
    if any(tokens for _, tokens in let_in):
        found.append(_rate(refused, let_in, "tokens"))
    spread, rate = min(found, key=lambda one: one[0])
    return (len(refused), rate) if spread < _EVEN else (0, None)


def _rate(refused: Sequence[float], let_in: Sequence[tuple[float, float]], unit: Unit) -> tuple[float, Rate | None]:
    """How unevenly the server lets in, and the rate at which it does."""
    first, last = refused[0], refused[-1]
    within = [(at, amount) for at, amount in let_in if first <= at <= last]
    count = len(within) // _STRETCH
    if count < _STRETCHES:
        return float("inf"), None
    length = (last - first) / count
    sums, refusals = [0.0] * count, [0] * count
    for at, amount in within:
        sums[min(count - 1, int((at - first) / length))] += amount
    for at in refused:
        refusals[min(count - 1, int((at - first) / length))] += 1
    full = [each for each, some in zip(sums, refusals, strict=True) if some]
    if len(full) < _STRETCHES or not sum(full):
        return float("inf"), None
    mean = fmean(full)
    # In units of a call: the variance of a sum of tokens is as many times larger as a call has tokens.
    spread = pvariance(full) / mean / (mean / _STRETCH)
    rate = mean / length
    return spread, Rate(unit=unit, rate=rate, size=_burst(let_in, rate))


def _burst(let_in: Sequence[tuple[float, float]], rate: float) -> float:
    """The most that was let in at once beyond the rate."""
    level = least = most = 0.0
    begin = let_in[0][0]
    for at, amount in let_in:
        before = level - rate * (at - begin)
        least = min(least, before)
        level += amount
        most = max(most, level - rate * (at - begin) - least)
    return most


class Bucket:
    """What the server lets in, in virtual time."""

    def __init__(self, rate: Rate, now: Callable[[], float]) -> None:
        """Full.

        Args:
            rate: How fast it fills, and how much it holds.
            now: The time in seconds.
        """
        self.unit = rate.unit
        self._rate = rate.rate
        self._size = self._level = max(1.0, rate.size)
        self._now = now
        self._at = now()

    def enter(self, tokens: float) -> float:
        """Let a call in: seconds that it is asked to wait, if it is refused, else 0."""
        amount = 1.0 if self.unit == "calls" else min(tokens, self._size)
        now = self._now()
        self._level = min(self._size, self._level + (now - self._at) * self._rate)
        self._at = now
        if self._level >= amount:
            self._level -= amount
            return 0.0
        return (amount - self._level) / self._rate
