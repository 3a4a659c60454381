"""How likely further attempts fail, by their number: some items fail every time, and these are more among the later.

A few recorded attempts say little by themselves. So the chance of each number of attempt is drawn towards that of the
attempt before it, the less so the more attempts are recorded (a beta prior, as in empirical Bayes; Efron and Morris,
1975). An attempt that nobody has seen fails as likely as the last one that somebody has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from rxpipe.foresight.calls.record import Draw

_WEIGHT = 2.0  # as many attempts as the chance of the attempt before counts for
_SURE = 1e-6  # of a chance of 0 or 1, nothing else can be drawn


@dataclass(frozen=True, slots=True)
class FurtherAttempts:
    """How likely they fail.

    Attributes:
        counts: How many attempts failed, and how many were made: first ones, second ones, and so on.
        chances: That second attempts fail, that third ones do, and so on.
    """

    counts: Sequence[tuple[int, int]]
    chances: Sequence[float]

    @classmethod
    def of(cls, counts: Sequence[tuple[int, int]]) -> FurtherAttempts:
        """As is likeliest after the attempts that were made."""
        return cls(counts, _chances(counts, lambda failed, ended: failed / (failed + ended)))

    def likely(self, seed: int) -> FurtherAttempts:
        """As is as likely as any after the attempts that were made."""
        numbers = Random(seed)

        def chance(failed: float, ended: float) -> float:
            sure = failed / (failed + ended)
            return sure if not _SURE < sure < 1 - _SURE else numbers.betavariate(failed, ended)

        return FurtherAttempts(self.counts, _chances(self.counts, chance))

    def chance(self, attempt: int) -> float:
        """That an attempt fails, for its number from 2."""
        return self.chances[min(attempt - 2, len(self.chances) - 1)]


def _chances(counts: Sequence[tuple[int, int]], chance: Callable[[float, float], float]) -> list[float]:
    failed, made = counts[0]
    before = failed / made if made else 0.0
    found: list[float] = []
    for failed, made in counts[1:]:
        before = chance(failed + _WEIGHT * before, made - failed + _WEIGHT * (1 - before))
        found.append(before)
    return found


def is_failure(draw: Draw) -> bool:
    """Whether a call fails, or is never answered."""
    return draw.ended in ("retried", "failed") or draw.seconds == math.inf
