"""Results that have returned and are not committed yet, and the calls that wait because of them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

Wake = Callable[[], None]

_LATE = 0.1  # seconds behind their time after which results are late
_SILENT = 2.0  # seconds after which the database must be taken for away


class Backlog:
    """Counts what a kill would lose, and lets no call begin while that is too much.

    Commits usually take a few hundredths of a second. On a loaded server they take longer, and more calls return
    meanwhile, so the next commit takes longer still. No call begins while

    - results are late, and they are more than the calls that may run at once. So a kill costs about as many finished
      calls as running ones. Slow calls on a distant server are never held up by this;
    - a result waits for ``_SILENT`` seconds, or the last commit failed: the database is away;
    - as many results wait as two commits take.

    Attributes:
        results: Results of stages that are not committed.
    """

    def __init__(
        self, *, few: float, most: int, window: float = 0.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin empty.

        Args:
            few: How many records may be late.
            most: How many records may wait at all.
            window: Seconds for which records wait to share a commit.
            now: A steady clock.
        """
        self.results = 0
        self._few = few
        self._most = most
        self._late = window + _LATE
        self._silent = window + _SILENT
        self._now = now
        self._noted: deque[float] = deque()  # when each record came, the oldest first
        self._is_away = False
        self._waiting: dict[Wake, None] = {}
        self._lock = threading.Lock()

    def add(self, *, is_result: bool) -> None:
        """Count a record; from any thread."""
        with self._lock:
            self._noted.append(self._now())
            self.results += is_result

    def may_begin(self, wake: Wake) -> bool:
        """Whether a call may begin; if not, ``wake`` is called once when it may be asked again. From any thread."""
        if self._is_plainly_open():  # as nearly always: without the lock
            return True
        with self._lock:
            if self._is_open():
                return True
            self._waiting[wake] = None
            return False

    def committed(self, records: int, results: int) -> None:
        """Count records as committed: the oldest."""
        with self._lock:
            self._is_away = False
            for _ in range(records):
                self._noted.popleft()
            self.results -= results
            if not self._is_open():
                return  # the next commit will tell
            waiting, self._waiting = self._waiting, {}
        for wake in waiting:
            wake()

    def away(self) -> None:
        """A commit failed: let no call begin until one succeeds."""
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
