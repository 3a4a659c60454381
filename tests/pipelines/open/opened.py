"""What the tests of open pipelines share: functions that wait to be let go, and running one in every way."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from pipeline_helpers import LIMIT

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.pipeline.plan import Scheduler

T = TypeVar("T")


def on_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run it on a loop, within the limit."""
    return asyncio.run(asyncio.wait_for(main, LIMIT))


class Door:
    """A function whose calls wait until it is opened; counts how many are inside.

    Attributes:
        calls: How often it was called, by value.
        inside: Calls that wait now.
        most: The most that did at once.
        cut_off: Values whose calls were cancelled.
    """

    def __init__(self, *, is_open: bool = False) -> None:
        self.calls: Counter[Any] = Counter()
        self.inside = 0
        self.most = 0
        self.cut_off: list[Any] = []
        self._changed = threading.Condition()
        self._is_open = is_open

    def open(self) -> None:
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def close(self) -> None:
        self._is_open = False

    def plain(self, value: Any) -> Any:
        """On a thread."""
        self._enter(value)
        with self._changed:
            assert self._changed.wait_for(lambda: self._is_open, LIMIT)
            self.inside -= 1
        return value

    async def coroutine(self, value: Any) -> Any:
        """On a loop."""
        self._enter(value)
        try:
            await until(lambda: self._is_open)
        except asyncio.CancelledError:
            self.cut_off.append(value)
            raise
        finally:
            with self._changed:
                self.inside -= 1
        return value

    def _enter(self, value: Any) -> None:
        with self._changed:
            self.calls[value] += 1
            self.inside += 1
            self.most = max(self.most, self.inside)
            self._changed.notify_all()

    def wait_for_calls(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.calls.total() >= count, LIMIT), self.calls

    async def calls_made(self, count: int) -> None:
        await until(lambda: self.calls.total() >= count)


async def until(condition: Callable[[], object]) -> None:
    """Let others go on until it is so."""
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)


def into_database(folder: Path, *stages: Stage, scheduler: Scheduler = "asyncio", durable: bool = True) -> Pipeline:
    """Into SQLite, with a store or without."""
    sink = DatabaseSink(f"sqlite:///{folder / 'questions.db'}")
    return Pipeline(*stages, sink=sink, store=RunStore() if durable else None, scheduler=scheduler)


def refuse_odd(value: int) -> int:
    """A stage's function that fails for some."""
    if value % 2:
        raise ValueError("odd")
    return value * 10


def rows(folder: Path) -> dict[str, str]:
    """Status by ID, of the database in a folder."""
    with closing(sqlite3.connect(folder / "questions.db")) as connection:
        return dict(connection.execute("select id, status from results"))
