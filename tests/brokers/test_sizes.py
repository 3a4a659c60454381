"""Outcomes that are larger than a broker takes: they are published without what is long, and their messages settled."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from faststream.mqtt import MQTTBroker, QoS
from faststream.rabbit import RabbitBroker, TestRabbitBroker
from structlog.testing import capture_logs

from brokers import redis_place
from brokers.helpers import Place, app_of, bodies, make_place, nothing_left, place_at, same, server, until
from rxpipe import Pipeline, Stage
from rxpipe.faststream import PipelineConsumer
from rxpipe.faststream import consumer as consumer_module
from rxpipe.faststream.messages import shorter
from rxpipe.faststream.publishing import TooLargeError, publish


def test_shorter() -> None:
    """First the value is left out, then long texts are cut; both are told by their sizes."""
    told = {"id": 300 * "i", "status": "failed", "value": 1000 * "v", "error": "short", "stage": None}
    once = shorter(told)
    assert once == told | {"value": None, "left_out": {"value": 1002}}
    assert once is not None
    assert shorter(once) == once | {"id": 200 * "i", "left_out": {"value": 1002, "id": 302}}
    assert shorter({"id": 1, "value": "small"}) is None


class Refusing:
    """A publisher that takes what is not longer than a limit."""

    def __init__(self, limit: int, error: Exception) -> None:
        self.limit = limit
        self.error = error
        self.attempts = 0
        self.messages: list[Any] = []

    async def publish(self, message: Any, /, **options: Any) -> None:
        self.attempts += 1
        if len(str(message)) > self.limit:
            raise self.error
        self.messages.append(message)


@pytest.mark.parametrize(
    ("limit", "error", "attempts", "published"),
    [
        (5000, TooLargeError("too large"), 2, 1),
        (500, TooLargeError("too large"), 3, 1),
        (5, TooLargeError("too large"), 3, 0),
        (5000, ValueError("what a library of one's own says"), 4, 1),
        (5, ValueError("what a library of one's own says"), 9, 0),
    ],
)
def test_publisher_that_refuses(
    limit: int, error: Exception, attempts: int, published: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors of a size are not repeated, errors of data three times; in the end the message is settled without."""
    monkeypatch.setattr(consumer_module, "_PAUSE", 0.001)
    outcomes = Refusing(limit, error)

    async def call(value: str) -> Any:
        return 10_000 * "v"

    async def main() -> None:
        consumer, broker = PipelineConsumer(Pipeline(Stage("only", call), scheduler="asyncio")), RabbitBroker()
        consumer.subscribe(broker, "questions", outcomes=outcomes)
        async with consumer.lifespan(), TestRabbitBroker(broker) as rabbit:
            await rabbit.publish(1000 * "i", "questions")

    with capture_logs() as logs:
        asyncio.run(main())
    assert (outcomes.attempts, len(outcomes.messages)) == (attempts, published)
    given_up = [log for log in logs if log["event"] == "outcome cannot be published, and is given up"]
    assert len(given_up) == 1 - published


@asynccontextmanager
async def place_for(kind: str, port: int) -> AsyncGenerator[Place]:
    """A place at the usual broker, or at a server of the test's own."""
    if kind != "redis":
        async with place_at(kind) as place:
            yield place
        return
    place_of_redis: Any = redis_place
    place_of_redis.REDIS = f"redis://127.0.0.1:{port}"
    own = make_place(kind, "questions")
    await own.open()
    try:
        yield own
    finally:
        await own.delete()


async def too_large(kind: str, port: int, size: int, count: int) -> None:
    async def call(value: int) -> str:
        return "v" * (size if value < count else 10)

    async with place_for(kind, port) as place:
        consumer = PipelineConsumer(Pipeline(Stage("only", call), scheduler="asyncio"), prefetch=count)
        broker = place.broker()
        place.subscribe(consumer, broker, outcomes=place.publisher(broker, "done"))
        with capture_logs() as logs:
            async with app_of(consumer, broker):
                await place.publish(bodies(range(count + 1)))
                await until(lambda: consumer.running.report().written == count + 1)
                await nothing_left(place, consumer)
        done = {each["id"]: each for each in await place.published("done")}
    assert [done[number]["value"] for number in range(count + 1)] == [None] * count + ["v" * 10]
    assert [done[number]["left_out"] for number in range(count)] == [{"value": size + 2}] * count
    shortened = [log for log in logs if log["event"] == "outcome is published without what is long"]
    assert len(shortened) == count


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "size", "count"), [("nats", 2**20, 2), ("rabbit", 17 * 2**20, 1)])
def test_larger_than_the_server_takes(kind: str, size: int, count: int) -> None:
    """As many outcomes as may be in hand at once are too large: none is published for ever, and the next one is."""
    asyncio.run(too_large(kind, 0, size, count))


@pytest.mark.slow
def test_larger_than_redis_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of a Redis that takes 1 MB at once."""
    monkeypatch.setattr(redis_place, "REDIS", "")  # and as it was afterwards
    with server("redis-server", "--proto-max-bulk-len", "1mb", "--save", "", "--port") as port:
        asyncio.run(too_large("redis", port, 2**20, 2))


@pytest.mark.slow
def test_larger_than_mqtt_takes(tmp_path: Path) -> None:
    """A packet that is too large would cost the connection: what the broker said of its limit is kept."""
    (tmp_path / "conf").write_text("allow_anonymous true\nmax_packet_size 20000\n")
    done: list[Any] = []

    async def call(value: int) -> str:
        return "v" * (30_000 if value < 5 else 10)

    async def main(port: int) -> None:
        name = f"rxpipe-{uuid.uuid4().hex}"
        consumer = PipelineConsumer(Pipeline(Stage("only", call), scheduler="asyncio"), prefetch=5)
        broker = MQTTBroker(f"mqtt://127.0.0.1:{port}", client_id=name, receive_maximum=5, logger=None)

        @broker.subscriber("done", qos=QoS.AT_LEAST_ONCE)
        async def keep(body: Any) -> None:
            done.append(body)

        consumer.subscribe(broker, "ids", outcomes=broker.publisher("done", qos=QoS.AT_LEAST_ONCE))
        async with app_of(consumer, broker):
            for body in bodies(range(6)):
                await broker.publish(body, "ids", qos=QoS.AT_LEAST_ONCE)
            await until(lambda: len(done) == 6 and consumer.in_flight == 0)
            assert broker.connection_info.connection_id == 1

    with server("mosquitto", "-c", str(tmp_path / "conf"), "-p") as port:
        asyncio.run(main(port))
    assert sorted(each["id"] for each in done if each.get("left_out") == {"value": 30_002}) == list(range(5))


def test_small_outcome_beside_a_large_one() -> None:
    """RabbitMQ closes the channel of all that are being published: only the large one is too large."""
    closed = type("ChannelPreconditionFailed", (Exception,), {})(
        "PRECONDITION_FAILED - message size 300 is larger than configured max size 200"
    )
    for value, error in ((300 * "v", TooLargeError), ("v", type(closed))):
        with pytest.raises(error):
            asyncio.run(publish(Refusing(0, closed), {"value": value}, None))


def test_same() -> None:
    """What is not too large is published as it is."""
    outcomes = Refusing(10_000, TooLargeError())

    async def main() -> None:
        consumer, broker = PipelineConsumer(Pipeline(Stage("only", same), scheduler="asyncio")), RabbitBroker()
        consumer.subscribe(broker, "questions", outcomes=outcomes)
        async with consumer.lifespan(), TestRabbitBroker(broker) as rabbit:
            await rabbit.publish("q", "questions")

    asyncio.run(main())
    assert "left_out" not in outcomes.messages[0]
