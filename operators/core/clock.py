"""Time. Every operator waits by a clock, so virtual time can drive any pipeline.

All clocks of real time count the same monotonic seconds. So operators on different clocks can share a rate limiter. A
wait of more than ``FOREVER`` seconds never ends.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.scheduler import ImmediateScheduler, TrampolineScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler
from reactivex.scheduler.scheduler import Scheduler

from .threads import after_fork

Action = Callable[[], None]

FOREVER = 1e9  # about 31 years; much larger values overflow the timeouts of locks, and datetimes


class Clock(Protocol):
    """Tells an operator the time, and lets it wait."""

    def now(self) -> float:
        """Returns the seconds since some fixed moment."""
        ...

    def call_later(self, seconds: float, action: Action) -> DisposableBase:
        """Call ``action`` once after this many seconds, unless disposed before. From any thread."""
        ...


@runtime_checkable
class HasClock(Protocol):
    """A scheduler with a clock of its own."""

    @property
    def virtual_clock(self) -> Clock:
        """Returns the clock."""
        ...


def clock_for(timer: SchedulerBase | None, subscribed_on: SchedulerBase | None) -> Clock:
    """Returns the clock of one subscription.

    Args:
        timer: The operator's own ``timer`` argument. It takes precedence.
        subscribed_on: The scheduler given to ``subscribe``; see ``scheduler_to_wait_on``.

    Returns:
        A clock on the first scheduler that is given, else on the running event loop, else on the shared timer thread.
    """
    scheduler = timer or scheduler_to_wait_on(subscribed_on)
    if isinstance(scheduler, HasClock):
        return scheduler.virtual_clock
    loop = running_loop() if scheduler is None else loop_of(scheduler)
    if loop is not None:
        return LoopClock(loop)
    return TIMER_THREAD if scheduler is None else SchedulerClock(scheduler)


def scheduler_to_wait_on(subscribed_on: SchedulerBase | None) -> SchedulerBase | None:
    """Returns the scheduler, or None if it runs actions on the thread that schedules them.

    Some reactivex operators pass such a scheduler (immediate or trampoline) to their sources. It waits by blocking the
    subscriber's thread, and may emit before the subscriber has the disposable.
    """
    return None if isinstance(subscribed_on, (TrampolineScheduler, ImmediateScheduler)) else subscribed_on


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Returns the event loop that runs on this thread, or None."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def needed_loop() -> asyncio.AbstractEventLoop:
    """Returns the event loop that runs on this thread, for an await that follows.

    Raises:
        RuntimeError: There is no loop. The awaiting code is driven by another library, such as trio.
    """
    if (loop := running_loop()) is None:
        raise RuntimeError(
            "this is awaited on asyncio, and no asyncio event loop is running here. On trio, call what blocks on a "
            "thread: await trio.to_thread.run_sync(pipeline.run, ids)"
        )
    return loop


def loop_of(scheduler: SchedulerBase) -> asyncio.AbstractEventLoop | None:
    """Returns the event loop of a scheduler, or None. reactivex keeps the loop in a private attribute."""
    if isinstance(scheduler, AsyncIOScheduler):
        return scheduler._loop  # pyright: ignore[reportPrivateUsage]
    return None


class SchedulerClock:
    """The clock of a reactivex scheduler. Exact with a virtual scheduler."""

    def __init__(self, scheduler: SchedulerBase) -> None:
        self._scheduler = scheduler
        # A scheduler without a clock of its own tells wall-clock time, which can be set back. Use monotonic time then.
        real = getattr(type(scheduler), "now", None) is Scheduler.now
        self.now: Callable[[], float] = time.monotonic if real else self._scheduler_now

    def _scheduler_now(self) -> float:
        return Scheduler.to_seconds(self._scheduler.now)

    def call_later(self, seconds: float, action: Action) -> DisposableBase:
        """Schedule ``action``."""

        def run(scheduler: SchedulerBase, state: Any = None) -> None:
            guarded(action)

        return Disposable() if seconds > FOREVER else self._scheduler.schedule_relative(seconds, run)


class LoopClock:
    """The clock of an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # The time() of the standard loops is this very function, with a slower call. Another loop's may differ.
        standard = getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time
        self.now: Callable[[], float] = time.monotonic if standard else loop.time

    def call_later(self, seconds: float, action: Action) -> DisposableBase:
        """Schedule ``action`` on the loop."""
        return Disposable() if seconds > FOREVER else _LoopTimer(self._loop, seconds, action)


class _LoopTimer(DisposableBase):
    """A delayed call on a loop, set and disposed from any thread."""

    __slots__ = ("_action", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, action: Action) -> None:
        self._loop = loop
        self._action: Action | None = action
        self._handle: asyncio.TimerHandle | None = None
        if running_loop() is loop:
            self._begin(seconds)
        else:
            loop.call_soon_threadsafe(self._begin, seconds)

    def _begin(self, seconds: float) -> None:
        if self._action is not None:
            self._handle = self._loop.call_later(seconds, self._ring)

    def _ring(self) -> None:
        action, self._action = self._action, None
        if action is not None:
            action()

    def dispose(self) -> None:
        self._action = None
        if running_loop() is self._loop:
            self._cancel()
        elif self._handle is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


_Timer = tuple[float, int, list[Action]]  # when it is due, its number, its action unless that was run or cancelled


class TimerThread:
    """A daemon thread that serves all timers of a process, in order. It lives only while there are timers.

    Actions should be short, but an action may notify an observer that blocks. Then a standby thread takes over, so
    other timers are late by about ``patience`` seconds only. This is the leader/followers pattern (Schmidt et al.,
    2000), except that a leader hands over only when a timer is late.
    """

    def __init__(self, patience: float = 0.05) -> None:
        """Start no thread yet.

        Args:
            patience: Seconds that a timer may be late because of another timer's action.
        """
        self.now = time.monotonic
        self._patience = patience
        self.reset()

    def reset(self) -> None:
        """Forget all timers."""
        self._changed = threading.Condition()
        self._timers: list[_Timer] = []
        self._cancelled = 0  # number of cancelled ones in the list
        self._numbers = itertools.count()
        self._leader: int | None = None  # the thread that serves timers
        self._acting = False  # True if the leader is running an action
        self._stands_by = False  # True if there is a second thread

    def call_later(self, seconds: float, action: Action) -> DisposableBase:
        """Schedule ``action`` on the timer thread. From any thread."""
        if seconds > FOREVER:
            return Disposable()
        cell = [action]
        with self._changed:
            timer = (self.now() + max(0.0, seconds), next(self._numbers), cell)
            heapq.heappush(self._timers, timer)
            if self._leader is None:
                self._leader = _start_thread(self._lead)
            elif self._timers[0] is timer:
                self._changed.notify_all()
            if self._acting:
                self._have_one_stand_by()
        return Disposable(lambda: self._cancel(cell))

    def _cancel(self, cell: list[Action]) -> None:
        with self._changed:
            dropped = cell.copy()  # freed after the lock is released, since a destructor may run then
            if not dropped:
                return
            cell.clear()
            self._cancelled += 1
            if self._cancelled * 2 > len(self._timers):
                self._timers = [timer for timer in self._timers if timer[2]]
                heapq.heapify(self._timers)
                self._cancelled = 0
                if not self._timers:
                    self._changed.notify_all()

    def _lead(self) -> None:
        while (action := self._next()) is not None:
            guarded(action)
            del action

    def _next(self) -> Action | None:
        """Wait for the next action. Returns ``None`` if no timer is left, or if another thread has taken over."""
        with self._changed:
            if self._leader != threading.get_ident():
                return None
            self._acting = False
            while self._timers:
                due, _, cell = self._timers[0]
                if cell and (wait := due - self.now()) > 0:
                    self._changed.wait(min(wait, threading.TIMEOUT_MAX))
                    continue
                heapq.heappop(self._timers)
                if cell:
                    self._acting = True
                    if self._timers:
                        self._have_one_stand_by()
                    return cell.pop()
                self._cancelled -= 1
            self._leader = None
            self._changed.notify_all()
            return None

    def _have_one_stand_by(self) -> None:
        if not self._stands_by:
            with suppress(RuntimeError):  # no thread can be had: then timers may be late
                _start_thread(self._stand_by)
                self._stands_by = True

    def _stand_by(self) -> None:
        if self._take_over():
            self._lead()

    def _take_over(self) -> bool:
        """Wait until a timer is late because of an action, and become the leader. Returns False if no timer is left."""
        with self._changed:
            while self._timers:
                wait = self._timers[0][0] + self._patience - self.now()
                if wait <= 0 and self._acting:
                    self._leader, self._acting = threading.get_ident(), False
                    break
                self._changed.wait(min(wait if wait > 0 else self._patience, threading.TIMEOUT_MAX))
            self._stands_by = False
            return bool(self._timers)


def _start_thread(target: Action) -> int | None:
    thread = threading.Thread(target=target, name="rxpipe-timer", daemon=True)
    thread.start()
    return thread.ident


TIMER_THREAD = TimerThread()
after_fork(TIMER_THREAD.reset)


def guarded(action: Action) -> None:
    """Run an action on a thread that others depend on. Errors are shown, and the thread lives on."""
    try:
        action()
    except BaseException as error:  # noqa: BLE001 - raised by an observer's on_error: nobody is left to take it
        show_unhandled(error)


def show_unhandled(error: BaseException) -> None:
    """Report an error that no observer took, as Python does when an error ends a thread."""
    threading.excepthook(
        threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread()))
    )
