"""What tests with real brokers share: places that a test has to itself, and apps that consume them."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, closing
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from faststream import FastStream

from rxpipe import DatabaseSink, Pipeline, Retry, RunStore, Stage
from rxpipe.faststream import PipelineConsumer

NATS = os.environ.get("RXPIPE_TEST_NATS", "nats://127.0.0.1:4222")
REDIS = os.environ.get("RXPIPE_TEST_REDIS", "redis://127.0.0.1:6379")
RABBIT = os.environ.get("RXPIPE_TEST_RABBIT", "amqp://guest:guest@127.0.0.1:5672/")
MQTT = os.environ.get("RXPIPE_TEST_MQTT", "mqtt://127.0.0.1:1883")
URLS = {"nats": NATS, "redis": REDIS, "rabbit": RABBIT, "mqtt": MQTT}
LIMIT = 30.0  # seconds until something that has not happened counts as never


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


def bodies(ids: Iterable[Any]) -> list[bytes]:
    return [json.dumps(each).encode() for each in ids]


def make_place(kind: str, name: str) -> Place:
    """A place that may be there already; imports what that broker needs."""
    place: Place = import_module(f"{kind}_place").BrokerPlace(name)
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
        await asyncio.wait([task])
    await task


async def until(holds: Callable[[], object | Awaitable[object]], limit: float = LIMIT) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(limit):
        while True:
            result = holds()
            if await result if isinstance(result, Awaitable) else result:
                return
            await asyncio.sleep(0.01)


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
        (count,) = database.execute("SELECT count(*) FROM questions").fetchone()
    return int(count)


async def nothing_left(place: Place, consumer: PipelineConsumer) -> None:
    """Wait until all are acknowledged."""

    async def nothing() -> bool:
        return consumer.in_flight == 0 and await place.left() == 0

    await until(nothing)


async def same(value: Any) -> Any:
    return value
