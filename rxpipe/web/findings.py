"""What ``rxpipe.insight`` makes of the numbers, for the page. All that the page knows of advice is here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rxpipe.insight.insight import insight_of
from rxpipe.insight.snapshot import Snapshot


def findings(recent: Sequence[Snapshot]) -> dict[str, Any]:
    """What holds a run up, what to do about it, and what stands still.

    Args:
        recent: Its latest snapshots, the newest last.

    A run that is over has told in its last snapshot what held it up; the page has fewer snapshots than the run had.

    Returns:
        ``verdict``, ``kind`` and ``name`` of what holds it up (None for nothing, and where it is too close to call),
        ``sentence``, and ``stalls``, sentences.
    """
    kept = recent[-1].finding
    saw = insight_of(recent)
    found = kept or saw.finding
    return {**asdict(found), "stalls": [] if kept else [stall.sentence for stall in saw.stalls]}
