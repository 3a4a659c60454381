"""Finds which calls a server refuses for now, as with a 429: random ones, or those beyond a rate.

A rate is modelled as a token bucket (Turner, 1986), as most servers have one. The server asks callers to wait until
there is room again. Rate and size are found by maximum likelihood: a bucket processes the calls in their order, and it
is the more likely the fewer refusals it predicts wrongly. After a wrong prediction the level is corrected, so that one
error counts once. The alternative is random refusals. A rate is accepted only if it explains more than chance does.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from rxpipe.foresight.calls.record import RecordedCall

Unit = Literal["calls", "tokens"]

_LEAST = 20  # refusals: with fewer, nothing is inferred
_MOST = 4_000  # the most calls that are used
_RATES = [0.85 * 1.05**step for step in range(30)]  # times the mean accepted rate: the limit may be idle at times
_LONGEST = 60.0  # the largest size of a bucket, in seconds of its rate
_LARGER = 1.2  # ratio of one tried size to the one before
_CLIMBS = 4  # how many of the most likely sizes are refined
_STEPS = (0.05, 0.01, 0.003)  # steps of a refinement, as shares
_SMALLER = 2.0  # weight of the logarithm of the size in the prior: larger sizes are less likely
_JUST_NOT = 0.99  # share of what a call needs that is just too little
_EVIDENCE = 12.0  # how much likelier a rate must be than chance, as a logarithm: high, as the best of many is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A rate limit of the server.

    Attributes:
        unit: What the limit counts.
        rate: Units per second.
        size: How many units the server accepts at once after a rest.
    """

    unit: Unit
    rate: float
    size: float


def find_rate(calls: Sequence[RecordedCall]) -> Rate | None:
    """Finds the rate beyond which the server refused calls.

    With several runs, the result is the rate of the run with the most evidence.

    Args:
        calls: The calls of all stages that use the server.

    Returns:
        The rate; None if there is no sign of one.
    """
    by_run: defaultdict[int, list[RecordedCall]] = defaultdict(list)
    for call in calls:
        by_run[call.run].append(call)
    evidence, rate = max(map(_rate_in, by_run.values()), key=lambda found: found[0], default=(0.0, None))
    return rate if evidence > _EVIDENCE else None


def _rate_in(calls: Sequence[RecordedCall]) -> tuple[float, Rate | None]:
    """Returns by how much the most likely rate of a run is likelier than chance, as a logarithm, and the rate."""
    calls = _telling(sorted(calls, key=lambda call: (call.began, call.ended == "pushed_back")))[:_MOST]
    refused = sum(call.ended == "pushed_back" for call in calls)
    if not _LEAST <= refused < len(calls):
        return 0.0, None
    found: dict[Rate, float] = {}
    for unit in ("calls", "tokens"):
        sample = _Sample(calls, unit)
        if (best := sample.likeliest()) is not None:
            found[best] = sample.likelihood(best)
    if not found:
        return 0.0, None
    best = max(found, key=lambda rate: found[rate])
    return found[best] - _by_chance(refused, len(calls)), best


def _telling(calls: Sequence[RecordedCall]) -> list[RecordedCall]:
    """Leaves out refusals that another refusal follows: the last one shows best when there was room again."""
    following = [*(call.ended for call in calls[1:]), ""]
    return [
        call
        for call, after in zip(calls, following, strict=True)
        if call.ended != "pushed_back" or after != "pushed_back"
    ]


def _by_chance(some: int, count: int) -> float:
    """Returns the log-likelihood of ``some`` of ``count`` calls, if the chance is the same for each call."""
    shares = some / count, 1 - some / count
    return count * sum(share * math.log(share) for share in shares if share)


def _place(call: RecordedCall) -> tuple[str, str, int]:
    return call.item, call.stage, call.attempt


class _Sample:
    """The calls that a server accepted or refused, in the order in which they came.

    Attributes:
        mean: The mean amount that a call takes.
    """

    def __init__(self, calls: Sequence[RecordedCall], unit: Unit) -> None:
        self._unit: Unit = unit
        let_in = {_place(call): self._amount(call) for call in calls if call.ended != "pushed_back"}
        self.mean = fmean(let_in.values())
        # Refused calls come again, so the amount that they need is known then.
        needs = [let_in.get(_place(call), self.mean) for call in calls]
        self._calls = [(call.began, need, call.ended == "pushed_back") for call, need in zip(calls, needs, strict=True)]
        seconds = self._calls[-1][0] - self._calls[0][0]
        taken = sum(need for _, need, is_refused in self._calls if not is_refused)
        self._let_in = taken / seconds if seconds > 0 else 0.0
        self._found: dict[Rate, float] = {}

    def _amount(self, call: RecordedCall) -> float:
        return 1.0 if self._unit == "calls" else float(call.usage.tokens)

    def likeliest(self) -> Rate | None:
        """Returns the most likely rate; None if no call was accepted.

        The rate hardly depends on the size. So the rate is found first, then the size, then both are refined together.
        """
        if not self._let_in:
            return None
        largest = self._let_in * _LONGEST
        sizes = [self.mean * _LARGER**step for step in range(math.ceil(math.log(largest / self.mean, _LARGER)) + 1)]
        rate = self._best([Rate(unit=self._unit, rate=self._let_in * by, size=sizes[-1]) for by in _RATES])
        coarse = sorted((replace(rate, size=size) for size in sizes), key=self.likelihood)
        return self._best([self._climb(each) for each in coarse[-_CLIMBS:]])

    def _climb(self, rate: Rate) -> Rate:
        for step in _STEPS:
            while (best := self._best([rate, *self._near(rate, step)])) != rate:
                rate = best
        return rate

    def _near(self, rate: Rate, step: float) -> Iterator[Rate]:
        for by in (1 + step, 1 / (1 + step)):
            yield replace(rate, rate=rate.rate * by)
            yield replace(rate, size=max(self.mean, rate.size * by))

    def _best(self, rates: Sequence[Rate]) -> Rate:
        return max(rates, key=self.likelihood)

    def likelihood(self, rate: Rate) -> float:
        """Returns the log-likelihood of the observed refusals, up to a constant."""
        if rate not in self._found:
            self._found[rate] = self._likelihood(rate)
        return self._found[rate]

    def _likelihood(self, rate: Rate) -> float:
        wrong = self._wrong(rate)
        if wrong > len(self._calls) / 2:
            return -math.inf
        return _by_chance(wrong, len(self._calls)) - _SMALLER * math.log(rate.size / self.mean)

    def _wrong(self, rate: Rate) -> int:
        """Returns how many calls a bucket with this rate predicts wrongly."""
        wrong, size, level, at = 0, rate.size, rate.size, self._calls[0][0]
        for began, amount, is_refused in self._calls:
            level = min(size, level + (began - at) * rate.rate)
            at = began
            needs = min(amount, size)
            if (level < needs) != is_refused:
                wrong += 1
                level = needs * _JUST_NOT if is_refused else needs
            if not is_refused:
                level -= needs
        return wrong


class Bucket:
    """A token bucket in virtual time: the calls that the server accepts."""

    def __init__(self, rate: Rate, now: Callable[[], float]) -> None:
        """Creates a full bucket.

        Args:
            rate: How fast the bucket fills, and how much it holds.
            now: Returns the time in seconds.
        """
        self.unit = rate.unit
        self._rate = rate.rate
        self._size = self._level = max(1.0, rate.size)
        self._now = now
        self._at = now()

    def enter(self, tokens: float) -> float:
        """Accepts a call, and returns 0. Or refuses the call, and returns the seconds that it is asked to wait."""
        amount = 1.0 if self.unit == "calls" else min(tokens, self._size)
        now = self._now()
        self._level = min(self._size, self._level + (now - self._at) * self._rate)
        self._at = now
        if self._level >= amount:
            self._level -= amount
            return 0.0
        return (amount - self._level) / self._rate
