"""Rate limits that operators can share, and how one waits for a place in them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from reactivex.abc import DisposableBase

from .clock import Clock


@runtime_checkable
class Limiter(Protocol):
    """Says when the next call may be made."""

    def reserve(self, now: float) -> float:
        """Take the next free place in the schedule.

        Args:
            now: The clock's time, in seconds.

        Returns:
            Seconds to wait before the call.
        """
        ...


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

    def reserve(self, now: float, amount: float = 1.0) -> float:
        """Take the next free place in the schedule.

        Args:
            now: The clock's time, in seconds.
            amount: What the call takes of the limit, where that counts something else than calls.

        Returns:
            Seconds to wait before the call.
        """
        with self._lock:
            due = max(self._next, now)
            self._next = due + self._interval * amount
            return max(0.0, due - self._slack - now)

    def give_back(self, amount: float) -> None:
        """Correct what was taken: the call took so much less; or more, if this is below 0."""
        with self._lock:
            self._next -= self._interval * amount


class AllOf:
    """Several limiters as one: a call has its place when it has one in each."""

    def __init__(self, *limiters: Limiter) -> None:
        self._limiters = limiters

    def reserve(self, now: float) -> float:
        """Take the next free place in each schedule; see ``Limiter``."""
        return max((limiter.reserve(now) for limiter in self._limiters), default=0.0)


class Permit:
    """One operator's place in a limiter: reserved when it is asked for, and there when its time has come."""

    def __init__(self, limiter: Limiter, clock: Clock, wake: Callable[[Callable[[], None]], None]) -> None:
        """Hold none.

        Args:
            limiter: May be shared.
            clock: To wait on.
            wake: Called, where the timer rings, with what the operator is to call before it asks again.
        """
        self._limiter = limiter
        self._clock = clock
        self._wake = wake
        self._timer: DisposableBase | None = None
        self._is_here = False

    def take(self) -> bool:
        """Take the permit, if it is there; else it is on its way, and ``wake`` is called when it has come."""
        if self._is_here:
            self._is_here = False
            return True
        if self._timer is None:
            wait = self._limiter.reserve(self._clock.now())
            if wait <= 0:
                return True
            self._timer = self._clock.call_later(wait, lambda: self._wake(self._come))
        return False

    def _come(self) -> None:
        self._timer = None
        self._is_here = True

    def drop(self) -> None:
        """Let go of it, if it is there: by the time that it could be used, it is too late."""
        self._is_here = False

    def dispose(self) -> None:
        """Wait no longer."""
        if self._timer is not None:
            self._timer.dispose()
