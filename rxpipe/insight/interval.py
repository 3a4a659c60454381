"""An estimated number with its likely range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, stdev

_Z = NormalDist().inv_cdf(0.95)  # an interval holds in nine of ten cases
_WILD = 3.0  # a spread of logarithms above which an interval is not proportional
_TWO = 2  # the fewest values that have a spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimated number with its likely range.

    The true number is between ``low`` and ``high`` in nine of ten cases.

    Attributes:
        middle: The most likely number.
        low: The true number is below this in one of 20 cases.
        high: The true number is above this in one of 20 cases.
    """

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], middle: float, *, most: float = math.inf) -> Interval:
        """Makes an interval around ``middle`` that is as wide as the spread of ``values``.

        Positive numbers spread in proportion: the interval is the prediction interval of Student's t for the logarithm
        of the next value.

        Args:
            values: The numbers of simulations that differ by chance; empty if nothing is random.
            middle: The number of the simulation that is closest to what is known.
            most: The highest possible number.
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
    """Returns how far the next value is from the mean at most, in nine of ten cases."""
    count = len(values)
    # Student's t at 95%, by its expansion around the normal quantile (Abramowitz and Stegun, 26.7.5).
    free = count - 1
    t = _Z + (_Z**3 + _Z) / (4 * free) + (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * free**2)
    return t * stdev(values) * math.sqrt(1 + 1 / count)


def _rounded(number: float) -> float:
    """Rounds to nine digits, as the last digits of logarithms differ between machines."""
    return float(f"{number:.9g}")
