"""The findings of ``rxpipe.insight`` for the page. All of the page's advice comes from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rxpipe.insight.insight import insight_of
from rxpipe.insight.snapshot import Snapshot


def findings(recent: Sequence[Snapshot]) -> dict[str, Any]:
    """Returns what holds a run up, what to do about it, and what stands still.

    A run that is over keeps its finding in its last snapshot. That finding is used, as the run had more snapshots than
    the page has.

    Args:
        recent: The run's latest snapshots, the newest last.

    Returns:
        ``verdict``; ``kind`` and ``name`` of what holds the run up (None if nothing does, or if it is too close to
        call); ``sentence``; and ``stalls``, a list of sentences.
    """
    kept = recent[-1].finding
    saw = insight_of(recent)
    found = kept or saw.finding
    return {**asdict(found), "stalls": [] if kept else [stall.sentence for stall in saw.stalls]}
