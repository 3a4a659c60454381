"""Rate limits that operators can share."""

from __future__ import annotations

import threading


class RateLimiter:
    """Spaces calls evenly: so many in so many seconds, with a burst allowed after a rest.

    The generic cell rate algorithm (ITU-T I.371): one number, the time at which the next call would be on schedule.
    Safe to share between stages, pipelines and threads, as long as they share one clock.
    """

    def __init__(self, limit: int, seconds: float = 1.0, *, burst: int = 1) -> None:
        """Allow ``limit`` calls in ``seconds``.

        Args:
            limit: Calls, at least 1.
            seconds: The period, above 0.
            burst: Calls that may follow each other at once after a rest, at least 1.

        Raises:
            ValueError: A number is out of range.
        """
        if not (limit >= 1 and seconds > 0 and burst >= 1):
            raise ValueError(f"need limit >= 1, seconds > 0, burst >= 1, not {limit}, {seconds}, {burst}")
        self._interval = seconds / limit
        self._slack = self._interval * (burst - 1)
        self._next = float("-inf")
        self._lock = threading.Lock()

    def reserve(self, now: float) -> float:
        """Take the next free place in the schedule.

        Args:
            now: The clock's time, in seconds.

        Returns:
            Seconds to wait before the call.
        """
        with self._lock:
            due = max(self._next, now)
            self._next = due + self._interval
            return max(0.0, due - self._slack - now)
