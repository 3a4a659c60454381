"""One poll for all who watch the same thing. A watcher gets the newest news only, whenever it is ready for them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import aclosing
from dataclasses import dataclass, field

_STEP = 0.25  # seconds after which somebody notices that the server is to stop
BREATH = 15.0  # seconds without news after which a watcher gets a sign of life
News = tuple[bytes | None, float]
Look = Callable[[], Awaitable[News]]
"""Finds the news, or None if there are none; and the seconds after which to look again."""


class TooManyWatchers(Exception):
    """As many streams are open as may be."""


@dataclass(slots=True, eq=False)
class _Topic:
    look: Look
    watchers: int = 0
    newest: bytes | None = None
    number: int = 0
    came: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def publish(self, news: bytes) -> None:
        self.newest = news
        self.number += 1
        self.came.set()
        self.came = asyncio.Event()


class Hub:
    """Polls each topic that somebody watches, and none besides. For one event loop."""

    def __init__(self, most: int = 1_000) -> None:
        """Prepare it.

        Args:
            most: How many may watch at once.
        """
        self._most = most
        self._is_closed = False
        self._topics: dict[Hashable, _Topic] = {}

    @property
    def watchers(self) -> int:
        """How many watch now."""
        return sum(topic.watchers for topic in self._topics.values())

    def close(self) -> None:
        """End all streams within a second; from any thread."""
        self._is_closed = True

    def leaves(self) -> bool:
        """Whether no more news are to be told."""
        return self._is_closed or server_leaves()

    async def watch(self, name: Hashable, new: Callable[[], Look]) -> AsyncGenerator[bytes]:
        """News of a topic, and ``b""`` as a sign of life, until the server leaves.

        Args:
            name: The topic; those who give the same one share a poll.
            new: Gives what looks for its news, if nobody watches it yet.

        Raises:
            TooManyWatchers: No more may watch.
        """
        if self.watchers >= self._most:
            raise TooManyWatchers(f"{self._most} pages watch already")
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = _Topic(new())
        topic.watchers += 1
        if topic.task is None:
            topic.task = asyncio.create_task(_poll(topic, self.leaves), name="rxpipe-web-poll")
        try:
            async with aclosing(_news(topic, self.leaves)) as news:
                async for one in news:
                    yield one
        finally:
            topic.watchers -= 1
            if not topic.watchers:
                topic.task.cancel()
                self._topics.pop(name, None)


async def _news(topic: _Topic, leaves: Callable[[], bool]) -> AsyncGenerator[bytes]:
    seen = 0
    while not leaves():
        came = topic.came
        if topic.number > seen and topic.newest is not None:
            seen = topic.number
            yield topic.newest
            continue
        try:
            await asyncio.wait_for(came.wait(), BREATH)
        except TimeoutError:
            yield b""


async def _poll(topic: _Topic, leaves: Callable[[], bool]) -> None:
    while not leaves():
        news, seconds = await topic.look()
        if news is not None:
            topic.publish(news)
        waited = 0.0
        while waited < seconds:
            part = min(_STEP, seconds - waited)
            await asyncio.sleep(part)
            waited += part
            if leaves():
                break
    topic.came.set()  # so that streams end: a server that is to stop waits for them


def server_leaves() -> bool:
    """Whether a uvicorn server in this process has been told to stop; it waits for open streams then, for ever.

    Its handler of signals is a method of the server, which is the only way to find it from inside an app.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return bool(getattr(server, "should_exit", False))
