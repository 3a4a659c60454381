"""What ``rxpipe.insight`` makes of the numbers, for the page. All that the page knows of advice is here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rxpipe.insight.insight import insight_of
from rxpipe.insight.snapshot import Snapshot


def findings(recent: Sequence[Snapshot]) -> dict[str, Any]:
    """What holds a run up, what to do about it, and what stands still.

    Args:
        recent: Its latest snapshots, the newest last.

    Returns:
        ``verdict``, ``kind`` and ``name`` of what holds it up (None for nothing, and where it is too close to call),
        ``sentence``, and ``stalls``, sentences.
    """
    saw = insight_of(recent)
    is_found = saw.bottleneck.verdict == "found"
    return {
        "verdict": saw.bottleneck.verdict,
        "kind": saw.bottleneck.kind if is_found else None,
        "name": saw.bottleneck.name if is_found else None,
        "sentence": saw.advice.sentence,
        "stalls": [stall.sentence for stall in saw.stalls],
    }
