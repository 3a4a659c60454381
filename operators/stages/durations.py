"""Durations of many calls, in constant memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

_RATIO = 1.02  # between the bounds of a bucket: a quantile is wrong by at most 1%
_SCALE = 1 / math.log(_RATIO)
_MIDDLE = 2 / (1 + _RATIO)  # the middle of a bucket is this, times its upper bound
_LEAST = 1e-6  # seconds: shorter durations share a bucket
_FIRST = math.ceil(math.log(_LEAST) * _SCALE)


@dataclass(slots=True)
class Durations:
    """A histogram of seconds. Its buckets grow by 2%, so quantiles are right to 1% from a microsecond on.

    The histogram is a DDSketch (Masson, Rim and Lee, VLDB 2019) without a bound on its buckets: from a microsecond to
    eleven days there are 1,400. You can add two histograms, and subtract an earlier state from a later one.

    Attributes:
        buckets: The number of durations in each bucket, by the bucket's number.
        count: The number of durations.
        total: The sum of all durations, in seconds.
        longest: The longest duration, in seconds.
    """

    buckets: dict[int, int] = field(default_factory=dict[int, int])
    count: int = 0
    total: float = 0.0
    longest: float = 0.0

    def add(self, seconds: float, count: int = 1) -> None:
        """Count a duration, or several that are equal."""
        bucket = math.ceil(math.log(seconds) * _SCALE) if seconds > _LEAST else _FIRST
        buckets = self.buckets
        buckets[bucket] = buckets.get(bucket, 0) + count
        self.count += count
        self.total += seconds * count
        if seconds > self.longest:
            self.longest = seconds

    def copy(self) -> Durations:
        """Returns a copy of the present state. From any thread."""
        return Durations(self.buckets.copy(), self.count, self.total, self.longest)

    @property
    def mean(self) -> float | None:
        """Returns the mean in seconds; None without durations."""
        return self.total / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """Returns the duration in seconds that this share (0 to 1) of all does not exceed; None without durations."""
        rank = share * (sum(self.buckets.values()) - 1)
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen > rank:
                return min(self.longest, _MIDDLE * math.exp(bucket / _SCALE))
        return None

    def values(self) -> list[tuple[float, int]]:
        """Returns each different duration in seconds with its count, the shortest first."""
        longest = self.longest
        return [
            (min(longest, _MIDDLE * math.exp(bucket / _SCALE)), count) for bucket, count in sorted(self.buckets.items())
        ]

    def __add__(self, other: Durations) -> Durations:
        return Durations(
            _combined(self.buckets, other.buckets, 1),
            self.count + other.count,
            self.total + other.total,
            max(self.longest, other.longest),
        )

    def __sub__(self, earlier: Durations) -> Durations:
        """Returns the durations since an earlier state. ``longest`` is that of all."""
        return Durations(
            _combined(self.buckets, earlier.buckets, -1),
            self.count - earlier.count,
            self.total - earlier.total,
            self.longest,
        )


def _combined(some: Mapping[int, int], others: Mapping[int, int], sign: int) -> dict[int, int]:
    sums = {bucket: some.get(bucket, 0) + sign * others.get(bucket, 0) for bucket in {**some, **others}}
    return {bucket: count for bucket, count in sums.items() if count}
