"""Time: every wait of every operator goes through a clock, so that virtual time can drive any pipeline.

All clocks that go by real time count the same monotonic seconds, so that operators on different ones can share a
rate limiter. A wait of more than ``FOREVER`` seconds never ends.
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
    """Where an operator reads the time and waits."""

    def now(self) -> float:
        """Seconds since some fixed moment."""
        ...

    def call_later(self, seconds: float, action: Action) -> DisposableBase:
        """Call ``action`` once after so many seconds, unless disposed before; from any thread."""
        ...


@runtime_checkable
class HasClock(Protocol):
    """A scheduler that brings its own clock."""

    @property
    def virtual_clock(self) -> Clock:
        """It."""
        ...


def clock_for(timer: SchedulerBase | None, subscribed_on: SchedulerBase | None) -> Clock:
    """The clock of one subscription.

    Args:
        timer: The operator's own argument; it wins.
        subscribed_on: The scheduler given to ``subscribe``; see ``scheduler_to_wait_on``.

    Returns:
        A clock on the first scheduler given, else on the running event loop, else the shared timer thread.
    """
    scheduler = timer or scheduler_to_wait_on(subscribed_on)
    if isinstance(scheduler, HasClock):
        return scheduler.virtual_clock
    loop = running_loop() if scheduler is None else loop_of(scheduler)
    if loop is not None:
        return LoopClock(loop)
    return TIMER_THREAD if scheduler is None else SchedulerClock(scheduler)


def scheduler_to_wait_on(subscribed_on: SchedulerBase | None) -> SchedulerBase | None:
    """The scheduler, unless it runs actions on the thread that schedules them; then None.

    Some reactivex operators pass such a scheduler (immediate or trampoline) on to their sources. It waits by blocking
    the subscriber's thread, and may emit before the subscriber has the disposable.
    """
    return None if isinstance(subscribed_on, (TrampolineScheduler, ImmediateScheduler)) else subscribed_on


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs on this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def needed_loop() -> asyncio.AbstractEventLoop:
    """The event loop that runs on this thread, for what is about to be awaited.

    Raises:
        RuntimeError: There is none: what awaits it is driven by another library, such as trio.
    """
    if (loop := running_loop()) is None:
        raise RuntimeError(
            "this is awaited on asyncio, and no asyncio event loop is running here. On trio, call what blocks on a "
            "thread: await trio.to_thread.run_sync(pipeline.run, ids)"
        )
    return loop


def loop_of(scheduler: SchedulerBase) -> asyncio.AbstractEventLoop | None:
    """The event loop of a scheduler; reactivex keeps it in a private attribute and offers no other way."""
    if isinstance(scheduler, AsyncIOScheduler):
        return scheduler._loop  # pyright: ignore[reportPrivateUsage]
    return None


class SchedulerClock:
    """The clock of a reactivex scheduler; exact under a virtual one."""

    def __init__(self, scheduler: SchedulerBase) -> None:
        self._scheduler = scheduler
        # A scheduler without a clock of its own tells wall-clock time, which can be set back: use monotonic time then.
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
        # The standard loops' time() is this very function behind a slower call; another loop's may differ.
        standard = getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time
        self.now: Callable[[], float] = time.monotonic if standard else loop.time

    def call_later(self, seconds: float, action: Action) -> DisposableBase:
        """Schedule ``action`` on the loop."""
        return Disposable() if seconds > FOREVER else _LoopTimer(self._loop, seconds, action)


class _LoopTimer(DisposableBase):
    """A call that a loop makes later, set and disposed from any thread."""

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


_Timer = tuple[float, int, list[Action]]  # when it is due, its number, its action unless that is served or cancelled


class TimerThread:
    """A daemon thread that serves all timers of a process, in order, and lives only while there are any.

    Actions should be brief, but an action may notify an observer that blocks. Then a standby thread takes over, so
    that other timers are late by about ``patience`` seconds only. This is the leader/followers pattern (Schmidt et
    al., 2000), except that a leader hands over only when a timer is late.
    """

    def __init__(self, patience: float = 0.05) -> None:
        """Start nothing yet.

        Args:
            patience: Seconds that a timer may be late on account of another's action.
        """
        self.now = time.monotonic
        self._patience = patience
        self.reset()

    def reset(self) -> None:
        """Forget all timers."""
        self._changed = threading.Condition()
        self._timers: list[_Timer] = []
        self._cancelled = 0  # of those in the list
        self._numbers = itertools.count()
        self._leader: int | None = None  # the thread that serves
        self._acting = False  # whether it is running an action
        self._stands_by = False  # whether there is a second thread

    def call_later(self, seconds: float, action: Action) -> DisposableBase:
        """Schedule ``action`` on the timer thread; from any thread."""
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
            dropped = cell.copy()  # freed after the lock is released: a destructor may run then
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
        """Wait for the next action; ``None`` if there is none left, or if another thread has taken over."""
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
            with suppress(RuntimeError):  # no thread to be had: then timers may be late
                _start_thread(self._stand_by)
                self._stands_by = True

    def _stand_by(self) -> None:
        if self._take_over():
            self._lead()

    def _take_over(self) -> bool:
        """Wait until a timer is late because of an action, and become the leader; or until no timer is left."""
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
    """Run an action on a thread that others depend on: what it raises is shown, and the thread lives on."""
    try:
        action()
    except BaseException as error:  # noqa: BLE001 - raised by an observer's on_error: nobody is left to take it
        show_unhandled(error)


def show_unhandled(error: BaseException) -> None:
    """Report an error that no observer took, as Python reports one that ends a thread."""
    threading.excepthook(
        threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread()))
    )
