"""What is told of a run to all who watch it: its row, its newest numbers, and what these say."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from rxpipe.insight.reading import RunRow
from rxpipe.insight.snapshot import Snapshot
from rxpipe.web.findings import findings
from rxpipe.web.json_values import Plain
from rxpipe.web.series import point, window

POINT = 10.0  # seconds that a point of a chart is of
WINDOW = 60.0  # seconds that rates and findings are of


class RunFeed:
    """Makes the messages of one run. Its functions are called one at a time."""

    def __init__(self, plain: Plain) -> None:
        """Prepare it.

        Args:
            plain: Makes plain values.
        """
        self._plain = plain
        self._recent: deque[Snapshot] = deque()

    def add(self, snapshot: Snapshot) -> None:
        """Take the next snapshot; what is older than the window is forgotten, but for the last before it."""
        recent = self._recent
        if recent and (snapshot.at <= recent[-1].at):
            return
        if recent and snapshot.ended < recent[-1].ended:  # another process goes on with it, and counts from 0
            recent.clear()
        recent.append(snapshot)
        while len(recent) > 2 and recent[1].at < snapshot.at - WINDOW:
            recent.popleft()

    def _some_time_ago(self) -> Snapshot:
        """What a point of the chart is compared with: of a single second, rates would only be noise."""
        recent, newest = self._recent, self._recent[-1]
        return next((one for one in reversed(recent) if one.at <= newest.at - POINT), recent[0])

    def message(self, row: RunRow | None) -> dict[str, Any]:
        """The run as it is now."""
        recent = self._recent
        return {
            "run": None if row is None else self._plain.value(row),
            **numbers(self._plain, tuple(recent)),
            "point": point(self._some_time_ago(), recent[-1]) if len(recent) > 1 else None,
        }


def numbers(plain: Plain, recent: Sequence[Snapshot]) -> dict[str, Any]:
    """The newest numbers, the rates of the window, and the findings; of a run that is over, of all of it."""
    if not recent:
        return {"snapshot": None, "window": None, "findings": None}
    newest = recent[-1]
    is_over = newest.state not in ("running", "stopping")
    before = None if is_over or len(recent) < 2 else recent[0]
    saw = findings((newest,) if is_over else recent)
    return {"snapshot": plain.value(newest), "window": plain.value(window(before, newest)), "findings": plain.value(saw, 1_000)}
