"""A run of this process: its newest snapshot, and its history in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Self

from rxpipe.insight.snapshot import Snapshot

_GOES_ON = ("running", "stopping")


class History:
    """Snapshots of a run from its beginning, never more than so many: when there are too many, every other one goes.

    The newest one is always there, and distances are even but for the last. Not thread-safe.
    """

    def __init__(self, most: int = 600) -> None:
        """Prepare an empty one.

        Args:
            most: How many are kept at most, 4 or more.
        """
        self._most = max(4, most)
        self._every = 1  # of those that came, how many there are for one that stays
        self._came = 0
        self._kept: list[Snapshot] = []
        self._newest: Snapshot | None = None

    def add(self, snapshot: Snapshot) -> None:
        """Keep the next one."""
        if self._came % self._every == 0:
            self._kept.append(snapshot)
        self._came += 1
        self._newest = snapshot
        if len(self._kept) >= self._most:
            del self._kept[1::2]
            self._every *= 2

    def read(self) -> list[Snapshot]:
        """All that are kept, the earliest first."""
        newest = self._newest
        return [*self._kept, *([newest] if newest is not None and newest is not self._kept[-1] else ())]


class LiveRun:
    """Looks at a run of this process in regular intervals, from its beginning to its end.

    ::

        with LiveRun(run.snapshot) as live:
            app(None, live=live)
    """

    def __init__(self, latest: Callable[[], Snapshot | None], *, seconds: float = 1.0, most: int = 600) -> None:
        """Prepare it; ``start`` begins to look.

        Args:
            latest: Gives the newest snapshot; None while there is none. Called on threads.
            seconds: From one look to the next.
            most: How many snapshots are kept at most.
        """
        self._latest = latest
        self._seconds = seconds
        self._history = History(most)
        self._lock = threading.Lock()
        self._leave = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to look; does nothing if it has begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="rxpipe-web-history", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Look no more; what was seen can still be read."""
        self._leave.set()
        if self._thread is not None:
            self._thread.join()

    def latest(self) -> Snapshot | None:
        """The newest snapshot."""
        return self._latest()

    def history(self) -> Sequence[Snapshot]:
        """Snapshots from the run's beginning."""
        with self._lock:
            return self._history.read()

    def look(self) -> bool:
        """Take a snapshot for the history; false if the run is over."""
        snapshot = self._latest()
        if snapshot is None:
            return True
        with self._lock:
            self._history.add(snapshot)
        return snapshot.state in _GOES_ON

    def _look(self) -> None:
        while self.look() and not self._leave.wait(self._seconds):
            pass
