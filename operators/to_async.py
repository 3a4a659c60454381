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
    """The items of an observable, for ``async for``.

    ::

        async for graded in rxpipe.to_async_iterable(chain, max_items=100):
            ...

    It subscribes at the first step. Stages and sources upstream wait while ``max_items`` are not taken yet. Leaving
    the loop early disposes the subscription when the generator is closed; use ``contextlib.aclosing`` to have that
    happen at once.

    Args:
        observable: Any observable, emitting on any thread; one that ignores backpressure is buffered without bound.
        max_items: Items that may wait, at least 1.

    Raises:
        ValueError: ``max_items`` is below 1.
        Exception: At a step, what the observable fails with, after the items that came before.
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
    """Filled on any thread, emptied on the loop on which it was made."""

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
        if self._filled.is_set():  # whoever clears it looks for items afterwards
            return
        if running_loop() is self._loop:
            self._filled.set()
        else:
            with suppress(RuntimeError):  # the loop is closed, and nobody is there to take anything
                self._loop.call_soon_threadsafe(self._filled.set)

    async def wait(self) -> bool:
        """Wait for an item; false at the end."""
        while not self._items:
            if self._ended and not self._items:  # in this order: an item may have come, and then the end, just now
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
