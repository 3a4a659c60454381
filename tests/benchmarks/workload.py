"""What every contender is given: the same stages, the same settings, the same check of what comes out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

CONCURRENCY = 10
QUEUE_SIZE = 10
TIMEOUT = 60.0
ATTEMPTS = 3
BACKOFF = 1.0

AsyncFn = Callable[[int], Awaitable[int]]
SyncFn = Callable[[int], int]
Sink = Callable[[int], None]

NOTHING = (0.0, 0.0, 0.0)
SLEEPS = (0.030, 0.060, 0.030)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run: so many items through stages that take so many seconds each."""

    items: int
    latencies: tuple[float, ...] = NOTHING

    def coroutines(self) -> list[AsyncFn]:
        """The stages as coroutine functions."""
        return [_sleeping(seconds) if seconds else _nothing for seconds in self.latencies]

    def functions(self) -> list[SyncFn]:
        """The stages as plain functions."""
        return [_blocking(seconds) if seconds else _nothing_blocking for seconds in self.latencies]

    def bound(self) -> float:
        """Seconds that no pipeline can beat: the slowest stage kept full, plus filling and draining."""
        slowest = max(self.latencies)
        return self.items * slowest / CONCURRENCY + sum(self.latencies) - slowest

    def bound_one_at_a_time(self) -> float:
        """The same for a pipeline that keeps only as many calls running as one stage may have."""
        return self.items * sum(self.latencies) / CONCURRENCY


class Tally:
    """Counts what arrives, item by item.

    It takes the same memory however many items a run has, so that runs of different sizes can be compared.
    """

    CAPACITY = 1_000_000

    def __init__(self) -> None:
        self._marks = bytearray(b"\x01") * self.CAPACITY

    def add(self, value: int) -> None:
        """Take one result."""
        self._marks[value] += 1

    def check(self, items: int) -> None:
        """Make sure that each of so many items arrived exactly once.

        Raises:
            AssertionError: it did not.
        """
        lost = self._marks.count(1, 0, items)
        once = self._marks.count(2, 0, items)
        if once != items:
            raise AssertionError(f"of {items} items {lost} never arrived, {items - once - lost} more than once")
        if self._marks.count(1, items) != self.CAPACITY - items:
            raise AssertionError("results arrived that were never sent")


async def _nothing(value: int) -> int:
    return value


def _nothing_blocking(value: int) -> int:
    return value


def _sleeping(seconds: float) -> AsyncFn:
    async def sleep(value: int) -> int:
        await asyncio.sleep(seconds)
        return value

    return sleep


def _blocking(seconds: float) -> SyncFn:
    def sleep(value: int) -> int:
        time.sleep(seconds)
        return value

    return sleep
