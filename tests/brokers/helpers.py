"""What tests with real brokers share: places that a test has to itself, and apps that consume them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from faststream import FastStream

from rxpipe import DatabaseSink, Pipeline, Retry, RunStore, Stage
from rxpipe.faststream import PipelineConsumer

NATS = os.environ.get("RXPIPE_TEST_NATS", "nats://127.0.0.1:4222")
REDIS = os.environ.get("RXPIPE_TEST_REDIS", "redis://127.0.0.1:6379")
RABBIT = os.environ.get("RXPIPE_TEST_RABBIT", "amqp://guest:guest@127.0.0.1:5672/")
MQTT = os.environ.get("RXPIPE_TEST_MQTT", "mqtt://127.0.0.1:1883")
URLS = {"nats": NATS, "redis": REDIS, "rabbit": RABBIT, "mqtt": MQTT}
LIMIT = 60.0  # seconds until something that has not happened counts as never, on a busy machine


class Place(Protocol):
    """A stream or a queue of a test, and others beside it: ``name.failed``, ``name.done``."""

    name: str

    async def open(self) -> None:
        """Make it."""
        ...

    def broker(self, **options: Any) -> Any:
        """A FastStream broker, not started."""
        ...

    def publisher(self, broker: Any, end: str) -> Any:
        """A publisher to ``name.end``."""
        ...

    def subscribe(self, consumer: PipelineConsumer, broker: Any, **options: Any) -> None:
        """Have a consumer take from here."""
        ...

    async def publish(self, bodies: Iterable[bytes]) -> None:
        """Publish messages."""
        ...

    async def left(self) -> int:
        """Messages that are not acknowledged; of RabbitMQ those that no consumer has in hand."""
        ...

    async def in_hand(self) -> int:
        """Messages that are delivered and not acknowledged; RabbitMQ does not tell."""
        ...

    async def published(self, end: str) -> list[dict[str, Any]]:
        """What was published to ``name.end``."""
        ...

    async def cut(self) -> int:
        """Cut the connections of consumers that were made by ``broker``; how many there were."""
        ...

    async def delete(self) -> None:
        """Leave nothing behind."""
        ...


class Relay:
    """A port of a test's own before a broker, whose connections can be cut.

    Attributes:
        port: The port.
        is_open: Whether new connections reach the broker; else they are accepted, and closed at once.
    """

    def __init__(self, url: str) -> None:
        self.is_open = True
        self._there = urlsplit(url)
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_open:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection(self._there.hostname, self._there.port)
        self._writers += [writer, there_writer]
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))

    def cut(self) -> int:
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.transport.abort()
        return len(writers)

    async def close(self) -> None:
        writers = list(self._writers)
        self.cut()
        self._server.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def server(*command: str) -> Generator[int]:
    """A server of a test's own, which is told its port by its last argument; the port."""
    import pytest  # not above: workers need none

    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with serving(port, *command):
        yield port


@contextmanager
def serving(port: int, *command: str) -> Generator[None]:
    """The same, at a port that is known."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*command, str(port)], stdout=quiet, stderr=quiet) as process:
        try:
            deadline = time.monotonic() + LIMIT
            while time.monotonic() < deadline:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.01)
            yield
        finally:
            process.kill()


def bodies(ids: Iterable[Any]) -> list[bytes]:
    return [json.dumps(each).encode() for each in ids]


def make_place(kind: str, name: str) -> Place:
    """A place that may be there already; imports what that broker needs."""
    place: Place = import_module(f"brokers.{kind}_place").BrokerPlace(name)
    return place


@asynccontextmanager
async def place_at(kind: str) -> AsyncGenerator[Place]:
    """A new place at a broker, deleted afterwards; the test is skipped where the broker is not there."""
    from servers import answering_port  # not above: workers need no pytest

    answering_port(URLS[kind])
    place = make_place(kind, f"rxpipe-{uuid.uuid4().hex[:12]}")
    await place.open()
    try:
        yield place
    finally:
        await place.delete()


@asynccontextmanager
async def app_of(consumer: PipelineConsumer, broker: Any) -> AsyncGenerator[asyncio.Task[None]]:
    """A FastStream app that runs; its task. It ends with the context."""
    app = FastStream(broker, lifespan=consumer.lifespan, logger=None)
    task = asyncio.create_task(app.run(sleep_time=0.01))
    try:
        await until(lambda: broker.running or task.done())
        yield task
    finally:
        app.exit()
        await asyncio.wait([task], timeout=LIMIT)
        assert task.done(), "the app has not ended"
    await task


async def until(holds: Callable[[], object | Awaitable[object]], limit: float = LIMIT) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(limit):
        while True:
            result = holds()
            if await result if isinstance(result, Awaitable) else result:
                return
            await asyncio.sleep(0.01)


async def end_tasks() -> None:
    """End what a client has left on the loop, while there is a loop: also what it begins when that is cancelled."""
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=LIMIT)


def pipeline_of(call: Callable[[Any], Any], folder: Path, *, concurrency: int = 4, commit: float = 0.02) -> Pipeline:
    """One stage, with a store."""
    return Pipeline(
        Stage("only", call, concurrency=concurrency, queue_size=4, retry=Retry(max_attempts=1)),
        sink=DatabaseSink(f"sqlite:///{folder}/bank.db", max_seconds=commit),
        store=RunStore(),
        scheduler="asyncio",
    )


def rows_of(folder: Path) -> int:
    """How many rows are committed."""
    with closing(sqlite3.connect(folder / "bank.db")) as database:
        (count,) = database.execute("SELECT count(*) FROM results").fetchone()
    return int(count)


async def nothing_left(place: Place, consumer: PipelineConsumer) -> None:
    """Wait until all are acknowledged."""

    async def nothing() -> bool:
        return consumer.in_flight == 0 and await place.left() == 0

    await until(nothing)


async def same(value: Any) -> Any:
    return value
