"""Time: every wait of every operator goes through a clock, so that virtual time can drive any pipeline."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.scheduler.eventloop import AsyncIOScheduler
from reactivex.scheduler.scheduler import Scheduler


class Clock(Protocol):
    """Where an operator reads the time and waits."""

    def now(self) -> float:
        """Seconds since some fixed moment."""
        ...

    def call_later(self, seconds: float, action: Callable[[], None]) -> DisposableBase:
        """Call ``action`` once after so many seconds, unless disposed before."""
        ...


def clock_for(timer: SchedulerBase | None, subscribed_on: SchedulerBase | None) -> Clock:
    """The clock of one subscription.

    Args:
        timer: The operator's own argument; it wins.
        subscribed_on: The scheduler given to ``subscribe``.

    Returns:
        A clock on the first scheduler given, else on the running event loop, else the shared timer thread.
    """
    scheduler = timer or subscribed_on
    loop = running_loop()
    if loop is not None and (scheduler is None or loop is loop_of(scheduler)):
        return LoopClock(loop)
    return TIMER_THREAD if scheduler is None else SchedulerClock(scheduler)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs on this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def loop_of(scheduler: SchedulerBase) -> asyncio.AbstractEventLoop | None:
    """The event loop of a scheduler; reactivex keeps it in a private attribute and offers no other way."""
    if isinstance(scheduler, AsyncIOScheduler):
        return scheduler._loop  # pyright: ignore[reportPrivateUsage]
    return None


class SchedulerClock:
    """The clock of a reactivex scheduler; exact under a virtual one."""

    def __init__(self, scheduler: SchedulerBase) -> None:
        self._scheduler = scheduler

    def now(self) -> float:
        """The scheduler's time in seconds."""
        return Scheduler.to_seconds(self._scheduler.now)

    def call_later(self, seconds: float, action: Callable[[], None]) -> DisposableBase:
        """Schedule ``action``."""

        def run(scheduler: SchedulerBase, state: Any = None) -> None:
            guarded(action)

        return self._scheduler.schedule_relative(seconds, run)


class LoopClock:
    """The clock of an event loop, which is monotonic; to be used on the loop's own thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # The standard loops' time() is this very function behind a slower call; another loop's may differ.
        standard = getattr(type(loop), "time", None) is asyncio.BaseEventLoop.time
        self.now: Callable[[], float] = time.monotonic if standard else loop.time

    def call_later(self, seconds: float, action: Callable[[], None]) -> DisposableBase:
        """Schedule ``action`` on the loop."""
        return Disposable(self._loop.call_later(seconds, action).cancel)


class TimerThread:
    """One daemon thread that serves all timers of a process, and lives only while there are any.

    Its actions must be brief: operators only hand a message to themselves there.
    """

    def __init__(self) -> None:
        self.now = time.monotonic
        self._changed = threading.Condition()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._cancelled: set[int] = set()
        self._numbers = itertools.count()
        self._running = False

    def call_later(self, seconds: float, action: Callable[[], None]) -> DisposableBase:
        """Schedule ``action`` on the timer thread; from any thread."""
        number = next(self._numbers)
        due = self.now() + max(0.0, seconds)
        with self._changed:
            heapq.heappush(self._timers, (due, number, action))
            if not self._running:
                self._running = True
                threading.Thread(target=self._serve, name="rxpipe-timer", daemon=True).start()
            elif self._timers[0][1] == number:
                self._changed.notify()
        return Disposable(lambda: self._cancel(due, number))

    def _cancel(self, due: float, number: int) -> None:
        with self._changed:
            if self._timers and (due, number) >= self._timers[0][:2]:
                self._cancelled.add(number)
            if len(self._cancelled) * 2 > len(self._timers):
                self._timers = [timer for timer in self._timers if timer[1] not in self._cancelled]
                heapq.heapify(self._timers)
                self._cancelled.clear()
                self._changed.notify()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while self._timers and (wait := self._timers[0][0] - self.now()) > 0:
                    self._changed.wait(wait)
                if not self._timers:
                    self._running = False
                    return
                _, number, action = heapq.heappop(self._timers)
                if number in self._cancelled:
                    self._cancelled.remove(number)
                    continue
            guarded(action)
            del action


TIMER_THREAD = TimerThread()


def guarded(action: Callable[[], None]) -> None:
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
