"""Async iterables for tests: slow ones, failing ones, and one that never gives anything."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncGenerator, AsyncIterator


async def turn(times: int = 10) -> None:
    """Let everything that can happen on the loop happen."""
    for _ in range(times):
        await asyncio.sleep(0)


class Numbers:
    """An async iterable that takes a while for each number, and a while to close.

    Attributes:
        count: How many it has given.
        closed: When its clean-up was through, by the loop's time.
        threads: The threads on which it ran.
    """

    def __init__(self, end: int | None = None, *, each: float = 0, closing: float = 0) -> None:
        self.count = 0
        self.closed: list[float] = []
        self.threads: set[str] = set()
        self._end = end
        self._each = each
        self._closing = closing

    async def __aiter__(self) -> AsyncGenerator[int, None]:
        try:
            for number in itertools.count() if self._end is None else range(self._end):
                await asyncio.sleep(self._each)
                self.count += 1
                self.threads.add(threading.current_thread().name)
                yield number
        finally:
            await asyncio.sleep(self._closing)
            self.closed.append(asyncio.get_running_loop().time())


class Failing:
    """An iterator that gives some numbers and then raises."""

    def __init__(self, error: BaseException, *items: int) -> None:
        self.error = error
        self.items = list(items)

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        if not self.items:
            raise self.error
        return self.items.pop(0)


class Never:
    """An iterator that never gives anything."""

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        nothing: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        return await nothing
