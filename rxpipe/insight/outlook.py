"""What is left of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from rxpipe.insight.interval import Interval

_NORMAL = NormalDist()
_HIGH = 0.95  # the quantile that the upper end of an interval is
_NOTHING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """How long a run still takes, and what it will have cost.

    Attributes:
        elapsed: How long the run had lasted when this was so, in seconds.
        seconds: Seconds that were left then.
        cost: What all of its calls will have cost, in the currency of the prices; None if they cost nothing, or if
            that is not known any more.
        spent: What they had cost then.
    """

    elapsed: float
    seconds: Interval
    cost: Interval | None = None
    spent: float = 0.0

    def later(self, elapsed: float, spent: float | None = None) -> Outlook | None:
        """The same when the run has lasted so many seconds, and so much is spent.

        What was possible then and is not any more is left out: a run that was to take 10 to 20 seconds more, and goes
        on after 15, takes up to 5 more. So what is left is never nothing, and no total is less than what is spent.

        Args:
            elapsed: Seconds that the run has lasted.
            spent: What its calls have cost; as before if None.

        Returns:
            None if the run has lasted longer than it was to last at most: then nobody knows.
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
    """What is left of something when a part of it is gone; None if it was to be less.

    Its logarithm is taken to be normal, as simulations have it, on each side of the middle.
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
