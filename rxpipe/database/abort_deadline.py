"""Ends a sequence of commits in time once its run is aborted, even if the database does not answer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import SerialDisposable

from rxpipe.errors import SinkError
from rxpipe.operators.core.clock import Clock, clock_for
from rxpipe.operators.core.machine import Machine

B = TypeVar("B")

SECONDS = 3.0  # that an aborted run waits for an answer of the database


class AbortDeadline:
    """Passes committed batches on, and gives up when an aborted run waits too long for the database.

    The time only counts while a commit is being tried, so a slow observer does not use it up.
    """

    def __init__(self, give_up: Callable[[Exception], None], name: str = "the database") -> None:
        """Describe the deadline.

        Args:
            give_up: Called with the error when the time is up. It calls ``fail``.
            name: The name of the database or file, for the error.
        """
        self._give_up = give_up
        self._name = name
        self._outlet: _Outlet[Any] | None = None
        self._clock: Clock | None = None
        self._timer = SerialDisposable()
        self._lock = threading.Lock()
        self._is_aborted = False
        self._is_asked = False

    def through(self, committed: Observable[B]) -> Observable[B]:
        """Returns the same batches, in a sequence that ``fail`` can end."""

        def subscribe(observer: ObserverBase[B], scheduler: SchedulerBase | None = None) -> DisposableBase:
            self._clock = clock_for(None, scheduler)
            self._outlet = outlet = _Outlet(observer)
            return outlet.subscribe_to(committed, scheduler)

        return reactivex.create(subscribe)

    def aborted(self) -> None:
        """The run is aborted: from now on the database has ``SECONDS`` for each answer."""
        with self._lock:
            self._is_aborted, was_aborted = True, self._is_aborted
            if self._is_asked and not was_aborted:
                self._limit()

    def asked(self) -> None:
        """A commit begins, or is tried again."""
        with self._lock:
            self._is_asked, was_asked = True, self._is_asked
            if self._is_aborted and not was_asked:
                self._limit()

    def answered(self) -> None:
        """The commit is done."""
        with self._lock:
            self._is_asked = False
            self._timer.disposable = None

    def fail(self, error: Exception) -> None:
        """End the sequence with an error now, unless it has ended. From any thread."""
        if self._outlet is not None:
            self._outlet.fail(error)

    def close(self) -> None:
        """The sequence is over: stop the timer."""
        self._timer.dispose()

    def _limit(self) -> None:
        if self._clock is not None:
            seconds = SECONDS
            silent = SinkError(f"{self._name} did not answer for {seconds:g} seconds after the run was aborted")
            self._timer.disposable = self._clock.call_later(seconds, lambda: self._give_up(silent))


class _Outlet(Machine[B, B]):
    """Passes batches on. ``fail`` ends it without the thread that waits for a silent server.

    That thread cannot be stopped.
    """

    def __init__(self, observer: ObserverBase[B]) -> None:
        super().__init__(observer, 1)
        self._batches: deque[B] = deque()

    def arrive(self, value: B) -> None:
        """Take a batch over."""
        self._batches.append(value)

    def fail(self, error: Exception) -> None:
        """End the sequence with an error now, unless it has ended. From any thread."""
        self.post(self.end, error)

    def advance(self) -> None:
        """Pass on the batches that may go."""
        while self._batches and not self.over and self.may_emit():
            self.emit(self._batches.popleft())
            self.gate.release()
        if self.source_done and not self._batches:
            self.end()

    def free(self) -> None:
        """Drop the batches that were not passed on."""
        self._batches.clear()
