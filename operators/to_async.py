"""``to_async_iterable``: an observable in an ``async for`` loop, with backpressure."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Generic, TypeVar

from reactivex import Observable
from reactivex.abc import ObserverBase

from .core.clock import needed_loop, running_loop
from .core.gate import Gate, announcing

A = TypeVar("A")


def to_async_iterable(observable: Observable[A], max_items: int = 10) -> AsyncGenerator[A, None]:
    """Returns the items of an observable, for an ``async for`` loop.

    ::

        async for graded in rxpipe.to_async_iterable(chain, max_items=100):
            ...

    The first step subscribes. Stages and sources upstream pause while ``max_items`` items wait for the loop. If you
    leave the loop early, closing the generator disposes the subscription. Use ``contextlib.aclosing`` to close the
    generator at once.

    Args:
        observable: Any observable; it may emit on any thread. Items of an observable that ignores backpressure are
            buffered without bound.
        max_items: Items that may wait, at least 1.

    Raises:
        ValueError: ``max_items`` is below 1.
        Exception: The error of the observable, at a step, after the items that came before.
    """
    if max_items < 1:
        raise ValueError(f"max_items must be at least 1, not {max_items}")
    return _iterate(observable, max_items)


async def _iterate(observable: Observable[A], max_items: int) -> AsyncGenerator[A, None]:
    inbox: _Inbox[A] = _Inbox(max_items)
    with announcing(inbox.gate):
        subscription = observable.subscribe(inbox)
    try:
        while await inbox.wait():
            yield inbox.take()
    finally:
        subscription.dispose()


class _Inbox(ObserverBase[A], Generic[A]):
    """Filled on any thread, emptied on the loop that made it."""

    def __init__(self, max_items: int) -> None:
        self.gate = Gate(max_items)
        self._loop = needed_loop()
        self._items: deque[A] = deque()
        self._filled = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None

    def on_next(self, value: A) -> None:
        self.gate.admitted += 1
        self._items.append(value)
        self._notify()

    def on_error(self, error: Exception) -> None:
        self._error = error
        self.on_completed()

    def on_completed(self) -> None:
        self._ended = True
        self._notify()

    def _notify(self) -> None:
        if self._filled.is_set():  # the thread that clears the event looks for items afterwards
            return
        if running_loop() is self._loop:
            self._filled.set()
        else:
            with suppress(RuntimeError):  # the loop is closed, and no task takes items
                self._loop.call_soon_threadsafe(self._filled.set)

    async def wait(self) -> bool:
        """Wait for an item. Returns False at the end."""
        while not self._items:
            if self._ended and not self._items:  # in this order: an item and then the end may have come just now
                if self._error is not None:
                    raise self._error
                return False
            self._filled.clear()
            if not self._items and not self._ended:
                await self._filled.wait()
        return True

    def take(self) -> A:
        value = self._items.popleft()
        self.gate.release()
        return value
