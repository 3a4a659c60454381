"""``overflow``: a bounded buffer behind sources that cannot pause."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

import reactivex
import structlog
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from .core.clock import guarded, running_loop
from .core.gate import announcing
from .core.machine import Machine, as_exception
from .core.running_call import running_call
from .errors import BufferOverflow

A = TypeVar("A")

OverflowPolicy = Literal["block", "drop_oldest", "drop_newest", "error"]

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def overflow(
    policy: OverflowPolicy, capacity: int, *, on_drop: Callable[[A], None] | None = None
) -> Callable[[Observable[A]], Observable[A]]:
    """Buffer the items of a source that cannot pause, such as a subject or a callback; ``policy`` says what overflows.

    ::

        subject.pipe(ops.overflow("drop_oldest", 1000), ops.stage(answer))

    Items go on in order, as there is room downstream. Items that arrived before the source ended or failed are emitted
    before that end. The number of dropped items is logged when the sequence ends.

    Args:
        policy: What happens to an item that arrives while ``capacity`` items wait. ``block``: its thread waits for
            room. ``drop_oldest``: the oldest waiting item is dropped. ``drop_newest``: the arriving item is dropped.
            ``error``: the sequence ends with ``BufferOverflow`` at once.
        capacity: Items that may wait, at least 1.
        on_drop: Called with each dropped item, on the source's thread. If it raises, the sequence ends with that error.
            Items that wait when the sequence is disposed, or ends with an error at once, are dropped, too.

    Returns:
        An operator. With ``block``, an item cannot wait on an event loop, on a worker thread, or on the thread that is
        notifying the observer, since the room might never be made. There the sequence ends with ``BufferOverflow``
        instead.

    Raises:
        ValueError: The policy is unknown, or the capacity is below 1.
    """
    if policy not in get_args(OverflowPolicy):
        raise ValueError(f"policy must be one of {', '.join(get_args(OverflowPolicy))}, not {policy!r}")
    if capacity < 1:
        raise ValueError(f"capacity must be at least 1, not {capacity}")

    def operator(source: Observable[A]) -> Observable[A]:
        def subscribe(observer: ObserverBase[A], scheduler: SchedulerBase | None = None) -> DisposableBase:
            machine = _Overflow(policy, capacity, on_drop, observer)
            return machine.subscribe_to(source, scheduler)

        return reactivex.create(subscribe)

    return operator


class _Overflow(Machine[A, A]):
    """A buffer that the source's threads change, too. The condition's lock guards it."""

    def __init__(
        self,
        policy: OverflowPolicy,
        capacity: int,
        on_drop: Callable[[A], None] | None,
        observer: ObserverBase[A],
    ) -> None:
        super().__init__(observer, capacity)
        self._policy = policy
        self._capacity = capacity
        self._on_drop = on_drop
        self._items: deque[A] = deque()
        self._changed = threading.Condition()
        self._dropped = 0
        self._emitting: int | None = None  # the thread that emits
        self._error: Exception | None = None  # the source's error; waiting items are emitted before it
        self._failure: Exception | None = None  # an error that ends the sequence at once

    def subscribe_to(self, source: Any, scheduler: SchedulerBase | None) -> DisposableBase:
        with announcing(None):  # the policy decides, not a gate
            self._upstream.disposable = source.subscribe(self, scheduler=scheduler)
        return self

    def on_next(self, value: A) -> None:
        kept, dropped = self._put(value)
        if not kept:
            self._failure = BufferOverflow(self._capacity)
        try:
            for item in dropped:
                if self._on_drop is not None:
                    self._on_drop(item)
        except BaseException as error:  # noqa: BLE001 - whatever the user's function raised, the sequence must end
            self._on_drop = None
            self._failure = as_exception(error)
        self.wake()

    def _put(self, value: A) -> tuple[bool, list[A]]:
        """Buffer an item. Returns False if the policy allows no further item, and the items to drop."""
        with self._changed:
            if self._policy == "block":
                self._wait()
            if self.over:
                return True, []
            if len(self._items) < self._capacity:
                self._items.append(value)
                return True, []
            if self._policy == "drop_newest":
                self._dropped += 1
                return True, [value]
            if self._policy == "drop_oldest":
                self._dropped += 1
                self._items.append(value)
                return True, [self._items.popleft()]
            return False, []

    def _wait(self) -> None:
        """Wait for room, if room can come at all."""
        can_come = running_loop() is None and running_call.get() is None and self._emitting != threading.get_ident()
        if can_come:
            self._changed.wait_for(lambda: self.over or len(self._items) < self._capacity)

    def source_failed(self, error: Exception) -> None:
        self._error = error
        self.source_completed()

    def arrive(self, value: A) -> None:
        """Never called: items go directly into the buffer."""

    def advance(self) -> None:
        while not self.over:
            if self._failure is not None:
                self.end(self._failure)
                return
            with self._changed:
                if not self._items:
                    break
            if not self.may_emit():
                return
            with self._changed:
                value = self._items.popleft()  # there is an item, maybe a younger one than above
                self._changed.notify_all()
            self._emitting = threading.get_ident()
            self.emit(value)
            self._emitting = None
        if self.source_done:
            self.end(self._error)

    def dispose(self) -> None:
        try:
            super().dispose()
        finally:
            with self._changed:
                self._changed.notify_all()

    def free(self) -> None:
        with self._changed:
            left = list(self._items)
            self._items.clear()
            self._dropped += len(left)
        for item in left:
            if self._on_drop is not None:
                guarded(functools.partial(self._on_drop, item))
        if self._dropped:
            _log.warning("items dropped", policy=self._policy, capacity=self._capacity, dropped=self._dropped)
