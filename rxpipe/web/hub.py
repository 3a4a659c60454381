"""One poll for all watchers of a topic. A watcher gets only the newest news, when it is ready to read."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import aclosing
from dataclasses import dataclass, field

_STEP = 0.25  # seconds until the hub notices that the server is to stop
BREATH = 15.0  # seconds without news after which a watcher gets a keep-alive
News = tuple[bytes | None, float]
Look = Callable[[], Awaitable[News]]
"""Returns the news, or None if there are none, and the seconds until the next look."""


class TooManyWatchers(Exception):
    """The highest number of open streams is reached."""


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
    """Polls each topic that has watchers, and no others. For one event loop."""

    def __init__(self, most: int = 1_000) -> None:
        """Creates a hub.

        Args:
            most: The most watchers at once.
        """
        self._most = most
        self._is_closed = False
        self._topics: dict[Hashable, _Topic] = {}

    @property
    def watchers(self) -> int:
        """The number of watchers now."""
        return sum(topic.watchers for topic in self._topics.values())

    def close(self) -> None:
        """Ends all streams within a second. May be called from any thread."""
        self._is_closed = True

    def leaves(self) -> bool:
        """Returns True if the hub is closed, or if the server is to stop."""
        return self._is_closed or server_leaves()

    async def watch(self, name: Hashable, new: Callable[[], Look]) -> AsyncGenerator[bytes]:
        """Yields the news of a topic, and ``b""`` as a keep-alive, until the server stops.

        Args:
            name: The topic. Watchers of the same topic share a poll.
            new: Returns the function that looks for news. Called for the first watcher of a topic.

        Raises:
            TooManyWatchers: The highest number of watchers is reached.
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
    topic.came.set()  # this ends the streams, which a stopping server waits for


def server_leaves() -> bool:
    """Returns True if a uvicorn server in this process is to stop. It would then wait for open streams without end.

    The server's handler of signals is a method of the server. It is the only way to find the server from inside an app.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return bool(getattr(server, "should_exit", False))
