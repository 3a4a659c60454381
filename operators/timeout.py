"""``timeout``: limits the time of a whole sequence."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import SerialDisposable

from .core.clock import Clock, clock_for
from .core.machine import Machine
from .errors import CompletionTimeout

A = TypeVar("A")


def timeout(seconds: float, *, timer: SchedulerBase | None = None) -> Callable[[Observable[A]], Observable[A]]:
    """Fail with ``CompletionTimeout`` if the source has not completed ``seconds`` seconds after the subscription.

    ::

        source.pipe(ops.timeout(600))

    reactivex's own ``timeout`` limits the gap between two items instead.

    - When the time is up, the source is disposed, which stops the calls of its stages. Waiting items are discarded.
    - Items are passed on at once and in order, but wait for room downstream.
    - Items that arrived before the source failed are emitted before its error.

    Args:
        seconds: The time in seconds, above 0.
        timer: The scheduler to wait on. The default is the scheduler subscribed on, the running loop, or a timer
            thread.

    Raises:
        ValueError: ``seconds`` is not above 0.
    """
    if not seconds > 0:
        raise ValueError(f"seconds must be above 0, not {seconds}")

    def operator(source: Observable[A]) -> Observable[A]:
        def subscribe(observer: ObserverBase[A], scheduler: SchedulerBase | None = None) -> DisposableBase:
            machine: _Timeout[A] = _Timeout(observer)
            machine.start(seconds, clock_for(timer, scheduler))
            return machine.subscribe_to(source, scheduler)

        return reactivex.create(subscribe)

    return operator


class _Timeout(Machine[A, A]):
    def __init__(self, observer: ObserverBase[A]) -> None:
        super().__init__(observer, 1)
        self._items: deque[A] = deque()
        self._error: Exception | None = None
        self._timer = SerialDisposable()

    def start(self, seconds: float, clock: Clock) -> None:
        """Start the timer. The time may be up before this returns."""
        self._timer.disposable = clock.call_later(seconds, lambda: self.post(self.end, CompletionTimeout(seconds)))

    def arrive(self, value: A) -> None:
        self._items.append(value)

    def source_failed(self, error: Exception) -> None:
        self._error = error
        self.source_completed()

    def advance(self) -> None:
        while self._items and not self.over and self.may_emit():
            self.emit(self._items.popleft())
            self.gate.release()
        if self.source_done and not self._items:
            self.end(self._error)

    def free(self) -> None:
        self._timer.dispose()
        self._items.clear()
