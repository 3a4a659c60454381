"""``batch`` and ``unbatch``: from items to lists, by count and by time, and back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable

from .core.clock import Clock, clock_for
from .core.machine import Machine, as_exception

A = TypeVar("A")
S = TypeVar("S")


def batch(
    max_items: int,
    max_seconds: float | None = None,
    *,
    flush: Observable[Any] | None = None,
    timer: SchedulerBase | None = None,
) -> Callable[[Observable[A]], Observable[list[A]]]:
    """Group items into lists, in order. A list is emitted when it is full or its first item has waited long enough.

    ::

        rows.pipe(ops.batch(500, 0.05), ops.stage(write))

    - A list that finds no room downstream grows up to ``max_items``; then the source waits. So lists are short while
      downstream keeps up, and long when it does not.
    - When the source ends or fails, the waiting lists are emitted first. No item is lost.
    - Empty lists are never emitted.
    - A list is emitted on the thread of the item that fills it, on the timer's thread, or on the thread that made room.
      On an event loop, all lists are emitted on the loop.

    Args:
        max_items: The longest list, at least 1.
        max_seconds: Seconds that an item may wait while there is room downstream. ``None``: no limit. 0: lists grow
            only while there is no room.
        flush: An observable. Each of its values makes the waiting lists due at once. If it fails, the sequence ends
            with that error, as if the source had failed. If it completes, nothing happens.
        timer: The scheduler to wait on. The default is the scheduler subscribed on, the running loop, or a timer
            thread.

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
            flushing = SingleAssignmentDisposable()
            if flush is not None:
                flushing.disposable = flush.subscribe(
                    lambda _: machine.post(machine.flush),
                    lambda error: machine.post(machine.flush_failed, error),
                    scheduler=scheduler,
                )
            return CompositeDisposable(machine.subscribe_to(source, scheduler), flushing)

        return reactivex.create(subscribe)

    return operator


def unbatch() -> Callable[[Observable[Iterable[A]]], Observable[A]]:
    """Emit the items of lists one by one, in order, as there is room downstream.

    ::

        ids.pipe(ops.batch(20), ops.stage(embed_all), ops.unbatch())

    Any iterables work in place of lists. Each is read as a whole on arrival; an error of reading ends the sequence. The
    operator holds one list, and the source waits until the list's last item is emitted.
    """

    def operator(source: Observable[Iterable[A]]) -> Observable[A]:
        def subscribe(observer: ObserverBase[A], scheduler: SchedulerBase | None = None) -> DisposableBase:
            return _Unbatch(observer).subscribe_to(source, scheduler)

        return reactivex.create(subscribe)

    return operator


class ListMachine(Machine[S, list[A]], Generic[S, A]):
    """Holds one list, or several if the source cannot wait. All lists except the last are full."""

    def __init__(
        self, max_items: int, max_seconds: float | None, clock: Clock, observer: ObserverBase[list[A]]
    ) -> None:
        super().__init__(observer, max_items)
        self._max_items = max_items
        self._max_seconds = max_seconds
        self._clock = clock
        self._lists: deque[list[A]] = deque()
        self._begun: deque[float] = deque()  # when the first item of each list came
        self._timer: DisposableBase | None = None  # of the first list
        self._due = False  # True if the first list may be emitted before it is full
        self._flushed = 0  # number of lists in front that ``flush`` made due
        self._error: Exception | None = None

    def add(self, item: A) -> None:
        """Put an item that was admitted into the last list. Runs in the mailbox."""
        if self._lists and len(self._lists[-1]) < self._max_items:
            self._lists[-1].append(item)
            return
        self._lists.append([item])
        if self._max_seconds is not None:
            self._begun.append(self._clock.now())
            if len(self._lists) == 1:
                self._start_timer(self._max_seconds)

    def _start_timer(self, seconds: float) -> None:
        """Emit the first list after this time at the latest."""
        items = self._lists[0]
        if seconds > 0:
            self._timer = self._clock.call_later(seconds, lambda: self.post(self._time_is_up, items))
        else:
            self._due = True

    def flush(self) -> None:
        """Make the waiting lists due. Runs in the mailbox."""
        self._flushed = len(self._lists)

    def flush_failed(self, error: Exception) -> None:
        """Treat an error of ``flush`` as an error of the source, unless the source has ended. Runs in the mailbox."""
        if not self.source_done:
            self._upstream.dispose()
            self.source_failed(error)

    def _time_is_up(self, items: list[A]) -> None:
        if self._lists and self._lists[0] is items:  # else the list was emitted meanwhile
            self._due = True

    def source_failed(self, error: Exception) -> None:
        """Emit the waiting lists first."""
        self._error = error
        self.source_completed()

    def advance(self) -> None:
        """Emit the lists that are due."""
        while self._lists and not self.over:
            if not (self._due or self._flushed or self.source_done or len(self._lists[0]) >= self._max_items):
                return
            if not self.may_emit():
                return
            items = self.next_list()
            count = len(items)  # before the observer gets the list
            self.emit(items)
            for _ in range(count):
                self.gate.release()
        if self.source_done:
            self.end(self._error)

    def next_list(self) -> list[A]:
        """Take the first list, to emit it. Runs in the mailbox."""
        self._stop_timer()
        items = self._lists.popleft()
        self._flushed = max(0, self._flushed - 1)
        if self._max_seconds is not None:
            self._begun.popleft()
            if self._lists:
                self._start_timer(self._begun[0] + self._max_seconds - self._clock.now())
        return items

    def _stop_timer(self) -> None:
        self._due = False
        if self._timer is not None:
            self._timer.dispose()
            self._timer = None

    def free(self) -> None:
        """Forget the lists that were not emitted."""
        self._stop_timer()
        self._lists.clear()


class _Batch(ListMachine[A, A]):
    def arrive(self, value: A) -> None:
        self.add(value)


class _Unbatch(Machine[Iterable[A], A]):
    """Holds one list."""

    def __init__(self, observer: ObserverBase[A]) -> None:
        super().__init__(observer, 1)
        self._lists: deque[deque[A]] = deque()
        self._error: Exception | None = None

    def arrive(self, value: Iterable[A]) -> None:
        if self._error is not None:
            return
        try:
            self._lists.append(deque(value))
        except BaseException as error:  # noqa: BLE001 - raised by the user's iterable: that ends the sequence
            self._upstream.dispose()
            self.source_failed(as_exception(error))

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
