"""A consumer whose messages arrive no more: its health says so, and it comes back by itself."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from faststream.mqtt import MQTTBroker, QoS
from faststream.rabbit import RabbitBroker, RabbitQueue, TestRabbitBroker
from nats import errors as nats_errors
from proxy import Proxy
from servers import answering_port
from structlog.testing import capture_logs
from zmqtt import ReconnectConfig

from brokers import nats_place
from brokers.helpers import (
    MQTT,
    RABBIT,
    Place,
    Relay,
    bodies,
    end_tasks,
    make_place,
    place_at,
    same,
    server,
    serving,
    until,
)
from rxpipe import Pipeline, Stage
from rxpipe.faststream import PipelineConsumer, liveness, subscription
from rxpipe.faststream import consumer as consumer_module

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "_PAUSE", 0.05)
    monkeypatch.setattr(liveness, "_PING", 0.2)
    monkeypatch.setattr(liveness, "_CALM", 0.05)


def consumer_of(call: Any = same) -> PipelineConsumer:
    return PipelineConsumer(Pipeline(Stage("only", call), scheduler="asyncio"), prefetch=8)


@asynccontextmanager
async def consuming(consumer: PipelineConsumer, broker: Any) -> AsyncGenerator[None]:
    """Without an app, which FastStream ends in some of these cases."""
    async with consumer.lifespan(), broker:
        await broker.start()
        yield


async def is_stalled(consumer: PipelineConsumer, reason: str) -> None:
    """Wait until its health says why no messages arrive."""
    await until(lambda: reason in consumer.running.health().reason)
    assert consumer.running.health().status == "stalled"


async def written(consumer: PipelineConsumer, count: int) -> None:
    """Wait for so many rows; a broker whose consumer was deleted may deliver more than once."""
    await until(lambda: consumer.running.report().written >= count)


async def is_alive(consumer: PipelineConsumer) -> None:
    await until(lambda: consumer.running.health().status == "alive")


@pytest.mark.parametrize("in_hand", [0, 3])
def test_mqtt_that_accepts_and_closes(in_hand: int) -> None:
    """A connection that is closed at once ends the client for good: another one goes on with the session."""
    calls: list[int] = []
    held = asyncio.Event()

    async def call(value: int) -> int:
        calls.append(value)
        await held.wait()
        return value

    async def main() -> None:
        relay, name = Relay(answering_port(MQTT)), f"rxpipe-{uuid.uuid4().hex}"
        await relay.start()
        options: dict[str, Any] = {"session_expiry_interval": 60, "receive_maximum": 8, "logger": None}
        quickly = ReconnectConfig(initial_delay=0.01, max_attempts=1)
        broker = MQTTBroker(
            f"mqtt://127.0.0.1:{relay.port}", client_id=name, clean_session=False, reconnect=quickly, **options
        )
        other = MQTTBroker(MQTT, logger=None)
        await other.connect()
        consumer = consumer_of(call)
        consumer.subscribe(broker, name)
        async with consuming(consumer, broker):
            for body in bodies(range(in_hand)):
                await other.publish(body, name, qos=QoS.AT_LEAST_ONCE)
            await until(lambda: len(calls) == in_hand)
            relay.is_open = False
            relay.cut()
            await until(lambda: [log for log in logs if "started again" in log["event"]])  # the client has given up
            await is_stalled(consumer, "no messages arrive")
            await other.publish(b"7", name, qos=QoS.AT_LEAST_ONCE)
            relay.is_open = True
            held.set()
            await until(lambda: 7 in calls)
            await is_alive(consumer)
            await until(lambda: consumer.in_flight == 0)
        await other.stop()
        await relay.close()
        forgotten = MQTTBroker(MQTT, client_id=name, clean_session=True, logger=None)
        await forgotten.connect()
        await forgotten.stop()

    with capture_logs() as logs:
        asyncio.run(main())
    assert set(calls) == {7, *range(in_hand)}
    assert [log["reason"].partition(":")[0] for log in logs if "started again" in log["event"]] == [
        "the client has given up"
    ]


def test_nats_that_was_away_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client closes after so many attempts. The event loop is not blocked, and another client goes on."""
    command = ("nats-server", "-a", "127.0.0.1", "-js", "-sd", str(tmp_path), "-p")

    async def main(port: int, place: Place) -> None:
        with serving(port, *command):
            await place.open()
            consumer = consumer_of()
            broker = place.broker(max_reconnect_attempts=1)
            place.subscribe(consumer, broker)
            started = consuming(consumer, broker)
            await started.__aenter__()
            await place.publish(bodies([1]))
            await written(consumer, 1)
        await is_stalled(consumer, "no messages arrive")
        await until(lambda: broker._connection is None)  # one attempt to start it again has failed
        with serving(port, *command):
            await is_alive(consumer)
            await place.publish(bodies([2]))
            await written(consumer, 2)
            await started.__aexit__(None, None, None)
            await place.delete()

    with server(*command) as port:  # a port that is free
        pass
    monkeypatch.setattr(nats_place, "NATS", f"nats://127.0.0.1:{port}")
    asyncio.run(main(port, make_place("nats", "questions")))


def test_consumer_of_nats_is_deleted() -> None:
    """It is made again."""

    async def main() -> None:
        async with place_at("nats") as place:
            consumer, broker, there = consumer_of(), place.broker(), place
            place.subscribe(consumer, broker)
            async with consuming(consumer, broker):
                await place.publish(bodies([1]))
                await written(consumer, 1)
                stream: Any = there
                await stream.stream.delete_consumer(place.name, place.name)
                await until(lambda: consumer.running.report().taken == 2)  # the new one begins at the beginning
                await is_alive(consumer)

    asyncio.run(main())


def test_group_of_redis_is_deleted() -> None:
    """It is made again, and so where its stream is deleted, too."""
    calls: list[int] = []

    async def call(value: int) -> int:
        calls.append(value)
        return value

    async def main() -> None:
        async with place_at("redis") as place:
            consumer, broker = consumer_of(call), place.broker()
            place.subscribe(consumer, broker)
            redis: Any = place
            async with consuming(consumer, broker):
                await place.publish(bodies([1]))
                await written(consumer, 1)
                await redis.client.xgroup_destroy(place.name, "group")
                await written(consumer, 2)  # the new one begins at the beginning
                await redis.client.delete(place.name)
                await until(lambda: len([log for log in logs if "started again" in log["event"]]) >= 2)
                await is_alive(consumer)
                await place.publish(bodies([3]))
                await until(lambda: 3 in calls)

    with capture_logs() as logs:
        asyncio.run(main())


def test_queue_of_rabbit_is_deleted() -> None:
    """It is declared again, and its messages arrive."""

    async def main() -> None:
        async with place_at("rabbit") as place:
            consumer, broker = consumer_of(), place.broker()
            place.subscribe(consumer, broker)
            rabbit: Any = place
            async with consuming(consumer, broker):
                await place.publish(bodies([1]))
                await written(consumer, 1)
                await rabbit.channel.queue_delete(place.name)
                await until(lambda: rabbit.is_there())
                await place.publish(bodies([2]))
                await written(consumer, 2)

    asyncio.run(main())


def test_connection_to_rabbit_is_lost() -> None:
    """Its health says so while it lasts."""

    async def main() -> None:
        async with place_at("rabbit") as place:
            consumer, broker = consumer_of(), place.broker()
            place.subscribe(consumer, broker)
            rabbit: Any = place
            async with consuming(consumer, broker):
                rabbit.relay.is_open = False
                await place.cut()
                await is_stalled(consumer, "no messages arrive: the connection is lost")
                rabbit.relay.is_open = True
                await is_alive(consumer)
                await place.publish(bodies([1]))
                await written(consumer, 1)

    asyncio.run(main())


def test_broker_that_is_stopped() -> None:
    """What is stopped by whoever has started it stays stopped, and a broker in memory is left alone."""
    looks: list[str] = []

    async def main() -> None:
        async with place_at("redis") as place:
            consumer, broker = consumer_of(), place.broker()
            place.subscribe(consumer, broker)
            async with consumer.lifespan():
                async with broker:
                    await broker.start()
                    await is_alive(consumer)
                await asyncio.sleep(0.3)  # some looks
                assert not any(each.running for each in broker.subscribers)
        memory, consumer = RabbitBroker(logger=None), consumer_of()
        consumer.subscribe(memory, "questions")
        async with consumer.lifespan(), TestRabbitBroker(memory) as rabbit:
            await asyncio.sleep(0.3)
            looks.append(consumer.running.health().status)
            await rabbit.publish(1, "questions")
            await written(consumer, 1)

    with capture_logs() as logs:
        asyncio.run(main())
    assert looks == ["alive"]
    assert [log for log in logs if "started again" in log["event"]] == []


def test_a_client_that_swallows_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app ends all the same."""
    looks = 0

    async def main() -> None:
        is_looking = asyncio.Event()

        async def look(_subscriber: Any) -> bool:
            nonlocal looks
            looks += 1
            is_looking.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if looks > 1:
                    raise
            return False

        monkeypatch.setattr(subscription, "is_away", look)
        memory, consumer = RabbitBroker(logger=None), consumer_of()
        consumer.subscribe(memory, "questions")
        async with asyncio.timeout(10):
            async with consumer.lifespan(), TestRabbitBroker(memory):
                await is_looking.wait()

    asyncio.run(main())
    assert looks > 0


def test_a_silent_broker_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """RabbitMQ's client would wait for its answer until heartbeats fail."""
    monkeypatch.setattr(liveness, "_LEAVING", 0.1)
    there = urlsplit(answering_port(RABBIT))
    proxy = Proxy(there.hostname or "", there.port or 5672)
    url = there._replace(netloc=f"{there.username}:{there.password}@127.0.0.1:{proxy.port}").geturl()
    queue = RabbitQueue(f"rxpipe-{uuid.uuid4().hex}", auto_delete=True)

    async def main() -> float:
        broker = RabbitBroker(url, graceful_timeout=0.1, logger=None)
        consumer = consumer_of()
        consumer.subscribe(broker, queue)
        async with consuming(consumer, broker):
            await until(lambda: consumer.running.health().status == "alive")
            proxy.fall_silent()
            began = time.monotonic()
        seconds = time.monotonic() - began
        proxy.close()
        await end_tasks()
        return seconds

    with capture_logs() as logs:
        assert asyncio.run(main()) < 5
    assert any("left without a word" in log["event"] for log in logs)


@pytest.mark.parametrize("error", [asyncio.TimeoutError, nats_errors.TimeoutError])
def test_a_fetch_of_nats_without_messages_is_no_error(error: type[Exception]) -> None:
    """The client raises either of two errors, of which FastStream expects one, and logs the other with a traceback."""
    got: list[list[Any]] = []

    async def fetch(**_: Any) -> list[Any]:
        raise error

    async def consume() -> None:
        got.append(await subscriber.subscription.fetch())

    subscriber = SimpleNamespace(subscription=SimpleNamespace(fetch=fetch), running=True, _consume_pull=consume)
    liveness.prepare(subscriber, lambda _: None)
    asyncio.run(subscriber._consume_pull())
    assert got == [[]]
