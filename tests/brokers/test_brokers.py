"""Messages of real brokers: how each kind of item ends, and what comes again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from faststream.rabbit.opentelemetry import RabbitTelemetryMiddleware
from faststream.redis.subscriber.usecases import stream_subscriber
from otel_helpers import Telemetry
from structlog.testing import capture_logs

from brokers.helpers import Place, app_of, bodies, nothing_left, pipeline_of, place_at, same, until
from rxpipe import Pipeline, Stage, StopRun
from rxpipe.faststream import PipelineConsumer
from rxpipe.faststream import consumer as consumer_module

MESSAGES = 120
BROKERS = pytest.mark.parametrize("kind", ["nats", "redis", "rabbit"])


@BROKERS
@pytest.mark.slow
def test_failed_for_good(kind: str, tmp_path: Path) -> None:
    """What fails goes to the dead letters and does not come again; outcomes are published, of both kinds."""

    async def main() -> None:
        async with place_at(kind) as place:
            consumer = PipelineConsumer(pipeline_of(refuse_odd, tmp_path))
            broker = place.broker()
            place.subscribe(consumer, broker, outcomes=place.publisher(broker, "done"))
            async with app_of(consumer, broker):
                await place.publish(bodies(range(10)))
                await until(lambda: consumer.running.report().taken == 10)
                await nothing_left(place, consumer)
            letters = await place.published("failed")
            assert sorted(letter["id"] for letter in letters) == [1, 3, 5, 7, 9]
            assert {letter["error"] for letter in letters} == {f"ValueError: {n} is odd" for n in (1, 3, 5, 7, 9)}
            done = await place.published("done")
            assert sorted((each["id"], each["status"], each["value"]) for each in done) == [
                (n, "failed", n) if n % 2 else (n, "written", 10 * n) for n in range(10)
            ]
            if kind == "rabbit":
                dead: Any = place
                assert sorted(await dead.bodies(f"{place.name}.dead")) == [b"1", b"3", b"5", b"7", b"9"]

    asyncio.run(main())


POISON = [
    b'{"id": 7}',
    b"[1]",
    b"1.5",
    b"true",
    b"null",
    b"",
    b'"\\ud800"',
    b"\xff\xfe",
    b"NaN",
    b'{"id": 7',
    b"[1",
    b'"' + 300 * b"x" + b'"',
]
ODD_IDS = [b"7", b'"q-8"', b"q-9", '"\N{GREEK SMALL LETTER ALPHA}"'.encode(), 30 * b"9"]


@BROKERS
@pytest.mark.slow
def test_poison(kind: str, tmp_path: Path) -> None:
    """What is no ID is a log line and a dead letter, once, and the messages behind it are worked on."""

    async def main() -> None:
        async with place_at(kind) as place:
            consumer = PipelineConsumer(pipeline_of(same, tmp_path))
            broker = place.broker()
            place.subscribe(consumer, broker)
            with capture_logs() as logs:
                async with app_of(consumer, broker):
                    await place.publish([*POISON, *ODD_IDS])
                    await until(lambda: consumer.running.report().written >= len(ODD_IDS))
                    await nothing_left(place, consumer)
            letters = await place.published("failed")
            assert len(letters) == len(POISON)
            assert len([log for log in logs if log["log_level"] in ("error", "warning")]) == len(POISON)
            shown = [letter["body"] for letter in letters if letter["status"] == "rejected"]
            assert {'{"id": 7}', "[1]", "1.5", "true", "null", "NaN"} < set(shown)

    asyncio.run(main())


@BROKERS
@pytest.mark.slow
def test_connection_is_cut(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the connection is lost in the middle, it is made again, and every row is written once."""
    monkeypatch.setattr(stream_subscriber, "CONSUME_ERROR_BACKOFF_SECONDS", 0.1)  # of Redis
    calls: list[int] = []

    async def call(value: int) -> int:
        calls.append(value)
        await asyncio.sleep(0.005)
        return value

    async def main() -> None:
        async with place_at(kind) as place:
            consumer = PipelineConsumer(pipeline_of(call, tmp_path, concurrency=8))
            broker = place.broker()
            place.subscribe(consumer, broker, lease=1)
            async with app_of(consumer, broker):
                await place.publish(bodies(range(MESSAGES)))
                await until(lambda: len(calls) >= MESSAGES // 4)
                assert await place.cut() >= 1
                await until(lambda: consumer.running.report().written == MESSAGES)
                await nothing_left(place, consumer)
            assert sorted(calls) == list(range(MESSAGES))
            assert await place.published("failed") == []

    asyncio.run(main())


@BROKERS
@pytest.mark.slow
def test_pipeline_fails(kind: str, tmp_path: Path) -> None:
    """When the pipeline fails the app ends with its error, and its messages are there for the next one."""
    is_broken = True
    calls: list[int] = []

    async def call(value: int) -> int:
        if is_broken and value == 5:
            raise StopRun("the account is empty")
        calls.append(value)
        return value

    async def consume(place: Place) -> None:
        consumer = PipelineConsumer(pipeline_of(call, tmp_path))
        broker = place.broker()
        place.subscribe(consumer, broker, lease=1)
        async with app_of(consumer, broker) as app:
            if is_broken:
                await asyncio.wait_for(asyncio.wait([app]), 20)
            else:
                await nothing_left(place, consumer)

    async def main() -> None:
        nonlocal is_broken
        async with place_at(kind) as place:
            await place.publish(bodies(range(20)))
            with pytest.raises(StopRun, match="the account is empty"), capture_logs() as logs:
                await consume(place)
            assert [log["event"] for log in logs if log["log_level"] == "critical"] == [
                "pipeline has failed, the app ends"
            ]
            assert await place.left() > 0
            is_broken = False
            await consume(place)
            assert sorted(calls) == list(range(20))

    asyncio.run(main())


@BROKERS
@pytest.mark.slow
def test_grace_is_over(kind: str, tmp_path: Path) -> None:
    """Items that are cancelled at the end of the grace come again, to the next app."""
    calls: list[int] = []

    async def call(value: int) -> int:
        calls.append(value)
        await asyncio.sleep(60 if len(calls) <= 4 else 0)
        return value

    async def main() -> None:
        async with place_at(kind) as place:
            await place.publish(bodies(range(8)))
            for grace in (0.2, None):
                consumer = PipelineConsumer(pipeline_of(call, tmp_path), grace=grace)
                broker = place.broker()
                place.subscribe(consumer, broker, lease=1)
                async with app_of(consumer, broker):
                    if grace is None:
                        await nothing_left(place, consumer)
                    else:
                        await until(lambda: len(calls) == 4)
            assert sorted(calls[4:]) == list(range(8))
            assert await place.published("failed") == []

    asyncio.run(main())


@BROKERS
@pytest.mark.slow
def test_two_consumers(kind: str, tmp_path: Path) -> None:
    """Two apps share the messages of one subscription: each has some, and none is taken twice."""
    calls: list[tuple[int, int]] = []

    def worker(number: int) -> Pipeline:
        async def call(value: int) -> int:
            calls.append((number, value))
            await asyncio.sleep(0.01)
            return value

        folder = tmp_path / str(number)
        folder.mkdir()
        return pipeline_of(call, folder)

    async def main() -> None:
        async with place_at(kind) as place:
            consumers = [PipelineConsumer(worker(number), prefetch=16) for number in (1, 2)]
            brokers = [place.broker() for _ in consumers]
            for number, (consumer, broker) in enumerate(zip(consumers, brokers, strict=True)):
                member = {"member": str(number)} if kind == "redis" else {}
                place.subscribe(consumer, broker, lease=60, **member)
            async with app_of(consumers[0], brokers[0]), app_of(consumers[1], brokers[1]):
                await place.publish(bodies(range(MESSAGES)))
                await until(lambda: len(calls) == MESSAGES)
                for consumer in consumers:
                    await nothing_left(place, consumer)
            assert sorted(value for _, value in calls) == list(range(MESSAGES))
            assert {number for number, _ in calls} == {1, 2}

    asyncio.run(main())


async def refuse_odd(value: int) -> int:
    if value % 2:
        raise ValueError(f"{value} is odd")
    return 10 * value


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nats", "rabbit"])
def test_outcome_is_not_published(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When an outcome cannot be published it is tried again, and no call is made again."""
    monkeypatch.setattr(consumer_module, "_PAUSE", 0.05)
    calls: list[int] = []
    told: list[int] = []

    async def call(value: int) -> int:
        calls.append(value)
        return value

    class Outcomes:
        async def publish(self, message: Any, /, **options: Any) -> None:
            told.append(message["id"])
            if len(told) == 1:
                raise ConnectionError("gone")

    async def main() -> None:
        async with place_at(kind) as place:
            consumer = PipelineConsumer(pipeline_of(call, tmp_path))
            broker = place.broker()
            place.subscribe(consumer, broker, outcomes=Outcomes())
            async with app_of(consumer, broker):
                await place.publish(bodies([3]))
                await until(lambda: len(told) == 2)
                await nothing_left(place, consumer)
        assert (calls, told) == ([3], [3, 3])

    asyncio.run(main())


@pytest.mark.slow
def test_decoder(tmp_path: Path) -> None:
    """A decoder of FastStream's makes IDs of bodies that are more; where it raises the message is rejected."""

    async def decode(message: Any) -> Any:
        return json.loads(message.body)["question"]["id"]

    async def main() -> None:
        async with place_at("nats") as place:
            consumer = PipelineConsumer(pipeline_of(same, tmp_path))
            broker = place.broker()
            place.subscribe(consumer, broker, decoder=decode, outcomes=place.publisher(broker, "done"))
            async with app_of(consumer, broker):
                await place.publish(bodies([{"question": {"id": "a"}}, {"answer": 1}, {"question": {"id": 2}}]))
                await until(lambda: consumer.running.report().written == 2)
                await nothing_left(place, consumer)
            assert {each["id"] for each in await place.published("done")} == {"a", 2}
            (letter,) = await place.published("failed")
            assert (letter["error"], letter["body"]) == (
                "the body cannot be decoded: KeyError: 'question'", '{"answer": 1}',
            )  # fmt: skip

    asyncio.run(main())


@pytest.mark.slow
def test_trace() -> None:
    """Who publishes, the message, its item and the calls are one trace."""

    async def main() -> None:
        telemetry = Telemetry()
        async with place_at("rabbit") as place:
            consumer = PipelineConsumer(Pipeline(Stage("only", same), listeners=[telemetry.listener]))
            traced = RabbitTelemetryMiddleware(tracer_provider=telemetry.tracer_provider)
            broker = place.broker(middlewares=[traced])
            place.subscribe(consumer, broker)
            async with app_of(consumer, broker):
                with telemetry.tracer.start_as_current_span("request"):
                    await broker.publish(1, place.name)
                await until(lambda: consumer.running.report().written == 1)
                await nothing_left(place, consumer)
        spans: list[Any] = telemetry.spans
        (item,) = [span for span in spans if span.name == "rxpipe.item"]
        (message,) = [span for span in spans if span.context.span_id == item.parent.span_id]
        assert message.name.endswith("process")
        assert len({span.context.trace_id for span in spans}) == 1

    asyncio.run(main())
