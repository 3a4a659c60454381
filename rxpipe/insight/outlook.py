"""The estimate of what is left of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from rxpipe.insight.interval import Interval

_NORMAL = NormalDist()
_HIGH = 0.95  # the quantile of an interval's upper end
_NOTHING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """An estimate of how long a run still takes, and what it will have cost.

    Attributes:
        elapsed: How long the run had lasted at the time of the estimate, in seconds.
        seconds: Seconds that were left at the time of the estimate.
        cost: The final cost of all calls, in the currency of the prices; None if the calls cost nothing, or if the cost
            can no longer be estimated.
        spent: The cost of the calls up to the estimate.
    """

    elapsed: float
    seconds: Interval
    cost: Interval | None = None
    spent: float = 0.0

    def later(self, elapsed: float, spent: float | None = None) -> Outlook | None:
        """Returns the estimate for a later moment of the run.

        Cases that are no longer possible are left out. For example, a run that was to take 10 to 20 more seconds, and
        still runs after 15, takes up to 5 more. So the time left is never 0, and the final cost is never below what is
        already spent.

        Args:
            elapsed: How long the run has lasted, in seconds.
            spent: The cost of the calls so far; None for no change.

        Returns:
            The later estimate; None if the run has already lasted longer than the upper end of the estimate.
        """
        seconds = _left(self.seconds, elapsed - self.elapsed)
        if seconds is None:
            return None
        spent = self.spent if spent is None else max(spent, self.spent)
        cost = None if self.cost is None else _left(_moved(self.cost, -self.spent), spent - self.spent)
        return Outlook(
            elapsed=max(elapsed, self.elapsed),
            seconds=seconds,
            cost=None if cost is None else _moved(cost, spent),
            spent=spent,
        )


def _left(whole: Interval, gone: float) -> Interval | None:
    """Returns what is left of a quantity when a part of it is gone; None if more is gone than ``whole.high``.

    The logarithm of the quantity is assumed to be normal on each side of the middle, as it is in simulations.
    """
    if gone <= _NOTHING:
        return whole
    if gone >= whole.high:
        return None
    low, middle, high = (math.log(max(_NOTHING, each)) for each in (whole.low, whole.middle, whole.high))
    below, above = ((each / _NORMAL.inv_cdf(_HIGH)) for each in (middle - low, high - middle))
    now = math.log(gone) - middle
    scale = below if now < 0 else above
    past = _NORMAL.cdf(now / scale) if scale > _NOTHING else 0.0

    def at(share: float) -> float:
        deviation = _NORMAL.inv_cdf(past + share * (1 - past))
        return max(0.0, math.exp(middle + deviation * (below if deviation < 0 else above)) - gone)

    return Interval(middle=at(0.5), low=at(1 - _HIGH), high=at(_HIGH))


def _moved(one: Interval, by: float) -> Interval:
    low, middle, high = (max(0.0, each + by) for each in (one.low, one.middle, one.high))
    return Interval(middle=middle, low=low, high=high)
