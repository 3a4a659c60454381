"""A number that is not known exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, stdev

_Z = NormalDist().inv_cdf(0.95)  # an interval holds in nine of ten cases
_WILD = 3.0  # a spread of logarithms beyond which nothing is in proportion
_TWO = 2  # values have a spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number that is not known exactly.

    Attributes:
        middle: The likeliest.
        low: The number is below this in one case of twenty.
        high: The number is above this in one case of twenty.
    """

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], middle: float, *, most: float = math.inf) -> Interval:
        """Around a number, as wide as others spread around theirs.

        What is above 0 spreads in proportion: the interval is that of Student's t for the next value of logarithms.

        Args:
            values: Of simulations that differ by chance; none if there is no chance.
            middle: Of the one that differs least from what is known.
            most: What the number cannot exceed.
        """
        if len(values) < _TWO:
            return cls(middle=_rounded(middle), low=_rounded(middle), high=_rounded(middle))
        spread = _next_of([math.log(one) for one in values]) if middle > 0 and min(values) > 0 else math.inf
        if spread < _WILD:
            low, high = middle / math.exp(spread), middle * math.exp(spread)
        else:
            spread = _next_of(values)
            low, high = middle - spread, middle + spread
        return cls(middle=_rounded(middle), low=_rounded(max(0.0, low)), high=_rounded(min(most, high)))


def _next_of(values: Sequence[float]) -> float:
    """By how much the next value is off the mean at most, in nine of ten cases."""
    count = len(values)
    # Student's t at 95%, by its expansion around the normal quantile (Abramowitz and Stegun, 26.7.5).
    free = count - 1
    t = _Z + (_Z**3 + _Z) / (4 * free) + (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * free**2)
    return t * stdev(values) * math.sqrt(1 + 1 / count)


def _rounded(number: float) -> float:
    """To nine digits: the last ones of logarithms differ from machine to machine."""
    return float(f"{number:.9g}")
