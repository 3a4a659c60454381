"""Rate limits that operators can share, and the waiting for a place in them."""

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
    """Decides when the next call may be made."""

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
    """A limiter that must know when a call has ended, and when a reserved place is not used."""

    def call_ended(self, call: object | None) -> None:
        """A call with a place has ended. ``None``: a place was not used for a call."""
        ...


@runtime_checkable
class SpendingLimiter(CallLimiter, Protocol):
    """A limiter of what calls use. The amount is known when a call has ended."""

    def begin(self, call: object | None = None) -> float:
        """A call begins to use the limiter. Returns the amount taken for the call."""
        ...

    def answered(self, taken: float, used: int) -> None:
        """The call has used the amount ``used``. ``taken`` is the result of ``begin``."""
        ...

    def failed(self, taken: float) -> None:
        """The call has used nothing."""
        ...

    def refused(self, taken: float, retry_after: float) -> None:
        """The server refused the call for now. ``retry_after`` is in seconds; 0 if the server does not say."""
        ...


@runtime_checkable
class FreshLimiter(Limiter, Protocol):
    """A limiter that can make a new one with the same limits."""

    def fresh(self) -> Limiter:
        """Returns a limiter with the same limits, from which nothing was taken."""
        ...


Unit = Literal["calls", "items", "tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUse:
    """The use of a limit so far.

    Attributes:
        limiter: The owner of the limit: the same object for all who share it.
        name: The name of the limit; None if it has no name.
        unit: The unit of the limit, such as calls or tokens.
        rate: The limit in units per second.
        taken: Units taken so far.
        paused: Seconds of pauses that the server asked for.
    """

    limiter: object
    name: str | None
    unit: Unit
    rate: float
    taken: float
    paused: float = 0.0


@runtime_checkable
class CountingLimiter(Protocol):
    """A limiter that counts its use."""

    def uses(self) -> Sequence[LimitUse]:
        """Returns the use of each of its limits."""
        ...


class RateLimiter:
    """Spaces calls evenly: ``limit`` calls in ``seconds``, with a burst allowed after a rest.

    The algorithm is the generic cell rate algorithm (ITU-T I.371). Its state is one number: the time at which the next
    call would be on schedule. Calls that also wait for other limiters reserve later places. The gaps before them stay
    free for other calls.

    Stages, pipelines and threads can share a limiter safely, as long as they share one clock.

    Attributes:
        lock: Held while the schedule is read and changed.
    """

    def __init__(self, limit: int, seconds: float = 1.0, *, burst: int = 1) -> None:
        """Allow ``limit`` calls in ``seconds``.

        Args:
            limit: Number of calls, at least 1.
            seconds: The period in seconds, above 0.
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
        self._ahead: list[float] = []  # places after that time that are taken, in order; each is an interval long
        self.lock = threading.Lock()

    def fresh(self) -> RateLimiter:
        """Returns a limiter with the same limits; see ``FreshLimiter``."""
        limit, seconds, burst = self._limits
        return RateLimiter(limit, seconds, burst=burst)

    def reserve(self, now: float, amount: float = 1.0) -> float:
        """Take the next free place in the schedule.

        Args:
            now: The clock's time, in seconds.
            amount: The units that the call takes, if the limit does not count calls.

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
        """Returns the earliest time from ``at`` on at which a call may be made. The caller holds the lock."""
        return max(at, self._free_from(at, now, self._interval) - self._slack)

    def take(self, at: float, now: float) -> None:
        """Take the place of a call at a time that ``earliest`` returned. The caller holds the lock."""
        insort(self._ahead, self._free_from(at, now, self._interval))
        self._used += 1

    def _free_from(self, at: float, now: float, length: float) -> float:
        """Returns the first time from ``at`` on at which the schedule is free for ``length``."""
        while self._ahead and self._ahead[0] + self._interval <= now:
            self._next = max(self._next, self._ahead.pop(0) + self._interval)
        due = max(self._next, at)
        for taken in self._ahead:
            if due + length <= taken:
                break
            due = max(due, taken + self._interval)
        return due

    def give_back(self, amount: float) -> None:
        """Correct the amount that was taken: give back ``amount`` units, or take more if it is below 0."""
        with self.lock:
            self._next -= self._interval * amount
            self._used -= amount

    def uses(self) -> Sequence[LimitUse]:
        """Returns the use of the limit; see ``CountingLimiter``."""
        return [LimitUse(limiter=self, name=None, unit="calls", rate=1 / self._interval, taken=self._used)]


class AllOf:
    """Several limiters as one. A call gets its place when it has a place in each limiter at the same time.

    A limiter that is no ``RateLimiter`` does not give a place at a chosen time. If a call has to wait for another
    limiter, the call comes later than its place in such a limiter.

    Attributes:
        limiters: The limiters.
    """

    def __init__(self, *limiters: Limiter) -> None:
        self.limiters = limiters
        schedules = {one for one in limiters if isinstance(one, RateLimiter)}
        self._schedules = sorted(schedules, key=id)  # in a fixed order, since several of them are locked at once
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
        """Returns the use of all limits; see ``CountingLimiter``."""
        limiters = (*self._schedules, *self._others)
        return [use for one in limiters if isinstance(one, CountingLimiter) for use in one.uses()]


class Permit:
    """One operator's place in a limiter. It is reserved on request, and usable when its time has come."""

    def __init__(self, limiter: Limiter, clock: Clock, wake: Callable[[Callable[[], None]], None]) -> None:
        """Hold no place.

        Args:
            limiter: The limiter. Others can share it.
            clock: The clock to wait on.
            wake: Called on the timer's thread with a function. The operator calls that function before it asks again.
        """
        self._limiter = limiter
        self._call_ended = limiter.call_ended if isinstance(limiter, CallLimiter) else None
        self._clock = clock
        self._wake = wake
        self._timer: DisposableBase | None = None
        self._is_here = False

    def take(self) -> bool:
        """Take the permit if its time has come. Otherwise reserve it; ``wake`` is called when its time comes."""
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
        """Give up the place if its time has come but no call can use it now. Places must not be saved up."""
        if self._is_here:
            self._is_here = False
            self.call_ended(None)

    def call_ended(self, call: object | None) -> None:
        """The call with the permit has ended. ``None``: the permit was not used."""
        if self._call_ended is not None:
            self._call_ended(call)

    def dispose(self) -> None:
        """Stop waiting."""
        self.drop()
        if self._timer is not None:
            self._timer.dispose()
            self._timer = None
            self.call_ended(None)
