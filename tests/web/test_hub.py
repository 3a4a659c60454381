"""The stream: one poll for all who watch, and a slow one harms nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from rxpipe.web import app
from rxpipe.web.events import EventStream
from rxpipe.web.hub import Hub, Look, News, TooManyWatchers

from .fake_figures import LIVE
from .fake_runs import FakeRuns


class Counter:
    """A topic whose news are numbers; it is looked at when it is told to."""

    def __init__(self) -> None:
        self.looks = 0
        self.turn = asyncio.Event()

    def new(self) -> Look:
        async def look() -> News:
            if self.looks:
                await self.turn.wait()
                self.turn.clear()
            self.looks += 1
            return str(self.looks).encode(), 0.0

        return look

    async def tell(self) -> None:
        """The next news."""
        before = self.looks
        self.turn.set()
        while self.looks == before:  # noqa: ASYNC110 - the hub is not to be changed for it
            await asyncio.sleep(0)
        await asyncio.sleep(0)


def test_a_slow_watcher_gets_the_newest_only() -> None:
    """What came meanwhile is not kept for it, and the others have had it."""

    async def check() -> None:
        hub, counter = Hub(), Counter()
        async with aclosing(hub.watch("x", counter.new)) as slow, aclosing(hub.watch("x", counter.new)) as quick:
            assert (await anext(slow), await anext(quick)) == (b"1", b"1")
            for number in range(2, 50):
                await counter.tell()
                assert await anext(quick) == str(number).encode()
            assert await anext(slow) == b"49"

    asyncio.run(check())


def test_watchers_share_a_poll_which_ends_with_the_last() -> None:
    """Nobody watches, nobody asks."""

    async def check() -> None:
        hub, counter = Hub(), Counter()
        watchers = [hub.watch("x", counter.new) for _ in range(200)]
        assert await asyncio.gather(*(anext(watcher) for watcher in watchers)) == [b"1"] * 200
        assert (counter.looks, hub.watchers) == (1, 200)
        await counter.tell()
        assert await asyncio.gather(*(anext(watcher) for watcher in watchers)) == [b"2"] * 200
        for watcher in watchers:
            await watcher.aclose()
        assert hub.watchers == 0
        counter.turn.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert counter.looks == 2

    asyncio.run(check())


def test_no_more_may_watch_than_the_server_bears() -> None:
    """One more is told so."""

    async def check() -> None:
        hub, counter = Hub(most=2), Counter()
        watchers = [hub.watch("x", counter.new) for _ in range(3)]
        await anext(watchers[0])
        await anext(watchers[1])
        with pytest.raises(TooManyWatchers):
            await anext(watchers[2])
        for watcher in watchers:
            await watcher.aclose()

    asyncio.run(check())


async def _sent(
    stream: Any, path: str, on_body: Callable[[bytes], Awaitable[bool]], method: str = "GET"
) -> dict[str, Any]:
    """Call an app; ``on_body`` says of each part whether the browser leaves."""
    left = asyncio.Event()
    started: dict[str, Any] = {}

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        elif await on_body(message["body"]):
            left.set()

    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers, "root_path": ""}
    await stream({**scope, "client": ("127.0.0.1", 1), "scheme": "http", "http_version": "1.1"}, receive, send)
    return started


def test_nothing_is_taken_for_a_browser_that_does_not_read() -> None:
    """While ``send`` waits, no event is made for it: nothing piles up."""

    async def check() -> None:
        made = 0
        ended = False

        async def events() -> AsyncGenerator[bytes]:
            nonlocal made, ended
            try:
                while True:
                    made += 1
                    yield b"data: x\n\n"
            finally:
                ended = True

        async def on_body(_: bytes) -> bool:
            await asyncio.Event().wait()  # the socket is full
            return False

        task = asyncio.create_task(_sent(EventStream(events()), "/", on_body))
        for _ in range(100):
            await asyncio.sleep(0)
        assert made == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert ended

    asyncio.run(check())


def test_two_hundred_readers_ask_the_database_once() -> None:
    """For each look, however many watch; and no more when they have left."""

    async def check() -> None:
        runs = FakeRuns(clock=lambda: 640.0)
        page = app(runs, seconds=1_000.0)
        read = 0

        async def on_body(body: bytes) -> bool:
            nonlocal read
            if not body:
                return True
            name, data = body.decode().split("\n")[:2]
            assert name == "event: run"
            assert json.loads(data.removeprefix("data: "))["run"]["number"] == LIVE
            read += 1
            while read < 200:  # noqa: ASYNC110 - counted by others
                await asyncio.sleep(0.001)
            return True

        answers = [_sent(page, f"/api/runs/{LIVE}/stream", on_body) for _ in range(200)]
        started = await asyncio.gather(*answers)
        assert {one["status"] for one in started} == {200}
        assert dict(started[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
        assert (read, runs.asked["latest"], runs.asked["snapshots"]) == (200, 1, 1)
        assert page.state.api.hub.watchers == 0

    asyncio.run(check())


def test_the_runs_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not changed is not sent again; a database that is away is told of, and the stream goes on."""

    async def check() -> None:
        now = [640.0]
        runs = FakeRuns(clock=lambda: now[0])
        monkeypatch.setattr("rxpipe.web.api._RESTING", 0.001)
        page = app(runs, seconds=0.001)
        seen: list[str] = []

        async def on_body(body: bytes) -> bool:
            name = body.decode().partition("\n")[0]
            seen.append(name)
            if len(seen) == 1:
                before = runs.asked["runs"]
                while runs.asked["runs"] < before + 5:  # noqa: ASYNC110 - counted on a thread
                    await asyncio.sleep(0.001)
                runs.error = OSError("away")
            elif len(seen) == 2:
                runs.error = None
                now[0] += 1
            return len(seen) >= 3

        await _sent(page, "/api/stream", on_body)
        assert seen[0] == "event: runs"
        assert seen[1] == "event: trouble"
        assert "event: runs" in seen[2:] or seen[2] == "event: trouble"

    asyncio.run(check())


def test_a_head_request_ends() -> None:
    """It has the headers of the stream, and no body."""

    async def check() -> None:
        async def events() -> AsyncGenerator[bytes]:
            yield b"data: x\n\n"

        parts: list[bytes] = []

        async def on_body(body: bytes) -> bool:
            parts.append(body)
            return True

        await _sent(EventStream(events()), "/", on_body, "HEAD")
        assert parts == [b""]

    asyncio.run(check())
