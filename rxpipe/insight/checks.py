"""Whether the numbers of a run agree with each other: two laws that hold for whatever they are measured at.

- The utilization law, ``U = X * D / c``: the share of the slots' time in which calls ran is that which follows from the
  calls made in a second and the mean of their seconds.
- Little's law, ``L = X * W``: as many items wait in a stage as follows from the calls made in a second and the mean of
  their waits (Little, Operations Research 1961).

Where one of them does not hold, something is not counted, or the run has not settled; then advice is worth less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rxpipe.insight.snapshot import Snapshot, StageSnapshot
from rxpipe.insight.window import Window

_UTILIZATION = 0.05  # how much of all slots
_LITTLE = 0.35  # how much of the larger side; how many items wait is only seen at each snapshot
_ITEMS = 2.0  # at least
_CALLS = 100  # fewer say too little


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A law, and what was measured.

    Attributes:
        law: ``utilization`` or ``little``.
        stage: The stage it was asked of.
        measured: What was measured on the law's left side.
        expected: What follows from its right side.
        holds: Whether they are about the same.
    """

    law: Literal["utilization", "little"]
    stage: str
    measured: float
    expected: float
    holds: bool


def checks_of(window: Window, snapshots: Sequence[Snapshot]) -> tuple[Check, ...]:
    """Both laws for each stage that has ended at least 100 calls in a window.

    Args:
        window: A part of a run.
        snapshots: Those of the run: how many items waited in a stage is their mean.
    """
    began = window.end.elapsed - window.seconds
    inside = [each for each in snapshots if began <= each.elapsed <= window.end.elapsed]
    found: list[Check] = []
    for place, stage in enumerate(window.counts.stages):
        if stage.seconds.count < _CALLS:
            continue
        slots = window.slots(stage)
        if slots:
            found.append(_utilization(window, stage, slots))
        if stage.retried + stage.pushed_back == 0 and inside:  # else waits are those for attempts, not of items
            found.append(_little(window, stage, [each.stages[place] for each in inside]))
    return tuple(found)


def _utilization(window: Window, stage: StageSnapshot, slots: float) -> Check:
    measured = stage.busy / (slots * window.seconds)
    expected = stage.seconds.total / window.seconds / slots
    holds = abs(measured - expected) <= _UTILIZATION
    return Check(law="utilization", stage=stage.name, measured=measured, expected=expected, holds=holds)


def _little(window: Window, stage: StageSnapshot, seen: Sequence[StageSnapshot]) -> Check:
    measured = sum(each.waiting for each in seen) / len(seen)
    expected = stage.waits.total / window.seconds
    holds = abs(measured - expected) <= max(_ITEMS, _LITTLE * max(measured, expected))
    return Check(law="little", stage=stage.name, measured=measured, expected=expected, holds=holds)
