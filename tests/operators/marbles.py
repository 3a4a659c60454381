"""Marble tests: sources, gates and slow stages on a `TestScheduler`, where a tick is a second."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import reactivex as rx
from operator_helpers import LIMIT
from reactivex import Observable, typing
from reactivex import operators as rx_ops
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.scheduler import VirtualTimeScheduler
from reactivex.testing import ReactiveTest, TestScheduler
from reactivex.testing.recorded import Recorded

from rxpipe.operators import stage
from rxpipe.operators.core.gate import Gate, announcing

A = TypeVar("A")
B = TypeVar("B")

on_next = ReactiveTest.on_next
on_error = ReactiveTest.on_error
on_completed = ReactiveTest.on_completed

Operator = Callable[[Observable[A]], Observable[B]]


def play(operator: Operator[A, B], *messages: Recorded[A], disposed: float = 1000) -> list[Recorded[B]]:
    """What an operator makes of a hot source; subscribed to at 200."""
    scheduler = TestScheduler()
    source = scheduler.create_hot_observable(*messages)
    return scheduler.start(lambda: source.pipe(operator), disposed=disposed).messages


def taking(ticks: float, slots: int = 1) -> Callable[[Observable[A]], Observable[A]]:
    """A stage without a queue, whose calls take so many ticks of the scheduler subscribed on."""

    def call(value: A) -> Observable[A]:
        return rx.timer(ticks).pipe(rx_ops.map(lambda _: value))

    return stage(call, queue_size=0, concurrency=slots)


def joined(*sources: Observable[A]) -> Observable[A]:
    """A merge that subscribes to its sources at once, where the gate downstream is announced."""

    def subscribe(observer: ObserverBase[A], scheduler: SchedulerBase | None = None) -> DisposableBase:
        one_at_a_time, left = threading.RLock(), len(sources)

        def forward(value: A) -> None:
            with one_at_a_time:
                observer.on_next(value)

        def complete() -> None:
            nonlocal left
            with one_at_a_time:
                left -= 1
                if not left:
                    observer.on_completed()

        return CompositeDisposable(
            [source.subscribe(forward, observer.on_error, complete, scheduler=scheduler) for source in sources]
        )

    return rx.create(subscribe)


class Pulled(Generic[A]):
    """An iterable that counts how many items were taken from it, and how often it was iterated."""

    def __init__(self, items: Iterable[A]) -> None:
        self.items = items
        self.count = 0
        self.times = 0
        self._changed = threading.Condition()

    def __iter__(self) -> Iterator[A]:
        self.times += 1
        for item in self.items:
            with self._changed:
                self.count += 1
                self._changed.notify_all()
            yield item

    def wait_for(self, count: int) -> None:
        """Wait until so many have been taken."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.count >= count, LIMIT), f"only {self.count}"


class Basin(Generic[A]):
    """Subscribes behind a gate of its own, which is released by hand.

    Attributes:
        messages: What came: values, then an exception, or `None` at the completion.
    """

    def __init__(self, capacity: float, on_value: Callable[[A], None] | None = None) -> None:
        self.gate = Gate(capacity)
        self.messages: list[Any] = []
        self.subscription: DisposableBase | None = None
        self._on_value = on_value

    def fill_from(self, source: Observable[A], scheduler: SchedulerBase | None = None) -> Basin[A]:
        with announcing(self.gate):
            self.subscription = source.subscribe(
                self._on_next, self.messages.append, lambda: self.messages.append(None), scheduler=scheduler
            )
        return self

    def _on_next(self, value: A) -> None:
        self.gate.admitted += 1
        self.messages.append(value)
        if self._on_value is not None:
            self._on_value(value)

    def drain(self, count: int = 1) -> None:
        """Let go of so many items."""
        for _ in range(count):
            self.gate.release()

    def dispose(self) -> None:
        assert self.subscription is not None
        self.subscription.dispose()


class AtOnce(VirtualTimeScheduler):
    """A timer that rings before it is set: the nearest that a race can come to."""

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[Any], state: Any = None
    ) -> DisposableBase:
        action(self, state)
        return Disposable()


class Ringing(VirtualTimeScheduler):
    """A timer that rings by hand, and that rings although it was disposed: as one does that had begun to."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Callable[[], Any]] = []

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[Any], state: Any = None
    ) -> DisposableBase:
        self.waiting.append(lambda: action(self, state))
        return Disposable()

    def ring(self) -> None:
        self.waiting.pop(0)()
