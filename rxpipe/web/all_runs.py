"""The runs of a store together with the run of this process."""

from __future__ import annotations

from collections.abc import Sequence

from rxpipe.insight.reading import RunRow, RunsReader
from rxpipe.insight.snapshot import Snapshot
from rxpipe.web.live import LiveRun

NO_NUMBER = 0  # the number of a run without a store


class AllRuns:
    """Reads runs from a store. The run of this process has newer snapshots of its own. The methods block."""

    def __init__(self, reader: RunsReader | None, live: LiveRun | None) -> None:
        """Creates the list of runs.

        Args:
            reader: Reads the runs of a store; None without a store.
            live: A run of this process; None without one.
        """
        self.reader = reader
        self._live = live

    def runs(self) -> Sequence[RunRow]:
        """Returns all runs, the latest first."""
        rows = [] if self.reader is None else list(self.reader.runs())
        snapshot = self._snapshot()
        if snapshot is not None and all(row.number != number_of(snapshot) for row in rows):
            rows.insert(0, _row(snapshot))
        return rows

    def run(self, number: int) -> RunRow | None:
        """Returns one run; None if no run has this number."""
        row = self._kept(number)
        snapshot = None if row is not None else self._of(number)
        return row if snapshot is None else _row(snapshot)

    def now(self, number: int) -> tuple[RunRow | None, Snapshot | None]:
        """Returns a run and its newest snapshot. Either may be None. Each is read from the store once at most."""
        row, own = self._kept(number), self._of(number)
        if own is not None and not _has_others(row):
            return row or _row(own), own
        return row, None if self.reader is None else self.reader.latest(number)

    def history(self, number: int, most: int) -> Sequence[Snapshot]:
        """Returns the run's snapshots from its start on."""
        kept = [] if self.reader is None or number == NO_NUMBER else list(self.reader.snapshots(number, most=most))
        if self._live is None or self._of(number) is None or _has_others(self._kept(number)):
            return kept
        own = list(self._live.history())
        first = own[0].at if own else float("inf")
        return [*(one for one in kept if one.at < first), *own]

    def _kept(self, number: int) -> RunRow | None:
        return None if self.reader is None or number == NO_NUMBER else self.reader.run(number)

    def _snapshot(self) -> Snapshot | None:
        return None if self._live is None else self._live.latest()

    def _of(self, number: int) -> Snapshot | None:
        snapshot = self._snapshot()
        return snapshot if snapshot is not None and number_of(snapshot) == number else None


def _has_others(row: RunRow | None) -> bool:
    """Returns True if several processes work on a run. Only the store has the sum over all of them."""
    return row is not None and row.workers > 1


def number_of(snapshot: Snapshot) -> int:
    """Returns the number by which the page knows the run of a snapshot."""
    return NO_NUMBER if snapshot.run is None else snapshot.run


def _row(snapshot: Snapshot) -> RunRow:
    is_over = snapshot.state not in ("running", "stopping")
    return RunRow(
        number=number_of(snapshot),
        name=snapshot.pipeline or "",
        state="finished" if is_over else "running",
        stages=tuple(stage.name for stage in snapshot.stages),
        counts={
            name: count
            for name in ("written", "failed", "dropped", "expanded", "collected", "cancelled")
            if (count := getattr(snapshot, name))
        }
        | ({"running": snapshot.in_flight} if snapshot.in_flight else {}),
        workers=0 if is_over else 1,
        began_at=snapshot.at - snapshot.elapsed,
        ended_at=snapshot.at if is_over else None,
        active_at=snapshot.at,
        usage=snapshot.usage,
    )
