"""Bodies that are the values of items, with their IDs in them; of brokers in memory, and large ones of real ones."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from faststream.kafka import KafkaBroker, TestKafkaBroker
from faststream.rabbit import RabbitBroker, TestRabbitBroker

from brokers.helpers import app_of, nothing_left, pipeline_of, place_at, same, until
from brokers.test_bodies import Told, told_of
from rxpipe import DatabaseSink, Pipeline, RunStore, Stage, content_id
from rxpipe.faststream import PipelineConsumer

ROW = {"number": 7, "text": "What is 3 + 4?"}


def row_of(body: Any) -> str:
    return f"row-{body['number']}"


def number_of(body: Any) -> Any:
    return body["deep"]["number"]


class Row(NamedTuple):
    """What a decoder may make of a body."""

    number: int


@pytest.mark.parametrize(
    ("by", "item_id"),
    [
        ("number", 7),
        ("text", "What is 3 + 4?"),
        (row_of, "row-7"),
        (content_id, content_id(ROW)),
    ],
)
@pytest.mark.parametrize("is_text", [True, False])
def test_value(by: Any, item_id: int | str, is_text: bool) -> None:
    """The whole body is the value, its ID a field or what a function makes of it; also if JSON is said to be text."""
    text = json.dumps(ROW)
    told = told_of(text if is_text else text.encode(), id=by)
    assert (told["id"], told["status"], told["value"], told["parent"]) == (item_id, "written", ROW, None)


@pytest.mark.parametrize(
    ("body", "by", "error"),
    [
        (b"7", "number", "the body is no JSON object, but 7 (int)"),
        (b"text", "number", "the body is no JSON object, but 'text' (str)"),
        (b'"text"', "number", "the body is no JSON object, but 'text' (str)"),
        (b"null", "number", "the body is no JSON object, but None (NoneType)"),
        (b'[{"number": 7}]', content_id, "the body is no JSON object, but [{'number': 7}] (list)"),
        (b'{"number": 7', "number", "the body begins like JSON, and is none: "),
        (b"", "number", "the body is empty"),
        (b"\xff{}", "number", "the body cannot be decoded: "),
        (b'{"x": ' + 90_000 * b"[", "number", "the body cannot be decoded: RecursionError"),
        (b'{"Number": 7}', "number", "the body has no 'number' to be its ID"),
        (b'{"number": 1.5}', "number", "the body's 'number' is no ID, which must be an int or a str: 1.5 (float)"),
        (b'{"number": null}', "number", "the body's 'number' is no ID, which must be an int or a str: None (NoneType)"),
        (b'{"number": true}', "number", "the body's 'number' is no ID, which must be an int or a str: True (bool)"),
        (b'{"number": {}}', "number", "the body's 'number' is no ID, which must be an int or a str: {} (dict)"),
        (b'{"deep": []}', number_of, "no ID could be made of the body: TypeError: list indices must be integers"),
        (
            b'{"deep": {"number": []}}',
            number_of,
            "what was made of the body is no ID, which must be an int or a str: []",
        ),
    ],
)
def test_body_without_an_id(body: bytes, by: Any, error: str) -> None:
    """It is rejected, and the dead letter names what is wrong with it."""
    told = told_of(body, id=by)
    assert (told["status"], told["id"]) == ("rejected", None)
    assert told["error"].startswith(error)
    assert told["body"] == body.decode(errors="replace")[:200] + ("..." if len(body) > 200 else "")


@pytest.mark.parametrize("made", [ROW, Row(7)])
def test_decoder(made: Any) -> None:
    """What a decoder makes of a body is the value: a mapping, or an object with an attribute."""

    async def decode(message: Any) -> Any:
        assert message.body == b"7;What is 3 + 4?"
        return made

    told = told_of(b"7;What is 3 + 4?", id="number", decoder=decode)
    assert (told["id"], told["value"]) == (7, json.loads(json.dumps(made)))


@pytest.mark.parametrize("wrong", [7, number_of.__name__.encode(), same])
def test_what_makes_no_id(wrong: Any) -> None:
    """What is neither a name nor a plain function is refused where it is given."""
    with pytest.raises(TypeError, match="id must be the name of a field, or a plain function of the body, not "):
        PipelineConsumer(Pipeline(Stage("only", same))).subscribe(RabbitBroker(), "questions", id=wrong)


def test_store_that_fails_when_a_record_has_changed(tmp_path: Path) -> None:
    """It is refused: the message that ends the app would come again, and end it again."""
    pipeline = Pipeline(
        Stage("only", same), sink=DatabaseSink(f"sqlite:///{tmp_path}/bank.db"), store=RunStore(on_change="fail")
    )
    PipelineConsumer(pipeline).subscribe(RabbitBroker(), "questions")
    with pytest.raises(ValueError, match='on_change="fail" of the store would have a message come for ever'):
        PipelineConsumer(pipeline).subscribe(RabbitBroker(), "questions", id="number")


@pytest.mark.parametrize(("on_change", "values"), [("keep", ["first", "first"]), ("redo", ["first", "second"])])
def test_other_body_with_the_same_id(on_change: Any, values: list[str], tmp_path: Path) -> None:
    """The first one counts, unless the store is to do it again."""
    outcomes = Told()

    async def main() -> None:
        pipeline = Pipeline(
            Stage("only", same),
            sink=DatabaseSink(f"sqlite:///{tmp_path}/bank.db", max_seconds=0.01),
            store=RunStore(on_change=on_change),
            scheduler="asyncio",
        )
        consumer, broker = PipelineConsumer(pipeline), RabbitBroker(logger=None)
        consumer.subscribe(broker, "questions", id="number", outcomes=outcomes)
        async with consumer.lifespan(), TestRabbitBroker(broker) as rabbit:
            for text in ("first", "second"):
                await rabbit.publish({"number": 7, "text": text}, "questions")

    asyncio.run(main())
    assert [each["value"]["text"] for each in outcomes.messages] == values


def test_batch_of_kafka() -> None:
    """Each body of a batch is a value of its own, or rejected for itself."""
    outcomes, letters = Told(), Told()
    messages: list[Any] = [ROW, {"text": "x"}, {"number": "8"}, b"\xff", 9]

    async def main() -> None:
        consumer = PipelineConsumer(Pipeline(Stage("only", same), scheduler="asyncio"))
        broker = KafkaBroker()
        consumer.subscribe(broker, "questions", group_id="bank", id="number", outcomes=outcomes, dead_letters=letters)
        async with consumer.lifespan(), TestKafkaBroker(broker) as kafka:
            await kafka.publish_batch(*messages, topic="questions")

    asyncio.run(main())
    assert [(each["id"], each["value"]) for each in outcomes.messages] == [(7, ROW), ("8", {"number": "8"})]
    assert sorted(each["error"].split(":")[0] for each in letters.messages) == [
        "the body cannot be decoded",
        "the body has no 'number' to be its ID",
        "the body is no JSON object, but 9 (int)",
    ]


ODD = [
    '{"number": 100, "text": "half of \\ud83d, and a \\u0000"}',
    '{"number": 101, "deep": ' + 150 * "[" + 150 * "]" + "}",
    '{"number": 102, "large": ' + 4000 * "9" + ', "none": NaN}',
]
SIZES = {"10 kB": 10_000, "1 MB": 1_000_000}  # of NATS 1,048,576 bytes at most


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nats", "redis", "rabbit"])
def test_large_and_odd_bodies(kind: str, tmp_path: Path) -> None:
    """Values of 10 kB and of 1 MB come as they are, through a store, too; so do those that few encodings take."""
    texts = [json.dumps({"number": n, "text": size * chr(97 + n)}) for n, size in enumerate(SIZES.values())] + ODD
    seen: dict[int, Any] = {}

    async def call(value: Any) -> Any:
        seen[value["number"]] = value
        return len(value)

    async def main() -> None:
        async with place_at(kind) as place:
            consumer, broker = PipelineConsumer(pipeline_of(call, tmp_path)), place.broker()
            place.subscribe(consumer, broker, id="number")
            async with app_of(consumer, broker):
                await place.publish([*(text.encode() for text in texts), b'{"number": {}}'])
                await until(lambda: consumer.running.report().written == len(texts))
                await nothing_left(place, consumer)
            (letter,) = await place.published("failed")
            assert letter["status"] == "rejected"

    asyncio.run(main())
    given = [json.loads(text) for text in texts]
    assert repr(sorted(seen.values(), key=lambda one: one["number"])) == repr(given)  # as NaN is not itself
