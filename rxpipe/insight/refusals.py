"""Servers that refuse so many calls that their limit is what holds a run up, and nothing that the run counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rxpipe.insight.snapshot import StageSnapshot
from rxpipe.insight.window import Window

_MANY = 20  # calls that were refused
_SHARE = 0.2  # of all calls: adaptive concurrency, which looks for the limit, has fewer
_ENOUGH = 10  # calls that were not, to tell how many the server takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """Calls that servers refused.

    Attributes:
        stage: The stage that was refused most.
        share: The share of the calls of all stages that were refused at all.
        rate: Calls that got through in a second; None if these are too few to tell.
    """

    stage: StageSnapshot
    share: float
    rate: float | None

    @property
    def sentence(self) -> str:
        """What to do about them."""
        start = f"429s hold the run up: the server refused {self.share:.0%} of the calls"
        if self.rate is None:
            return start
        return (
            f"{start}, and about {self.rate:.2g} a second got through; set limits: "
            f"{{requests_per_minute: {_rounded(self.rate * 60)}}}, or concurrency: auto if it limits calls at once"
        )


def refusals_of(window: Window) -> Refusals | None:
    """What servers refused, if that is much."""
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


def _rounded(number: float) -> int:
    """Two digits of it, rounded down: a limit that is too high is no use."""
    unit = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return max(1, int(number // unit * unit))
