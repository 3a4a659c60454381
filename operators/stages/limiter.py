"""Rate limits that operators can share, and how one waits for a place in them."""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from reactivex.abc import DisposableBase

from ..core.clock import Clock


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


@runtime_checkable
class CallLimiter(Limiter, Protocol):
    """A limiter that is told when a call has ended, and when a reserved place is not used."""

    def call_ended(self, call: object | None) -> None:
        """A call with a place has ended; with ``None``, a place is not used for any call."""
        ...


@runtime_checkable
class SpendingLimiter(CallLimiter, Protocol):
    """A limiter of what calls use, which is known when they have ended."""

    def begin(self, call: object | None = None) -> float:
        """A call begins to use it; returns how much was taken for the call."""
        ...

    def answered(self, taken: float, used: int) -> None:
        """The call has used so much; ``taken`` is what ``begin`` gave."""
        ...

    def failed(self, taken: float) -> None:
        """The call has used nothing."""
        ...

    def refused(self, taken: float, retry_after: float) -> None:
        """The call was refused for now; 0 if the server does not say for how many seconds."""
        ...


@runtime_checkable
class FreshLimiter(Limiter, Protocol):
    """A limiter of which there can be another one with the same limits."""

    def fresh(self) -> Limiter:
        """Such a one, of which nothing was taken."""
        ...


Unit = Literal["calls", "items", "tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUse:
    """How much of a limit was used so far.

    Attributes:
        limiter: Whose limit it is: the same object for all who share it.
        name: What it is called; None if it has no name.
        unit: What is counted.
        rate: How many of these in a second.
        taken: How many were taken.
        paused: Seconds for which the server had everything pause.
    """

    limiter: object
    name: str | None
    unit: Unit
    rate: float
    taken: float
    paused: float = 0.0


@runtime_checkable
class CountingLimiter(Protocol):
    """A limiter that tells how much of it was used."""

    def uses(self) -> Sequence[LimitUse]:
        """Each of its limits."""
        ...


class RateLimiter:
    """Spaces calls evenly: so many in so many seconds, with a burst allowed after a rest.

    The generic cell rate algorithm (ITU-T I.371): one number, the time at which the next call would be on schedule.
    Calls that also wait for other limiters reserve later places; the gaps before them stay free for other calls.
    Safe to share between stages, pipelines and threads, as long as they share one clock.

    Attributes:
        lock: Held while the schedule is looked at and changed.
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
        self._limits = limit, seconds, burst
        self._interval = seconds / limit
        self._used = 0.0
        self._slack = self._interval * (burst - 1)
        self._next = float("-inf")
        self._ahead: list[float] = []  # places beyond that are taken, in order; each is an interval long
        self.lock = threading.Lock()

    def fresh(self) -> RateLimiter:
        """One with the same limits; see ``FreshLimiter``."""
        limit, seconds, burst = self._limits
        return RateLimiter(limit, seconds, burst=burst)

    def reserve(self, now: float, amount: float = 1.0) -> float:
        """Take the next free place in the schedule.

        Args:
            now: The clock's time, in seconds.
            amount: What the call takes of the limit, where that counts something else than calls.

        Returns:
            Seconds to wait before the call.
        """
        with self.lock:
            length = self._interval * amount
            due = self._free_from(now, now, length)
            self._next = due + length
            self._used += amount
            return max(0.0, due - self._slack - now)

    def earliest(self, at: float, now: float) -> float:
        """When a call may be made at the earliest, from this time on; holding the lock."""
        return max(at, self._free_from(at, now, self._interval) - self._slack)

    def take(self, at: float, now: float) -> None:
        """Take the place of a call at a time that ``earliest`` gave; holding the lock."""
        insort(self._ahead, self._free_from(at, now, self._interval))
        self._used += 1

    def _free_from(self, at: float, now: float, length: float) -> float:
        """Where the schedule is first free for so long, from a time on."""
        while self._ahead and self._ahead[0] + self._interval <= now:
            self._next = max(self._next, self._ahead.pop(0) + self._interval)
        due = max(self._next, at)
        for taken in self._ahead:
            if due + length <= taken:
                break
            due = max(due, taken + self._interval)
        return due

    def give_back(self, amount: float) -> None:
        """Correct what was taken: the call took so much less; or more, if this is below 0."""
        with self.lock:
            self._next -= self._interval * amount
            self._used -= amount

    def uses(self) -> Sequence[LimitUse]:
        """How much of it was used; see ``CountingLimiter``."""
        return [LimitUse(limiter=self, name=None, unit="calls", rate=1 / self._interval, taken=self._used)]


class AllOf:
    """Several limiters as one: a call has its place when it has one in each, at the same time.

    Limiters other than ``RateLimiter`` give no place at a time of one's choice: a call that has to wait for another
    limiter comes later than the place that it has there.

    Attributes:
        limiters: Each of them.
    """

    def __init__(self, *limiters: Limiter) -> None:
        self.limiters = limiters
        schedules = {one for one in limiters if isinstance(one, RateLimiter)}
        self._schedules = sorted(schedules, key=id)  # in one order, as several of them are locked at once
        self._others = [one for one in limiters if not isinstance(one, RateLimiter)]

    def reserve(self, now: float) -> float:
        """Take the first place that is free in all schedules; see ``Limiter``."""
        at = now + max((limiter.reserve(now) for limiter in self._others), default=0.0)
        with ExitStack() as locks:
            for one in self._schedules:
                locks.enter_context(one.lock)
            while (later := max((one.earliest(at, now) for one in self._schedules), default=at)) > at:
                at = later
            for one in self._schedules:
                one.take(at, now)
        return at - now

    def uses(self) -> Sequence[LimitUse]:
        """How much of each was used; see ``CountingLimiter``."""
        limiters = (*self._schedules, *self._others)
        return [use for one in limiters if isinstance(one, CountingLimiter) for use in one.uses()]


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
        self._call_ended = limiter.call_ended if isinstance(limiter, CallLimiter) else None
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
        """Give up the place, if its time has come but no call can use it now: places must not be saved up."""
        if self._is_here:
            self._is_here = False
            self.call_ended(None)

    def call_ended(self, call: object | None) -> None:
        """The call that it was taken for has ended; with ``None``, it is not used."""
        if self._call_ended is not None:
            self._call_ended(call)

    def dispose(self) -> None:
        """Wait no longer."""
        self.drop()
        if self._timer is not None:
            self._timer.dispose()
            self._timer = None
            self.call_ended(None)
