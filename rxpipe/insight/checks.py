"""Checks whether the numbers of a run agree with each other, by two laws.

Both laws hold for all measurements:

- The utilization law, ``U = X * D / c``: the share of slot time in which calls run follows from the calls per second
  and from their mean seconds.
- Little's law, ``L = X * W``: the number of items that wait in a stage follows from the calls per second and from the
  mean wait (Little, Operations Research 1961).

If a law does not hold, something is not counted, or the run has not settled. Advice is less reliable then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rxpipe.insight.snapshot import Snapshot, StageSnapshot
from rxpipe.insight.window import Window

_UTILIZATION = 0.05  # the largest difference, as a share of all slots
_LITTLE = 0.35  # the largest difference, as a share of the larger side; waiting items are only counted at each snapshot
_ITEMS = 2.0  # the difference that is always allowed
_CALLS = 100  # calls: fewer say too little


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One law, checked for one stage.

    Attributes:
        law: ``utilization`` or ``little``.
        stage: The name of the stage.
        measured: The measured value of the law's left side.
        expected: The value that follows from the law's right side.
        holds: True if both values are about the same.
    """

    law: Literal["utilization", "little"]
    stage: str
    measured: float
    expected: float
    holds: bool


def checks_of(window: Window, snapshots: Sequence[Snapshot]) -> tuple[Check, ...]:
    """Checks both laws for each stage that has ended at least 100 calls in a window.

    Little's law is left out for stages with retries or refusals.

    Args:
        window: A part of a run.
        snapshots: The snapshots of the run. Their mean is the number of waiting items.
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
        if stage.retried + stage.pushed_back == 0 and inside:  # with retries, waits are counted per attempt
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
