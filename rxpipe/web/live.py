"""A run of this process: its newest snapshot, and its history in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Self

from rxpipe.insight.snapshot import Snapshot

_GOES_ON = ("running", "stopping")


class History:
    """Snapshots of a run from its start, in bounded memory. When there are too many, every other one is removed.

    The newest snapshot is always kept. The distances between the others are even. Not thread-safe.
    """

    def __init__(self, most: int = 600) -> None:
        """Creates an empty history.

        Args:
            most: The most snapshots to keep, 4 or more.
        """
        self._most = max(4, most)
        self._every = 1  # one of this many added snapshots is kept
        self._came = 0
        self._kept: list[Snapshot] = []
        self._newest: Snapshot | None = None

    def add(self, snapshot: Snapshot) -> None:
        """Adds the next snapshot."""
        if self._came % self._every == 0:
            self._kept.append(snapshot)
        self._came += 1
        self._newest = snapshot
        if len(self._kept) >= self._most:
            del self._kept[1::2]
            self._every *= 2

    def read(self) -> list[Snapshot]:
        """Returns the kept snapshots, the earliest first."""
        newest = self._newest
        return [*self._kept, *([newest] if newest is not None and newest is not self._kept[-1] else ())]


class LiveRun:
    """Takes snapshots of a run of this process at regular intervals, from its start to its end.

    ::

        with LiveRun(run.snapshot) as live:
            app(None, live=live)

    Snapshots are taken on a separate thread. Call ``latest`` and ``history`` from any thread.
    """

    def __init__(self, latest: Callable[[], Snapshot | None], *, seconds: float = 1.0, most: int = 600) -> None:
        """Prepares the thread. ``start``, or entering the context, starts it.

        Args:
            latest: Returns the newest snapshot; None while there is none. It is called on several threads.
            seconds: Seconds between two snapshots.
            most: The most snapshots to keep.
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
        """Starts the thread. Does nothing if the thread has started already."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="rxpipe-web-history", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stops the thread. The history can still be read."""
        self._leave.set()
        if self._thread is not None:
            self._thread.join()

    def latest(self) -> Snapshot | None:
        """Returns the newest snapshot; None while there is none."""
        return self._latest()

    def history(self) -> Sequence[Snapshot]:
        """Returns snapshots from the run's start on, the earliest first."""
        with self._lock:
            return self._history.read()

    def look(self) -> bool:
        """Adds a snapshot to the history. Returns False if the run is over."""
        snapshot = self._latest()
        if snapshot is None:
            return True
        with self._lock:
            self._history.add(snapshot)
        return snapshot.state in _GOES_ON

    def _look(self) -> None:
        while self.look() and not self._leave.wait(self._seconds):
            pass
