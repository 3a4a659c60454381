"""What of ``PipelineConsumer`` needs no server: its options, its bounds, batches of Kafka, contexts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextvars import ContextVar
from importlib import import_module
from typing import Any

import pytest
from faststream import AckPolicy, BaseMiddleware
from faststream.kafka import KafkaBroker, TestKafkaBroker
from faststream.kafka.message import FakeConsumer, KafkaAckableMessage
from faststream.nats import NatsBroker, NatsRouter, PullSub
from faststream.rabbit import RabbitBroker
from faststream.redis import RedisBroker, StreamSub
from nats.js.api import ConsumerConfig
from structlog.testing import capture_logs

from brokers.helpers import bodies, until
from rxpipe import ItemView, Pipeline, Retry, Stage, StopRun
from rxpipe.errors import PipelineClosed
from rxpipe.faststream import PipelineConsumer
from rxpipe.faststream.brokers import PARSERS, subscriptions
from rxpipe.pipeline.listener import Listener


def pipeline_of(call: Callable[[Any], Any]) -> Pipeline:
    return Pipeline(Stage("only", call, concurrency=3, retry=Retry(max_attempts=1)), scheduler="asyncio")


async def same(value: Any) -> Any:
    return value


def test_prefetch() -> None:
    """It covers what the stages hold, and what waits for its commit; or it is as given."""
    pipeline = Pipeline(
        Stage("one", same, concurrency=2, queue_size=5), Stage("two", same, concurrency=4, queue_size=0)
    )
    assert PipelineConsumer(pipeline).prefetch == 2 + 5 + 4 + 50
    assert PipelineConsumer(pipeline, prefetch=7).prefetch == 7


def test_prefetch_of_nothing() -> None:
    """Below one is refused."""
    with pytest.raises(ValueError, match="prefetch must be at least 1, not 0"):
        PipelineConsumer(pipeline_of(same), prefetch=0)


@pytest.mark.parametrize(
    ("broker", "options", "message"),
    [
        (object(), {}, "not a broker or router of faststream's nats, redis, rabbit, mqtt, kafka"),
        (NatsBroker(), {}, "NATS acknowledges nothing without JetStream: give stream="),
        (RedisBroker(), {"stream": "questions"}, "Redis acknowledges in groups of streams"),
        (RedisBroker(), {"list": "questions"}, "Redis acknowledges in groups of streams"),
    ],
)
def test_refused(broker: Any, options: dict[str, Any], message: str) -> None:
    """A subscription that could not be acknowledged is refused, with what to do."""
    with pytest.raises(TypeError, match=message):
        PipelineConsumer(pipeline_of(same)).subscribe(broker, **options)


class Silent:
    """What publishes nothing."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outcomes": "done"}, "outcomes must be a publisher, as broker.publisher makes one, not 'done'"),
        ({"dead_letters": Silent}, "dead_letters must be a publisher, as broker.publisher makes one, not <class"),
        ({"outcomes": RabbitBroker()}, "outcomes must be a publisher, as broker.publisher makes one, not "),
        (
            {"dead_letters": RedisBroker().publisher("dead")},
            "a channel of Redis keeps nothing: give dead_letters a list",
        ),
        ({"ack_policy": AckPolicy.ACK_FIRST}, "ack_policy is not to be given: a message is acknowledged once"),
        ({"no_reply": False}, "no_reply is not to be given"),
    ],
)
def test_options_that_lose_messages(options: dict[str, Any], message: str) -> None:
    """What could publish nothing, or keeps nothing, or acknowledges earlier, is refused."""
    broker = RabbitBroker()
    with pytest.raises(TypeError, match=message):
        PipelineConsumer(pipeline_of(same)).subscribe(broker, "questions", **options)
    assert not broker.subscribers


@pytest.mark.parametrize("option", ["no_ack", "batch"])
def test_streams_that_lose_messages(option: str) -> None:
    """A stream whose messages are not acknowledged one by one is refused."""
    options: dict[str, Any] = {option: True}
    stream = StreamSub("questions", group="bank", consumer="me", **options)
    with pytest.raises(TypeError, match="Redis acknowledges"):
        PipelineConsumer(pipeline_of(same)).subscribe(RedisBroker(), stream=stream)


def test_channel_of_redis_is_told() -> None:
    """Outcomes may go to a channel: to whoever listens."""
    broker = RedisBroker()
    stream = StreamSub("questions", group="bank", consumer="me")
    done, dead = broker.publisher("done"), broker.publisher(list="dead")
    PipelineConsumer(pipeline_of(same)).subscribe(broker, stream=stream, outcomes=done, dead_letters=dead)
    assert len(broker.subscribers) == 2


def test_grace_below_nothing() -> None:
    """It is refused when the consumer is made, not when the app starts."""
    with pytest.raises(ValueError, match="grace must be at least 0 seconds, not -1"):
        PipelineConsumer(pipeline_of(same), grace=-1)


def test_staged() -> None:
    """A pipeline that lets nothing out to the end is refused when the consumer is made."""
    with pytest.raises(ValueError, match="strategy staged lets nothing out"):
        PipelineConsumer(Pipeline(Stage("only", same), strategy="staged"))


def test_lease_of_nothing() -> None:
    """A lease that is over at once is refused."""
    with pytest.raises(ValueError, match="lease must be above 0 seconds, not 0"):
        PipelineConsumer(pipeline_of(same)).subscribe(NatsBroker(), "questions", stream="bank", lease=0)


def test_routers_and_policy() -> None:
    """A router is taken as well, and nothing but the consumer acknowledges."""
    router = NatsRouter()
    PipelineConsumer(pipeline_of(same)).subscribe(router, "questions", stream="bank")
    broker = NatsBroker()
    broker.include_router(router)
    (subscriber,) = broker.subscribers
    assert subscriber.ack_policy is AckPolicy.MANUAL


def test_options_of_nats() -> None:
    """Few are pulled ahead, the lease is the consumer's ack_wait, and what the user gives stays."""
    ((options, _),) = subscriptions("nats", {"stream": "bank"}, 80, 60)
    assert (options["max_workers"], options["pull_sub"].batch_size, options["config"].ack_wait) == (80, 10, 60)
    given = {"stream": "bank", "pull_sub": PullSub(3), "config": ConsumerConfig(ack_wait=5)}
    ((options, lease),) = subscriptions("nats", given, 80, 60)
    assert (options["pull_sub"].batch_size, options["config"].ack_wait, lease) == (3, 5, 5)


def test_options_of_redis() -> None:
    """One subscription reads, and another one takes what has been idle for the lease."""
    stream = StreamSub("questions", group="bank", consumer="me", last_id="0")
    claims, reads = (each["stream"] for each, _ in subscriptions("redis", {"stream": stream}, 80, 60))
    assert (claims.min_idle_time, claims.last_id) == (60_000, "0")
    assert (reads.min_idle_time, reads.last_id, reads.max_records) == (None, "0", 10)
    assert stream.max_records is None
    own = StreamSub("questions", group="bank", consumer="me", claim_min_idle_time=5000)
    ((_, lease),) = subscriptions("redis", {"stream": own}, 80, 60)
    assert lease == 5


def test_group_that_is_there() -> None:
    """Of a group that goes on new messages are read, wherever it was to begin."""
    broker = RedisBroker()
    stream = StreamSub("questions", group="bank", consumer="me", last_id="0")
    PipelineConsumer(pipeline_of(same)).subscribe(broker, stream=stream)
    subscribers: list[Any] = broker.subscribers
    assert [(each.last_id, each.read_id) for each in subscribers] == [("0", ">"), ("0", ">")]


def test_options_of_rabbit() -> None:
    """The channel's prefetch is the bound."""
    broker = RabbitBroker()
    consumer = PipelineConsumer(pipeline_of(same))
    consumer.subscribe(broker, "questions")
    subscriber: Any = broker.subscribers[0]
    assert subscriber.channel is not None
    assert subscriber.channel.prefetch_count == consumer.prefetch


@pytest.mark.slow
def test_without_the_extra() -> None:
    """What must be installed is one clear error."""
    code = "import sys; sys.modules['faststream'] = None; import rxpipe.faststream"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    told = 'rxpipe.errors.ConfigError: brokers need the extra faststream: pip install "faststream>='
    assert ended.stderr.splitlines()[-1].startswith(told)


def test_closed() -> None:
    """There is no running pipeline before the app has started."""
    consumer = PipelineConsumer(pipeline_of(same))
    with pytest.raises(PipelineClosed, match="give lifespan to the app"):
        _ = consumer.running
    assert consumer.in_flight == 0


class Told:
    """A publisher that remembers."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def publish(self, message: Any, /, **options: Any) -> None:
        self.messages.append(message)


class Offsets:
    """How often a batch of Kafka was committed, and how often it is to be read again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commits = self.again = 0
        monkeypatch.setattr(FakeConsumer, "commit", self._commit)
        monkeypatch.setattr(KafkaAckableMessage, "nack", self._nack)  # the in-memory broker has no offsets

    async def _commit(self) -> None:
        self.commits += 1

    async def _nack(self) -> None:
        self.again += 1


async def batch(consumer: PipelineConsumer, messages: list[Any], **options: Any) -> None:
    """Have a batch of messages handled as Kafka's."""
    broker = KafkaBroker()
    consumer.subscribe(broker, "questions", group_id="bank", **options)
    async with consumer.lifespan(), TestKafkaBroker(broker) as kafka:
        await kafka.publish_batch(*messages, topic="questions")


def test_batch_of_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its offset is committed once all its items have ended; failures and poison are dead letters."""
    offsets, outcomes, letters = Offsets(monkeypatch), Told(), Told()

    async def call(value: Any) -> Any:
        assert offsets.commits == 0
        if value == 2:
            raise ValueError("two")
        return value

    consumer = PipelineConsumer(pipeline_of(call))
    asyncio.run(batch(consumer, [1, 2, "three", {"four": 4}, b"\xff"], outcomes=outcomes, dead_letters=letters))
    assert offsets.commits == 1
    assert offsets.again == 0
    assert {(each["id"], each["status"]) for each in outcomes.messages} == {
        (1, "written"), (2, "failed"), ("three", "written"),
    }  # fmt: skip
    assert {(each["id"], each["status"]) for each in letters.messages} == {(2, "failed"), (None, "rejected")}
    assert len(letters.messages) == 3


def test_batch_that_is_not_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """When one item was cancelled nothing is committed, and the batch is read again."""
    offsets = Offsets(monkeypatch)
    begun = asyncio.Event()

    async def call(value: Any) -> Any:
        if value == 2:
            begun.set()
            await asyncio.sleep(60)
        return value

    async def main() -> None:
        consumer = PipelineConsumer(pipeline_of(call), grace=0)
        handling = asyncio.create_task(batch(consumer, [1, 2]))
        await begun.wait()
        assert consumer.in_flight == 2
        await consumer.drain()
        await handling

    asyncio.run(main())
    assert (offsets.commits, offsets.again) == (0, 1)


def test_headers_that_are_no_text() -> None:
    """A batch of Kafka is parsed without them."""
    record = import_module("aiokafka").ConsumerRecord(
        "questions", 0, 0, 0, 0, None, b"7", None, 0, 1, [("odd", b"\xff")]
    )

    async def parse(records: Any) -> Any:
        return [header.decode() for record in records for _, header in record.headers], records[0].value

    async def main() -> None:
        assert await PARSERS["kafka"]((record,), parse) == ([], b"7")

    asyncio.run(main())


TENANT: ContextVar[str] = ContextVar("tenant")


def test_context() -> None:
    """What a middleware sets around the handler is the context of the item."""

    class Seen(Listener):
        def call_started(self, item: ItemView, stage: str) -> None:
            assert item.context is not None
            seen.append(f"{item.id} of {item.context[TENANT]}")

    seen: list[str] = []

    class Tenants(BaseMiddleware):
        async def consume_scope(self, call_next: Any, msg: Any) -> Any:
            TENANT.set(msg.headers["tenant"])
            return await call_next(msg)

    async def main() -> None:
        consumer = PipelineConsumer(Pipeline(Stage("only", same), listeners=[Seen()]))
        broker = KafkaBroker(middlewares=[Tenants])
        consumer.subscribe(broker, "questions", group_id="bank")
        async with consumer.lifespan(), TestKafkaBroker(broker) as kafka:
            await asyncio.gather(*(kafka.publish(n, "questions", headers={"tenant": f"t{n}"}) for n in (1, 2)))

    asyncio.run(main())
    assert sorted(seen) == ["1 of t1", "2 of t2"]


def test_value_that_is_no_data() -> None:
    """An outcome whose value cannot be JSON is published with what it looks like."""
    outcomes = Told()

    async def call(value: Any) -> Any:
        return lambda: value

    async def main() -> None:
        await batch(PipelineConsumer(pipeline_of(call)), [1], outcomes=outcomes)

    asyncio.run(main())
    (told,) = outcomes.messages
    assert told["value"].startswith("<function")


def test_text_that_is_no_text() -> None:
    """An error that no encoding takes is published as near as it gets, so that its message does not come for ever."""
    letters = Told()

    async def call(value: Any) -> Any:
        raise ValueError("half of \ud83d")

    async def main() -> None:
        await batch(PipelineConsumer(pipeline_of(call)), [1], dead_letters=letters)

    asyncio.run(main())
    (told,) = letters.messages
    assert told["error"] == "ValueError: half of \N{REPLACEMENT CHARACTER}"


def test_failure_without_an_app() -> None:
    """A pipeline that has failed keeps its messages until it is left, and says so once."""
    handled: list[asyncio.Task[Any]] = []

    async def call(value: Any) -> Any:
        raise StopRun("enough")

    async def main() -> None:
        consumer = PipelineConsumer(pipeline_of(call))
        broker = KafkaBroker()
        consumer.subscribe(broker, "questions", group_id="bank")
        async with consumer.lifespan(), TestKafkaBroker(broker) as kafka:
            handled.extend(asyncio.create_task(kafka.publish(n, "questions")) for n in range(3))
            await until(lambda: consumer.running.health().status == "closed")
            handled.append(asyncio.create_task(kafka.publish(9, "questions")))
            await until(lambda: consumer.in_flight >= 1)
            await asyncio.sleep(0)
            assert not handled[-1].done()
            await consumer.drain()
            await asyncio.wait(handled)

    with capture_logs() as logs, pytest.raises(StopRun, match="enough"):
        asyncio.run(main())
    assert len([log for log in logs if log["log_level"] == "critical"]) == 1


def test_bodies() -> None:
    """The helper publishes IDs as FastStream does."""
    assert bodies([1, "a"]) == [b"1", b'"a"']
