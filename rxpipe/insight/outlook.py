"""What is left of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rxpipe.insight.interval import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """How long a run still takes, and what it will have cost.

    Attributes:
        elapsed: How long the run had lasted when that was estimated, in seconds.
        seconds: Seconds that were left then.
        cost: What all of its calls will have cost, in the currency of the prices; None if they cost nothing.
    """

    elapsed: float
    seconds: Interval
    cost: Interval | None = None

    def later(self, elapsed: float) -> Outlook:
        """The same when the run has lasted so many seconds."""
        gone = max(0.0, elapsed - self.elapsed)
        low, middle, high = (
            max(0.0, each - gone) for each in (self.seconds.low, self.seconds.middle, self.seconds.high)
        )
        return replace(self, elapsed=self.elapsed + gone, seconds=Interval(middle=middle, low=low, high=high))
