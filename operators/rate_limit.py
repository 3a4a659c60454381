"""``rate_limit``: limits how many items pass in a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from .core.clock import Clock, clock_for
from .core.machine import Machine
from .stages.limiter import Limiter, Permit

A = TypeVar("A")


def rate_limit(limiter: Limiter, *, timer: SchedulerBase | None = None) -> Callable[[Observable[A]], Observable[A]]:
    """Let items pass in order, each when the limiter has a place for it. The source waits meanwhile.

    ::

        source.pipe(ops.rate_limit(RateLimiter(600, 60)))

    To limit the calls of a stage, retries included, give the limiter to the stage as ``rate_limit=`` instead.

    - A place is taken only when there is room downstream. If there is no room when the place's time comes, the place is
      given up. So delayed items do not follow in a burst.
    - Items that arrived before the source failed are emitted before its error.

    Args:
        limiter: The limiter. Other operators and stages can share it.
        timer: The scheduler to wait on. The default is the scheduler subscribed on, the running loop, or a timer
            thread.
    """

    def operator(source: Observable[A]) -> Observable[A]:
        def subscribe(observer: ObserverBase[A], scheduler: SchedulerBase | None = None) -> DisposableBase:
            machine = _RateLimit(limiter, clock_for(timer, scheduler), observer)
            return machine.subscribe_to(source, scheduler)

        return reactivex.create(subscribe)

    return operator


class _RateLimit(Machine[A, A]):
    """Holds one item. Reserves the item's place as soon as there is room downstream, and waits for the place."""

    def __init__(self, limiter: Limiter, clock: Clock, observer: ObserverBase[A]) -> None:
        super().__init__(observer, 1)
        self._permit = Permit(limiter, clock, self.post)
        self._items: deque[A] = deque()
        self._error: Exception | None = None

    def arrive(self, value: A) -> None:
        self._items.append(value)

    def source_failed(self, error: Exception) -> None:
        self._error = error
        self.source_completed()

    def advance(self) -> None:
        while self._items and not self.over and self.may_emit():
            if not self._permit.take():
                self.give_back_place()
                break
            self.emit(self._items.popleft())
            self.gate.release()
        self._permit.drop()
        if self.source_done and not self._items:
            self.end(self._error)

    def free(self) -> None:
        self._permit.dispose()
        self._items.clear()
