"""Counts results that are not committed yet, and holds up calls while there are too many."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

Wake = Callable[[], None]

_LATE = 0.1  # seconds of delay after which results are late
_SILENT = 2.0  # seconds after which the database counts as away


class Backlog:
    """Counts the results that a kill would lose, and lets no call begin while there are too many.

    A commit usually takes a few hundredths of a second. On a loaded server it takes longer. More calls return
    meanwhile, so the next commit takes longer still. No call begins while

    - results are late, and there are more of them than calls that may run at once. So a kill costs about as many
      finished calls as running calls. This never holds up slow calls on a distant server;
    - a result has waited for ``_SILENT`` seconds, or the last commit failed: the database is away;
    - as many results wait as two commits take.

    Attributes:
        results: Stage results that are not committed.
    """

    def __init__(
        self, *, few: float, most: int, window: float = 0.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin empty.

        Args:
            few: How many records may be late.
            most: How many records may wait at all.
            window: Seconds that records wait to share a commit.
            now: A monotonic clock, in seconds.
        """
        self.results = 0
        self._few = few
        self._most = most
        self._late = window + _LATE
        self._silent = window + _SILENT
        self._now = now
        self._noted: deque[float] = deque()  # the arrival times of the records, the oldest first
        self._is_away = False
        self._waiting: dict[Wake, None] = {}
        self._lock = threading.Lock()

    def add(self, *, is_result: bool) -> None:
        """Count a record. From any thread."""
        with self._lock:
            self._noted.append(self._now())
            self.results += is_result

    def may_begin(self, wake: Wake) -> bool:
        """Returns True if a call may begin. Otherwise ``wake`` is called once when to ask again. From any thread."""
        if self._is_plainly_open():  # nearly always true, and needs no lock
            return True
        with self._lock:
            if self._is_open():
                return True
            self._waiting[wake] = None
            return False

    def committed(self, records: int, results: int) -> None:
        """Count the oldest records as committed."""
        with self._lock:
            self._is_away = False
            for _ in range(records):
                self._noted.popleft()
            self.results -= results
            if not self._is_open():
                return  # the next commit wakes the callers
            waiting, self._waiting = self._waiting, {}
        for wake in waiting:
            wake()

    def away(self) -> None:
        """Record that a commit failed: no call begins until a commit succeeds."""
        self._is_away = True

    def _is_plainly_open(self) -> bool:
        try:
            oldest = self._noted[0]
        except IndexError:
            return not self._is_away
        return not self._is_away and len(self._noted) < self._most and self._now() - oldest < self._late

    def _is_open(self) -> bool:
        if self._is_away or len(self._noted) >= self._most:
            return False
        age = self._now() - self._noted[0] if self._noted else 0.0
        return age < self._late or (age < self._silent and len(self._noted) <= self._few)
