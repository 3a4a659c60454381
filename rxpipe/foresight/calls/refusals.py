"""Which calls a server refuses for now, as by a 429: some at random, or those beyond a rate.

A rate is taken for a token bucket (Turner, 1986), as most servers have one, that asks to wait until there is room
again. Which rate and which size is found by maximum likelihood: a bucket goes through the calls in their order, and is
the likelier, the more seldom it is wrong about which of them are refused. Where it is wrong, its level is set right, so
that one error is counted once. Refusals at random are the other explanation; a rate is only believed in if it explains
more than chance does.
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

_LEAST = 20  # refusals: of fewer, nothing is inferred
_MOST = 4_000  # calls that are looked at
_RATES = [0.85 * 1.05**step for step in range(30)]  # times what was let in, in the mean: it may not always be full
_LONGEST = 60.0  # seconds of the rate that a bucket may hold
_LARGER = 1.2  # times the size before, of sizes that are tried
_CLIMBS = 4  # from the likeliest of these
_STEPS = (0.05, 0.01, 0.003)  # of a climb, as shares
_SMALLER = 2.0  # a size is the less likely beforehand, the larger it is: its logarithm counts so often
_JUST_NOT = 0.99  # of what a call needs: too little
_EVIDENCE = 12.0  # by so much a rate must be likelier than chance, as a logarithm: the best of many is taken


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

    Of several runs, it is that of the run that tells most.

    Args:
        calls: Those of all stages that the server serves.
    """
    by_run: defaultdict[int, list[RecordedCall]] = defaultdict(list)
    for call in calls:
        by_run[call.run].append(call)
    evidence, rate = max(map(_rate_in, by_run.values()), key=lambda found: found[0], default=(0.0, None))
    return rate if evidence > _EVIDENCE else None


def _rate_in(calls: Sequence[RecordedCall]) -> tuple[float, Rate | None]:
    """The likeliest rate in a run, and by how much it is likelier than chance, as a logarithm."""
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
    """Without those that were refused before another one was: the last one tells most of when there was room again."""
    following = [*(call.ended for call in calls[1:]), ""]
    return [
        call
        for call, after in zip(calls, following, strict=True)
        if call.ended != "pushed_back" or after != "pushed_back"
    ]


def _by_chance(some: int, count: int) -> float:
    """The logarithm of the likelihood of so many of the calls, if it is the same for each."""
    shares = some / count, 1 - some / count
    return count * sum(share * math.log(share) for share in shares if share)


def _place(call: RecordedCall) -> tuple[str, str, int]:
    return call.item, call.stage, call.attempt


class _Sample:
    """The calls that a server has let in or refused, in the order in which they came.

    Attributes:
        mean: What a call takes, in the mean.
    """

    def __init__(self, calls: Sequence[RecordedCall], unit: Unit) -> None:
        self._unit: Unit = unit
        let_in = {_place(call): self._amount(call) for call in calls if call.ended != "pushed_back"}
        self.mean = fmean(let_in.values())
        # What is refused comes again: then it is known what it takes.
        needs = [let_in.get(_place(call), self.mean) for call in calls]
        self._calls = [(call.began, need, call.ended == "pushed_back") for call, need in zip(calls, needs, strict=True)]
        seconds = self._calls[-1][0] - self._calls[0][0]
        taken = sum(need for _, need, is_refused in self._calls if not is_refused)
        self._let_in = taken / seconds if seconds > 0 else 0.0
        self._found: dict[Rate, float] = {}

    def _amount(self, call: RecordedCall) -> float:
        return 1.0 if self._unit == "calls" else float(call.usage.tokens)

    def likeliest(self) -> Rate | None:
        """The likeliest rate; None if nothing was let in.

        The rate hardly depends on the size: so first the rate is found, then some sizes, then both again nearby.
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
        """The logarithm of the likelihood of what was refused, but for the same errors of a bucket anywhere."""
        if rate not in self._found:
            self._found[rate] = self._likelihood(rate)
        return self._found[rate]

    def _likelihood(self, rate: Rate) -> float:
        wrong = self._wrong(rate)
        if wrong > len(self._calls) / 2:
            return -math.inf
        return _by_chance(wrong, len(self._calls)) - _SMALLER * math.log(rate.size / self.mean)

    def _wrong(self, rate: Rate) -> int:
        """About how many calls a bucket would be wrong."""
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
