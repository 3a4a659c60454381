"""Calls in real time beside a virtual-time scheduler. No virtual time passes during a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast
from weakref import WeakKeyDictionary

from reactivex.abc import SchedulerBase
from reactivex.scheduler import VirtualTimeScheduler

from .clock import running_loop

_PATIENCE = 1.0  # real seconds without a beginning or an end, after which calls count as hanging


class RealCalls:
    """The coroutines and executor calls that run beside one virtual-time scheduler.

    Each beginning call schedules an action for the present tick. The action blocks the thread that lets time pass,
    until all calls have ended. On an event loop it must not block. There it stops the scheduler if ``passing`` is
    active; the scheduler is then started again later.

    If no call begins or ends for one second, the calls hang. Then time passes, since a timeout must end them.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[Any] = set()
        self._last_change = 0.0
        self._is_due = False  # True if the action is scheduled
        self._is_passing = False

    def begin(self, call: Any, scheduler: SchedulerBase) -> None:
        """Count a call that begins. From any thread."""
        with self._changed:
            self._running.add(call)
            self._note()
            was_due, self._is_due = self._is_due, True
        if not was_due:  # many actions at one tick would make the clock advance
            scheduler.schedule(self._hold)

    def end(self, *calls: Any) -> None:
        """Count calls as ended. From any thread."""
        with self._changed:
            self._running.difference_update(calls)
            self._note()

    def _note(self) -> None:
        self._last_change = time.monotonic()
        self._changed.notify_all()

    @property
    def are_running(self) -> bool:
        """True if time must wait."""
        with self._changed:
            if time.monotonic() - self._last_change > _PATIENCE:
                self._running.clear()
            return bool(self._running)

    @contextmanager
    def passing(self) -> Generator[None]:
        """Let time pass inside this block. Check ``are_running`` before you let time pass again."""
        self._is_passing = True
        try:
            yield
        finally:
            self._is_passing = False

    def _hold(self, scheduler: SchedulerBase, state: Any = None) -> None:
        self._is_due = False
        if running_loop() is None:
            with self._changed:
                while self._running:
                    seen = self._last_change
                    if not self._changed.wait_for(lambda: self._last_change != seen, _PATIENCE):  # noqa: B023
                        self._running.clear()
        elif self._is_passing and self.are_running:
            cast("VirtualTimeScheduler", scheduler).stop()


_known: WeakKeyDictionary[SchedulerBase, RealCalls] = WeakKeyDictionary()
_lock = threading.Lock()


def real_calls_of(scheduler: VirtualTimeScheduler) -> RealCalls:
    """Returns the calls beside a scheduler."""
    with _lock:
        if (found := _known.get(scheduler)) is None:
            found = _known[scheduler] = RealCalls()
        return found
