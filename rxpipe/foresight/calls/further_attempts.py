"""How likely further attempts fail, by their number. Some items always fail, so later attempts fail more often.

A few recorded attempts say little by themselves. So the chance of each attempt number is drawn towards that of the
attempt before it. The pull is weaker the more attempts are recorded (a beta prior, as in empirical Bayes; Efron and
Morris, 1975). Attempts that were never observed fail with the chance of the last observed attempt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from rxpipe.foresight.calls.record import Draw

_WEIGHT = 2.0  # the chance of the attempt before counts as much as this many attempts
_SURE = 1e-6  # a chance of 0 or 1 is certain, so nothing is drawn


@dataclass(frozen=True, slots=True)
class FurtherAttempts:
    """How likely further attempts fail.

    Attributes:
        counts: The failed attempts and all attempts, for first attempts, second attempts, and so on.
        chances: The chance that second attempts fail, that third attempts fail, and so on.
    """

    counts: Sequence[tuple[int, int]]
    chances: Sequence[float]

    @classmethod
    def of(cls, counts: Sequence[tuple[int, int]]) -> FurtherAttempts:
        """Returns the most likely chances, given the recorded attempts."""
        return cls(counts, _chances(counts, lambda failed, ended: failed / (failed + ended)))

    def likely(self, seed: int) -> FurtherAttempts:
        """Returns random chances from their distribution, given the recorded attempts."""
        numbers = Random(seed)

        def chance(failed: float, ended: float) -> float:
            sure = failed / (failed + ended)
            return sure if not _SURE < sure < 1 - _SURE else numbers.betavariate(failed, ended)

        return FurtherAttempts(self.counts, _chances(self.counts, chance))

    def chance(self, attempt: int) -> float:
        """Returns the chance that an attempt fails. ``attempt`` is its number, 2 or more."""
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
    """Returns True if a call fails, or is never answered."""
    return draw.ended in ("retried", "failed") or draw.seconds == math.inf
