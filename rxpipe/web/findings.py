"""What ``rxpipe.insight`` makes of the numbers, for the page. All that the page knows of advice is here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rxpipe.insight.snapshot import Snapshot


def findings(recent: Sequence[Snapshot]) -> dict[str, Any]:
    """What holds a run up, what to do about it, and what stands still.

    Args:
        recent: Its latest snapshots, the newest last.

    Returns:
        ``kind`` (``stage``, ``limiter``, ``sink``, ``source``, ``close``, ``unknown``), ``name`` of what holds it up or
        None, ``sentence``, and ``stalls``, sentences.
    """
    return {"kind": "unknown", "name": None, "sentence": None, "stalls": []}
