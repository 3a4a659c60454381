"""Messages of an MQTT broker, within a session that outlives connections."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faststream.mqtt import MQTTBroker, QoS
from servers import answering_port

from brokers.helpers import MQTT, app_of, bodies, same, server, until
from rxpipe import DatabaseSink, Pipeline, Retry, RunStore, Stage
from rxpipe.faststream import PipelineConsumer

pytestmark = pytest.mark.slow


def consumer_of(call: Callable[[Any], Any], folder: Path, **options: Any) -> PipelineConsumer:
    pipeline = Pipeline(
        Stage("only", call, concurrency=4, retry=Retry(max_attempts=1)),
        sink=DatabaseSink(f"sqlite:///{folder}/bank.db", max_seconds=0.02),
        store=RunStore(),
        scheduler="asyncio",
    )
    return PipelineConsumer(pipeline, **options)


def session(name: str, **options: Any) -> MQTTBroker:
    return MQTTBroker(
        answering_port(MQTT), client_id=name, clean_session=False, session_expiry_interval=60, logger=None, **options
    )


async def forget(name: str) -> None:
    """Have the broker forget a session and what it holds."""
    broker = MQTTBroker(MQTT, client_id=name, clean_session=True, logger=None)
    await broker.connect()
    await broker.stop()


async def publish(broker: MQTTBroker, topic: str, messages: list[bytes]) -> None:
    await asyncio.gather(*(broker.publish(body, topic, qos=QoS.AT_LEAST_ONCE) for body in messages))


def test_acknowledged(tmp_path: Path) -> None:
    """Once rows are committed nothing of them comes again; failures and poison are dead letters; few are in hand."""
    calls: list[int] = []
    in_flight: list[int] = []
    letters: list[Any] = []

    async def consume(name: str, ids: range) -> None:
        async def call(value: int) -> int:
            calls.append(value)
            in_flight.append(consumer.in_flight)
            await asyncio.sleep(0.01)
            if value % 2:
                raise ValueError("odd")
            return value

        consumer = consumer_of(call, tmp_path, prefetch=8)
        broker = session(name, receive_maximum=consumer.prefetch)

        @broker.subscriber(f"{name}/failed", qos=QoS.AT_LEAST_ONCE)
        async def keep(body: Any) -> None:
            letters.append(body)

        failed = broker.publisher(f"{name}/failed", qos=QoS.AT_LEAST_ONCE)
        consumer.subscribe(broker, f"{name}/ids", dead_letters=failed)
        wanted = len(letters) + 1 + sum(each % 2 for each in ids)
        async with app_of(consumer, broker):
            await publish(broker, f"{name}/ids", [*bodies(ids), b"{}"])
            await until(lambda: set(calls) >= set(ids) and len(letters) >= wanted and consumer.in_flight == 0)

    async def main() -> None:
        name = f"rxpipe-{uuid.uuid4().hex}"
        await consume(name, range(40))
        await consume(name, range(40, 42))
        await forget(name)

    asyncio.run(main())
    assert sorted(calls) == list(range(42))
    assert [letter["id"] for letter in letters if letter["id"] is None] == [None, None]
    assert sorted(letter["id"] for letter in letters if letter["id"] is not None) == list(range(1, 42, 2))
    assert max(in_flight) <= 8


def test_not_acknowledged(tmp_path: Path) -> None:
    """What was not finished comes again when the session goes on, and so does what was published meanwhile."""
    calls: list[int] = []

    async def call(value: int) -> int:
        calls.append(value)
        await asyncio.sleep(60 if len(calls) <= 4 else 0)
        return value

    async def main() -> None:
        name = f"rxpipe-{uuid.uuid4().hex}"
        first = consumer_of(call, tmp_path, grace=0.2, prefetch=8)
        broker = session(name, receive_maximum=8)
        first.subscribe(broker, name)
        async with app_of(first, broker):
            await publish(broker, name, bodies(range(20)))
            await until(lambda: len(calls) == 4)
        meanwhile = MQTTBroker(MQTT, logger=None)
        await meanwhile.connect()
        await publish(meanwhile, name, bodies(range(20, 30)))
        await meanwhile.stop()
        second = consumer_of(call, tmp_path, prefetch=8)
        broker = session(name, receive_maximum=8)
        second.subscribe(broker, name)
        async with app_of(second, broker):
            await until(lambda: len(calls) >= 34 and second.in_flight == 0)
        await forget(name)

    asyncio.run(main())
    assert sorted(calls[4:]) == list(range(30))


def test_shared(tmp_path: Path) -> None:
    """Two processes' shared subscription gives each message to one of them."""
    calls: list[tuple[str, int]] = []

    def member(group: str, number: str) -> tuple[PipelineConsumer, MQTTBroker]:
        async def call(value: int) -> int:
            calls.append((number, value))
            await asyncio.sleep(0.01)
            return value

        (tmp_path / number).mkdir()
        consumer = consumer_of(call, tmp_path / number, prefetch=8)
        broker = session(f"{group}-{number}", receive_maximum=8)
        consumer.subscribe(broker, f"{group}/ids", shared="bank")
        return consumer, broker

    async def main() -> None:
        group = f"rxpipe-{uuid.uuid4().hex}"
        (one, first), (two, second) = member(group, "1"), member(group, "2")
        async with app_of(one, first), app_of(two, second):
            await publish(first, f"{group}/ids", bodies(range(60)))
            await until(lambda: len(calls) >= 60 and one.in_flight + two.in_flight == 0)
        for number in ("1", "2"):
            await forget(f"{group}-{number}")

    asyncio.run(main())
    assert sorted(value for _, value in calls) == list(range(60))
    assert {number for number, _ in calls} == {"1", "2"}


@pytest.mark.parametrize(("limit", "kept"), [(5, range(5, 26)), (0, range(40, 41))])
def test_what_mosquitto_keeps(limit: int, kept: range, tmp_path: Path) -> None:
    """While no consumer is there it keeps ``max_queued_messages`` besides those in flight, and drops the others."""
    (tmp_path / "conf").write_text(f"allow_anonymous true\nmax_queued_messages {limit}\n")

    def consuming(url: str) -> tuple[PipelineConsumer, MQTTBroker]:
        consumer = PipelineConsumer(Pipeline(Stage("only", same), scheduler="asyncio"))
        broker = MQTTBroker(url, client_id="one", clean_session=False, session_expiry_interval=60, logger=None)
        consumer.subscribe(broker, "ids")
        return consumer, broker

    async def main(url: str) -> int:
        async with app_of(*consuming(url)):
            pass  # its session is there now
        other = MQTTBroker(url, logger=None)
        await other.connect()
        await publish(other, "ids", bodies(range(40)))
        consumer, broker = consuming(url)
        async with app_of(consumer, broker):
            await publish(other, "ids", [b"99"])  # which comes after what was kept
            await until(lambda: consumer.running.report().written > kept.start and not consumer.in_flight)
            count = consumer.running.report().written
        await other.stop()
        return count - 1

    with server("mosquitto", "-c", str(tmp_path / "conf"), "-p") as port:
        assert asyncio.run(main(f"mqtt://127.0.0.1:{port}")) in kept
