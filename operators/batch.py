"""``batch``: lists of items, by count and by time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from .clock import Clock, clock_for
from .machine import Machine

A = TypeVar("A")


def batch(
    max_items: int, max_seconds: float | None = None, *, timer: SchedulerBase | None = None
) -> Callable[[Observable[A]], Observable[list[A]]]:
    """Group items into lists, in order: a list goes when it is full, or when its first item has waited long enough.

    ::

        rows.pipe(ops.batch(500, 0.05), ops.stage(write))

    A list that finds no room downstream grows on, up to ``max_items``; then the source has to wait. So batches are
    small while downstream keeps up, and large when it does not. What is held when the source ends goes first,
    also before an error: nothing that arrived is lost. Empty lists are never emitted.

    Args:
        max_items: The longest list, at least 1.
        max_seconds: How long an item may wait while there is room downstream; ``None`` for as long as it takes.
        timer: The scheduler to wait on; else the one subscribed on, the running loop, or a timer thread.

    Raises:
        ValueError: A number is out of range.
    """
    if max_items < 1:
        raise ValueError(f"max_items must be at least 1, not {max_items}")
    if max_seconds is not None and not max_seconds >= 0:
        raise ValueError(f"max_seconds must be at least 0, not {max_seconds}")

    def operator(source: Observable[A]) -> Observable[list[A]]:
        def subscribe(observer: ObserverBase[list[A]], scheduler: SchedulerBase | None = None) -> DisposableBase:
            machine = _Batch(max_items, max_seconds, clock_for(timer, scheduler), observer)
            return machine.subscribe_to(source, scheduler)

        return reactivex.create(subscribe)

    return operator


def unbatch() -> Callable[[Observable[Iterable[A]]], Observable[A]]:
    """Emit the items of lists one by one, in order, as there is room downstream.

    ::

        ids.pipe(ops.batch(20), ops.stage(embed_all), ops.unbatch())
    """

    def operator(source: Observable[Iterable[A]]) -> Observable[A]:
        def subscribe(observer: ObserverBase[A], scheduler: SchedulerBase | None = None) -> DisposableBase:
            return _Unbatch(observer).subscribe_to(source, scheduler)

        return reactivex.create(subscribe)

    return operator


class _Batch(Machine[A, list[A]]):
    def __init__(
        self, max_items: int, max_seconds: float | None, clock: Clock, observer: ObserverBase[list[A]]
    ) -> None:
        super().__init__(observer, max_items)
        self._max_items = max_items
        self._max_seconds = max_seconds
        self._clock = clock
        self._items: list[A] = []
        self._timer: DisposableBase | None = None
        self._due = False
        self._error: Exception | None = None

    def arrive(self, value: A) -> None:
        self._items.append(value)
        if len(self._items) == 1 and self._max_seconds is not None:
            self._timer = self._clock.call_later(self._max_seconds, lambda: self.post(self._time_is_up))

    def _time_is_up(self) -> None:
        self._timer = None
        self._due = True

    def source_failed(self, error: Exception) -> None:
        self._error = error
        self.source_completed()

    def advance(self) -> None:
        while self._items and not self.over:
            if not (self._due or self.source_done or len(self._items) >= self._max_items):
                return
            if not self.may_emit():
                return
            items, self._items = self._items[: self._max_items], self._items[self._max_items :]
            self._stop_timer()
            self.emit(items)
            for _ in items:
                self.gate.release()
        if self.source_done:
            self.end(self._error)

    def _stop_timer(self) -> None:
        self._due = False
        if self._timer is not None:
            self._timer.dispose()
            self._timer = None

    def free(self) -> None:
        self._stop_timer()
        self._items = []


class _Unbatch(Machine[Iterable[A], A]):
    """Holds one list."""

    def __init__(self, observer: ObserverBase[A]) -> None:
        super().__init__(observer, 1)
        self._lists: deque[deque[A]] = deque()
        self._error: Exception | None = None

    def arrive(self, value: Iterable[A]) -> None:
        self._lists.append(deque(value))

    def source_failed(self, error: Exception) -> None:
        self._error = error
        self.source_completed()

    def advance(self) -> None:
        while self._lists and not self.over:
            if not self._lists[0]:
                self._lists.popleft()
                self.gate.release()
            elif self.may_emit():
                self.emit(self._lists[0].popleft())
            else:
                return
        if self.source_done and not self._lists:
            self.end(self._error)

    def free(self) -> None:
        self._lists.clear()
