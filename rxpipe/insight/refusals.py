"""Finds servers that refuse so many calls that their limit holds the run up."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rxpipe.insight.snapshot import StageSnapshot
from rxpipe.insight.window import Window

_MANY = 20  # the fewest refused calls
_SHARE = 0.2  # the smallest share of all calls; adaptive concurrency, which probes for the limit, has fewer
_ENOUGH = 10  # the fewest answered calls that show the server's rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """The calls that servers refused.

    Attributes:
        stage: The stage with the most refusals.
        share: The share of refused calls, of all calls in stages with refusals.
        rate: Calls per second that were answered; None if too few were.
    """

    stage: StageSnapshot
    share: float
    rate: float | None

    @property
    def sentence(self) -> str:
        """A sentence that says what to do about the refusals."""
        start = f"429s hold the run up: the server refused {self.share:.0%} of the calls"
        if self.rate is None:
            return start
        return (
            f"{start}, and about {_spoken(self.rate)} a second got through; set limits: "
            f"{{requests_per_minute: {_rounded(self.rate * 60)}}}, or concurrency: auto if it limits calls at once"
        )


def refusals_of(window: Window) -> Refusals | None:
    """Returns the refused calls of a window; None if they are few."""
    refused = [stage for stage in window.counts.stages if stage.pushed_back]
    count, answered = sum(stage.pushed_back for stage in refused), sum(map(_answered, refused))
    if count < _MANY or count < _SHARE * (count + answered):
        return None
    return Refusals(
        stage=max(refused, key=lambda stage: stage.pushed_back),
        share=count / (count + answered),
        rate=answered / window.seconds if answered >= _ENOUGH else None,
    )


def _answered(stage: StageSnapshot) -> int:
    return stage.finished + stage.retried


def _spoken(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _rounded(number: float) -> int:
    """Rounds down to two digits, as a limit that is too high does not help."""
    unit = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return max(1, int(number // unit * unit))
