"""Messages of real brokers: nothing is lost without a word, and each line of the log is there once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from faststream.redis import StreamSub
from structlog.testing import capture_logs

from brokers.helpers import Place, app_of, bodies, nothing_left, pipeline_of, place_at, same, until
from rxpipe import Pipeline, Retry, Stage
from rxpipe.faststream import PipelineConsumer
from rxpipe.faststream import consumer as consumer_module
from rxpipe.logs import Logging
from rxpipe.pipeline.listener import Listener

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("claims_first", [True, False])
def test_backlog_of_a_new_group(claims_first: bool) -> None:
    """A new group begins where it was said, whichever of the two subscriptions starts first."""

    async def start(place: Place, group: str) -> None:
        consumer = PipelineConsumer(Pipeline(Stage("only", same), scheduler="asyncio"))
        broker = place.broker()
        consumer.subscribe(broker, stream=StreamSub(place.name, group=group, consumer="one", last_id="0"))
        async with consumer.lifespan(), broker:
            for each in sorted(broker.subscribers, key=lambda each: bool(each.min_idle_time) != claims_first):
                await each.start()
            await until(lambda: consumer.running.report().written == 20, 5)

    async def main() -> None:
        async with place_at("redis") as place:
            await place.publish(bodies(range(20)))
            for number in range(5):
                await start(place, f"new-{number}")

    asyncio.run(main())


@pytest.mark.parametrize("end", ["outcomes", "dead_letters"])
def test_no_such_queue(end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What RabbitMQ has no queue for is an error in the log, and is published again until there is one."""
    monkeypatch.setattr(consumer_module, "_PAUSE", 0.05)

    async def call(value: int) -> int:
        if end == "dead_letters":
            raise ValueError("no")
        return value

    def refusals(logs: list[Any]) -> list[Any]:
        return [log for log in logs if log["event"] == "outcome was not published, another attempt follows"]

    async def main() -> None:
        async with place_at("rabbit") as place:
            consumer = PipelineConsumer(pipeline_of(call, tmp_path))
            broker = place.broker()
            place.subscribe(consumer, broker, **{end: place.publisher(broker, "late")})
            rabbit: Any = place
            with capture_logs() as logs:
                async with app_of(consumer, broker):
                    await place.publish(bodies([3]))
                    await until(lambda: refusals(logs))
                    late = await rabbit.channel.declare_queue(f"{place.name}.late", auto_delete=True)
                    await nothing_left(place, consumer)
            assert [each["id"] for each in await place.published("late")] == [3]
            await late.delete(if_empty=False, if_unused=False)
            assert "no queue" in refusals(logs)[0]["error"]

    asyncio.run(main())


@pytest.mark.parametrize("listeners", [[], [Logging()]])
def test_failure_is_logged_once(listeners: list[Listener]) -> None:
    """With ``Logging`` as a listener its line is the one; without it the consumer's."""

    async def call(value: int) -> int:
        raise ValueError("no")

    async def main() -> list[str]:
        async with place_at("nats") as place:
            stage = Stage("only", call, retry=Retry(max_attempts=1))
            consumer = PipelineConsumer(Pipeline(stage, listeners=listeners, scheduler="asyncio"))
            broker = place.broker()
            place.subscribe(consumer, broker)
            with capture_logs() as logs:
                async with app_of(consumer, broker):
                    await place.publish(bodies([3]))
                    await until(lambda: consumer.running.report().failed == 1)
                    await nothing_left(place, consumer)
            return [log["event"] for log in logs if log["log_level"] == "warning"]

    assert asyncio.run(main()) == ["item failed" if listeners else "item of a message has failed"]


@pytest.mark.parametrize("kind", ["nats", "redis", "rabbit"])
def test_rejected_is_found(kind: str) -> None:
    """The dead letter of a message that is no ID has the message's ID, as the line of the log has."""

    async def main() -> None:
        async with place_at(kind) as place:
            consumer = PipelineConsumer(Pipeline(Stage("only", same), scheduler="asyncio"))
            broker = place.broker()
            place.subscribe(consumer, broker)
            with capture_logs() as logs:
                async with app_of(consumer, broker):
                    await place.publish([b"[1]", b"1"])
                    await until(lambda: consumer.running.report().written == 1)
                    await nothing_left(place, consumer)
            (letter,) = await place.published("failed")
            (line,) = [log for log in logs if log["event"] == "message is no ID, and is rejected"]
            assert letter["message_id"] == line["message_id"] != ""

    asyncio.run(main())
