"""A message is settled, whatever raises on its way: logging, publishing, a middleware, a value's own methods."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import structlog
from faststream import AckPolicy, BaseMiddleware
from faststream.kafka import KafkaBroker, TestKafkaBroker
from faststream.kafka.message import FakeConsumer
from faststream.mqtt import MQTTBroker, TestMQTTBroker
from faststream.mqtt.message import MQTTMessage
from faststream.rabbit import RabbitBroker, TestRabbitBroker
from faststream.rabbit.message import RabbitMessage
from structlog.testing import capture_logs

from brokers.helpers import app_of, bodies, nothing_left, pipeline_of, place_at, same, until
from rxpipe import Pipeline, Retry, Stage
from rxpipe.faststream import PipelineConsumer
from rxpipe.faststream import consumer as consumer_module


class Fates:
    """What brokers were told of messages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        for settlement in ("ack", "nack", "reject"):
            monkeypatch.setattr(RabbitMessage, settlement, self._tell(settlement))
            monkeypatch.setattr(MQTTMessage, settlement, self._tell(settlement))
        monkeypatch.setattr(FakeConsumer, "commit", self._tell("ack"))

    def _tell(self, settlement: str) -> Callable[..., Any]:
        async def tell(message: Any) -> None:
            self.told.append(settlement)

        return tell


class Letters:
    """A publisher that remembers, and fails first, by these."""

    def __init__(self, *errors: BaseException) -> None:
        self.messages: list[Any] = []
        self.errors = list(errors)

    async def publish(self, message: Any, /, **options: Any) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.messages.append(message)


async def handled(consumer: PipelineConsumer, body: Any, *middlewares: Any, **options: Any) -> None:
    """Have one message of RabbitMQ's handled."""
    broker = RabbitBroker(logger=None, middlewares=middlewares)
    consumer.subscribe(broker, "questions", **options)
    async with consumer.lifespan(), TestRabbitBroker(broker) as rabbit:
        with suppress(KeyError):  # of middlewares: the broker in memory raises it to who publishes
            await rabbit.publish(body, "questions")


def consumer_of(call: Callable[[Any], Any]) -> PipelineConsumer:
    return PipelineConsumer(Pipeline(Stage("only", call, retry=Retry(max_attempts=1)), scheduler="asyncio"))


def failing(value: Any) -> Any:
    raise ValueError(f"no {value}")


def broken_logger(*_: Any) -> Any:
    raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")


@pytest.mark.parametrize("body", [b"1", b"[1]"])
def test_log_that_raises(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that cannot be written costs no message."""
    settlements, letters = Fates(monkeypatch), Letters()
    structlog.configure(processors=[broken_logger])
    try:
        asyncio.run(handled(consumer_of(failing), body, dead_letters=letters))
    finally:
        structlog.reset_defaults()
    assert settlements.told == ["reject"]
    assert len(letters.messages) == 1


@pytest.mark.parametrize("error", [ConnectionError("gone"), asyncio.CancelledError()])
def test_publisher_that_raises(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again, and no call is made again; even where the client's own future was cancelled."""
    settlements, outcomes, calls = Fates(monkeypatch), Letters(error), list[int]()
    monkeypatch.setattr(consumer_module, "_PAUSE", 0.001)

    async def call(value: int) -> int:
        calls.append(value)
        return value

    asyncio.run(handled(consumer_of(call), b"1", outcomes=outcomes))
    assert (settlements.told, calls) == (["ack"], [1])
    assert [each["id"] for each in outcomes.messages] == [1]


def test_publisher_that_raises_at_mqtt(monkeypatch: pytest.MonkeyPatch) -> None:
    """MQTT cannot give a message back, so it is kept in hand until its outcome is published."""
    settlements, outcomes = Fates(monkeypatch), Letters(ConnectionError("gone"), ConnectionError("gone"))
    monkeypatch.setattr(consumer_module, "_PAUSE", 0.001)

    async def main() -> None:
        consumer, broker = consumer_of(same), MQTTBroker(logger=None)
        consumer.subscribe(broker, "questions", outcomes=outcomes)
        async with consumer.lifespan(), TestMQTTBroker(broker) as mqtt:
            await mqtt.publish(1, "questions")

    asyncio.run(main())
    assert settlements.told == ["ack"]


def test_app_stops_while_a_publisher_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is given back."""
    settlements, outcomes = Fates(monkeypatch), Letters(*(ConnectionError("gone") for _ in range(1000)))

    async def main() -> None:
        consumer = consumer_of(same)
        handling = asyncio.create_task(handled(consumer, b"1", outcomes=outcomes))
        await until(lambda: len(outcomes.errors) < 1000)
        await consumer.drain()
        await handling

    asyncio.run(main())
    assert settlements.told == ["nack"]


class Raising(BaseMiddleware):
    """Raises before anybody has seen the message."""

    async def consume_scope(self, call_next: Any, msg: Any) -> Any:
        return await call_next(msg.headers["tenant"])


class Swallowing(BaseMiddleware):
    """Lets nothing through, and raises nothing."""

    async def consume_scope(self, call_next: Any, msg: Any) -> Any:
        return None


class RaisingFirst(BaseMiddleware):
    """Raises before the message is parsed."""

    async def on_receive(self) -> None:
        raise KeyError("tenant")


class RaisingLast(BaseMiddleware):
    """Raises once the message was acknowledged."""

    async def after_processed(self, exc_type: Any = None, exc_val: Any = None, exc_tb: Any = None) -> bool | None:
        raise KeyError("tenant")


@pytest.mark.parametrize(
    ("middleware", "settlement", "why"),
    [
        (Raising, "reject", "KeyError: 'tenant'"),
        (RaisingFirst, "reject", "KeyError: 'tenant'"),
        (Swallowing, "reject", "a middleware has not let it through"),
        (RaisingLast, "ack", ""),
    ],
)
def test_middleware_that_raises(middleware: Any, settlement: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its message is rejected, with what it raised, and is a dead letter; unless it is acknowledged already."""
    settlements, letters = Fates(monkeypatch), Letters()
    with capture_logs() as logs:
        asyncio.run(handled(consumer_of(same), b"1", middleware, dead_letters=letters))
    assert settlements.told == [settlement]
    assert [each["error"] for each in letters.messages] == ([f"the message could not be handled: {why}"] if why else [])
    assert [log["error"] for log in logs if log["log_level"] == "error"] == ([why] if why else [])


def test_parser_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's parser that raises costs its message only."""
    settlements = Fates(monkeypatch)

    async def parse(message: Any, original: Any) -> Any:
        raise KeyError("tenant")

    asyncio.run(handled(consumer_of(same), b"1", BaseMiddleware, parser=parse))
    assert settlements.told == ["reject"]


def test_other_subscribers_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What others take from the same broker is theirs to settle."""
    settlements, taken = Fates(monkeypatch), list[Any]()

    async def main() -> None:
        consumer, broker = consumer_of(same), RabbitBroker(logger=None)
        consumer.subscribe(broker, "questions")

        @broker.subscriber("others", ack_policy=AckPolicy.MANUAL)
        async def take(body: Any) -> None:
            taken.append(body)

        async with consumer.lifespan(), TestRabbitBroker(broker) as rabbit:
            await rabbit.publish(1, "others")

    asyncio.run(main())
    assert (taken, settlements.told) == ([1], [])


@pytest.mark.parametrize("call", [failing, same])
@pytest.mark.parametrize("body", ["i" * 900_000, "[" + 900_000 * " " + "]"], ids=["id", "no id"])
def test_long_messages_are_short_lines(call: Any, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ID of 900,000 characters, or what is none, is a short line of the log; its outcome has all of the ID."""
    settlements, told = Fates(monkeypatch), Letters()
    with capture_logs() as logs:
        asyncio.run(handled(consumer_of(call), body, outcomes=told, dead_letters=told))
    assert len(settlements.told) == 1
    assert max((len(str(line)) for line in logs), default=0) < 2000
    assert {each["id"] for each in told.messages} == {body if body.startswith("i") else None}


class Unshowable:
    """A value that nothing can be said of."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Untold(Exception):
    """An error without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def test_value_that_cannot_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value or an error whose own methods raise is told by its type."""
    settlements, told = Fates(monkeypatch), Letters()

    async def call(value: int) -> Any:
        if value == 1:
            return [Unshowable()]
        raise Untold

    for body in (b"1", b"2"):
        asyncio.run(handled(consumer_of(call), body, outcomes=told))
    assert told.messages[0]["value"] == "a list, whose repr raises RuntimeError"
    assert told.messages[1]["error"] == "Untold, whose text raises RuntimeError"
    assert settlements.told == ["ack", "reject"]


def test_number_without_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder's number with too many digits to be printed is worked on, and told of."""
    settlements, told = Fates(monkeypatch), Letters()

    async def decode(message: Any) -> Any:
        return 10**5000

    asyncio.run(handled(consumer_of(failing), b"1", outcomes=told, decoder=decode))
    assert settlements.told == ["reject"]
    assert [each["status"] for each in told.messages] == ["failed"]


def test_batch_with_a_middleware_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of Kafka is settled, too."""
    settlements = Fates(monkeypatch)

    async def main() -> None:
        broker, consumer = KafkaBroker(logger=None, middlewares=[Raising]), consumer_of(same)
        consumer.subscribe(broker, "questions", group_id="bank")
        async with consumer.lifespan(), TestKafkaBroker(broker) as kafka:
            with pytest.raises(KeyError):
                await kafka.publish_batch(1, 2, topic="questions")

    asyncio.run(main())
    assert settlements.told == ["ack"]


HALVES = [f'"\\ud800-{number}"'.encode() for number in range(5)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nats", "redis", "rabbit"])
def test_ids_that_no_row_can_have(kind: str, tmp_path: Any) -> None:
    """As many as may be in hand at once are dead letters, and what is behind them is worked on."""

    async def main() -> None:
        async with place_at(kind) as place:
            consumer = PipelineConsumer(pipeline_of(same, tmp_path), prefetch=5)
            broker = place.broker()
            place.subscribe(consumer, broker)
            async with app_of(consumer, broker):
                await place.publish([*HALVES, *bodies([1])])
                await until(lambda: consumer.running.report().written == 1)
                await nothing_left(place, consumer)
            assert len(await place.published("failed")) == 5

    asyncio.run(main())
