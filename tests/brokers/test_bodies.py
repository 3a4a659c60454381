"""Which bodies of messages are IDs, of a broker in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faststream.rabbit import RabbitBroker, TestRabbitBroker

from brokers.helpers import same
from rxpipe import Pipeline, Stage
from rxpipe.faststream import PipelineConsumer


class Told:
    """A publisher that remembers."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def publish(self, message: Any, /, **options: Any) -> None:
        self.messages.append(message)


def told_of(body: Any, **options: Any) -> dict[str, Any]:
    """What is told of a message with this body."""
    told = Told()

    async def main() -> None:
        consumer = PipelineConsumer(Pipeline(Stage("only", same), scheduler="asyncio"))
        broker = RabbitBroker(logger=None)
        consumer.subscribe(broker, "questions", outcomes=told, dead_letters=told, **options)
        async with consumer.lifespan(), TestRabbitBroker(broker) as rabbit:
            await rabbit.publish(body, "questions")

    asyncio.run(main())
    (message,) = told.messages
    return dict(message)


@pytest.mark.parametrize("text", ['{"id": 3', '{"id": 3}', "[1", "[1]", ' \n{"id"', '"q-8', "{}x", 90_000 * "["])
@pytest.mark.parametrize("is_text", [True, False])
def test_not_quite_json(text: str, is_text: bool) -> None:
    """What begins like an object, an array or a string of JSON is no ID as it stands, even if it is said to be text."""
    told = told_of(text if is_text else text.encode())
    assert (told["status"], told["id"]) == ("rejected", None)
    assert told["body"] == (text if len(text) <= 200 else text[:200] + "...")


@pytest.mark.parametrize(
    ("body", "item_id"),
    [
        (7, 7),
        (b"7", 7),
        ("7", "7"),
        ("q-9", "q-9"),
        (b"q-9", "q-9"),
        (b'"q-8"', "q-8"),
        ('"q-8"', "q-8"),
        (b'"[1"', "[1"),
        (b'"{a}"', "{a}"),
        ("7] or so", "7] or so"),
    ],
)
def test_ids(body: Any, item_id: int | str) -> None:
    """An int or a str, as JSON or as text."""
    told = told_of(body)
    assert (told["status"], told["id"]) == ("written", item_id)


def test_decoder_makes_any_text() -> None:
    """What a decoder makes of a body is an ID as it stands."""

    async def decode(message: Any) -> Any:
        return message.body.decode().removeprefix("id=")

    assert told_of("id=[1", decoder=decode)["id"] == "[1"
