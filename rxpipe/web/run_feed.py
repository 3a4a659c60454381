"""The messages to all watchers of a run: its row, its newest numbers, and the findings from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rxpipe.insight.reading import RunRow
from rxpipe.insight.snapshot import Snapshot
from rxpipe.insight.window import History
from rxpipe.web.findings import findings
from rxpipe.web.json_values import Plain
from rxpipe.web.series import point, window

POINT = 10.0  # seconds that a chart's point covers: rates over one second would only be noise
WINDOW = 60.0  # seconds that the rates beside the pipeline cover
LEAST = 1.0  # seconds that these rates cover at least, while the run lasts


class RunFeed:
    """Makes the messages of one run. Call its methods one at a time."""

    def __init__(self, plain: Plain, before: Sequence[Snapshot] = ()) -> None:
        """Creates the feed of a run.

        Args:
            plain: Makes plain values.
            before: The run's earlier snapshots.
        """
        self._plain = plain
        self._recent: deque[Snapshot] = deque()
        self._history = History()
        for snapshot in before:
            self.add(snapshot)

    def add(self, snapshot: Snapshot) -> None:
        """Adds the next snapshot. A snapshot that is not newer than the last is ignored."""
        recent = self._recent
        if recent and snapshot.at <= recent[-1].at:
            return
        if recent and (snapshot.ended < recent[-1].ended or snapshot.elapsed < recent[-1].elapsed):
            recent.clear()  # another process continues the run, and counts from 0
        self._history.add(snapshot)
        recent.append(snapshot)
        while len(recent) > 2 and recent[1].at < snapshot.at - WINDOW:
            recent.popleft()

    def message(self, row: RunRow | None) -> dict[str, Any]:
        """Returns the message about the run as it is now."""
        plain, recent = self._plain, self._recent
        told: dict[str, Any] = {
            "run": None if row is None else plain.value(_as_of(row, recent[-1] if recent else None))
        }
        if not recent:
            return {**told, "snapshot": None, "window": None, "findings": None, "point": None}
        newest = recent[-1]
        is_over = newest.state not in ("running", "stopping") or (row is not None and row.state != "running")
        before = None if is_over or len(recent) < 2 else recent[0]
        return {
            **told,
            "snapshot": plain.value(newest),
            "window": None if _is_short(before, newest, is_over) else plain.value(window(before, newest)),
            "findings": plain.value(findings(self._history.snapshots), 1_000),
            "point": point(self._some_time_ago(), newest) if len(recent) > 1 else None,
        }

    def _some_time_ago(self) -> Snapshot:
        """Returns the snapshot that a chart's point is compared with."""
        newest = self._recent[-1]
        return next((one for one in reversed(self._recent) if one.at <= newest.at - POINT), self._recent[0])


def _as_of(row: RunRow, snapshot: Snapshot | None) -> RunRow:
    """Returns a live run's row with the counts of its newest snapshot, as the store's counts may be newer.

    If the run continues an earlier one, the snapshot lacks the items that were dropped, expanded or collected before.
    The row keeps the store's counts of these.
    """
    if snapshot is None or row.state != "running":
        return row
    before = {"written": snapshot.written_before, "failed": snapshot.failed_before}
    names = ("written", "failed") if any(before.values()) else ("written", "failed", "dropped", "expanded", "collected")
    counts = {name: before.get(name, 0) + getattr(snapshot, name) for name in names}
    counts["running"] = snapshot.in_flight
    return replace(row, counts={**row.counts, **counts}, usage=snapshot.usage_before + snapshot.usage)


def _is_short(before: Snapshot | None, newest: Snapshot, is_over: bool) -> bool:
    """Returns True if a live run's numbers cover too short a time for rates and shares, which would all be 0."""
    return not is_over and newest.elapsed - (0.0 if before is None else before.elapsed) < LEAST
