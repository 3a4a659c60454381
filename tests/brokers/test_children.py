"""Messages whose items were expanded: when they are acknowledged, and what is told of children."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from servers import POSTGRES, answering, own_database
from structlog.testing import capture_logs

from brokers.helpers import Place, app_of, bodies, nothing_left, place_at, rows_of, same, until
from brokers.test_settled import Fates, Letters, handled
from rxpipe import Children, DatabaseSink, Drop, Pipeline, RunStore, Stage
from rxpipe.faststream import PipelineConsumer

BROKERS = pytest.mark.parametrize("kind", ["nats", "redis", "rabbit"])
BODY = {"id": 7, "parts": ["a", "bad", "b"]}


async def split(body: dict[str, Any]) -> Sequence[Any]:
    return list(body["parts"])


async def check(part: str) -> Any:
    if part == "bad":
        raise ValueError("a bad part")
    return Drop("no part") if part == "dropped" else part


def pipeline_of(*stages: Stage, **options: Any) -> Pipeline:
    return Pipeline(*stages, scheduler="asyncio", **options)


SPLIT = Stage("splitting", split, expand=True)
CHECK = Stage("checking", check)


def told(body: Any, *stages: Stage, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[Any], list[Any]]:
    """How a message ended, and what was told as outcomes and as dead letters."""
    fates, outcomes, letters = Fates(monkeypatch), Letters(), Letters()
    consumer = PipelineConsumer(pipeline_of(*stages))
    asyncio.run(handled(consumer, body, id="id", outcomes=outcomes, dead_letters=letters))
    return fates.told, outcomes.messages, letters.messages


def test_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is acknowledged; outcomes tell of its item, and dead letters of the children that failed."""
    with capture_logs() as logs:
        fates, outcomes, letters = told(BODY, SPLIT, CHECK, monkeypatch=monkeypatch)
    assert fates == ["ack"]
    assert [(each["id"], each["status"], each["value"]) for each in outcomes] == [(7, "expanded", BODY)]
    (letter,) = letters
    assert (letter["id"], letter["parent"], letter["status"]) == ("7/1", 7, "failed")
    assert (letter["value"], letter["error"], letter["stage"]) == ("bad", "ValueError: a bad part", "checking")
    assert [(log["event"], log["id"]) for log in logs] == [("item of a message has failed", "7/1")]


def test_expanded_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An item without children is over at once."""
    fates, outcomes, letters = told({"id": 7, "parts": []}, SPLIT, CHECK, monkeypatch=monkeypatch)
    assert (fates, [each["status"] for each in outcomes], letters) == (["ack"], ["expanded"], [])


def test_children_of_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures on any level are dead letters of the message."""

    async def halve(part: Any) -> Any:
        if part == "whole":
            raise ValueError("not to be halved")
        return [part, "bad"]

    body = {"id": 7, "parts": ["a", "whole", "b"]}
    stages = SPLIT, Stage("halving", halve, expand=True), CHECK
    fates, outcomes, letters = told(body, *stages, monkeypatch=monkeypatch)
    assert (fates, [each["status"] for each in outcomes]) == (["ack"], ["expanded"])
    assert {(each["id"], each["parent"]) for each in letters} == {("7/1", 7), ("7/0/1", "7/0"), ("7/2/1", "7/2")}


def test_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage that collects children knows which have failed: they are no dead letters."""

    async def join(children: Children[str]) -> str:
        return "".join(children.values)

    fates, outcomes, letters = told(BODY, SPLIT, CHECK, Stage("joining", join, collect=True), monkeypatch=monkeypatch)
    assert (fates, letters) == (["ack"], [])
    assert [(each["id"], each["status"], each["value"]) for each in outcomes] == [(7, "written", "ab")]


def test_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dropped item has not failed: its message is acknowledged."""

    async def drop(body: Any) -> Any:
        return Drop("not wanted")

    fates, outcomes, letters = told(BODY, Stage("only", drop), monkeypatch=monkeypatch)
    assert (fates, letters) == (["ack"], [])
    assert [(each["id"], each["status"], each["error"]) for each in outcomes] == [(7, "dropped", "Drop: not wanted")]


def test_expanding_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is rejected, and its item is the dead letter."""

    async def fail(body: Any) -> Any:
        raise ValueError("no parts")

    fates, outcomes, letters = told(BODY, Stage("splitting", fail, expand=True), CHECK, monkeypatch=monkeypatch)
    assert fates == ["reject"]
    assert [each["id"] for each in letters] == [each["id"] for each in outcomes] == [7]


class Held:
    """A stage whose calls with these values wait to be let go."""

    def __init__(self, *held: str) -> None:
        self.began: list[str] = []
        self._held = held
        self._go = asyncio.Event()

    async def __call__(self, part: str) -> Any:
        self.began.append(part)
        if part in self._held:
            await self._go.wait()
        return await check(part)

    def let_go(self) -> None:
        self._go.set()


async def hold(part: str) -> Any:
    return await HELD[-1](part)


HELD: list[Held] = []  # of the present process; the stage's function is the same in all


def durable(database: str | Path, **options: Any) -> PipelineConsumer:
    """A consumer with a store, at a URL or in a folder."""
    url = database if isinstance(database, str) else f"sqlite:///{database}/bank.db"
    pipeline = pipeline_of(SPLIT, Stage("checking", hold), sink=DatabaseSink(url), store=RunStore())
    return PipelineConsumer(pipeline, **options)


def ended(consumer: PipelineConsumer) -> int:
    """How many children have ended."""
    report = consumer.running.report()
    return report.written + report.failed


async def is_kept(place: Place, kind: str) -> bool:
    """Whether the one message is not acknowledged; RabbitMQ does not tell what is in hand."""
    return kind == "rabbit" or await place.left() == 1


@BROKERS
@pytest.mark.slow
def test_acknowledged_after_the_last_row(kind: str, tmp_path: Path) -> None:
    """As long as one child is on its way, the message is kept, though the rows of the others are committed."""

    async def main() -> None:
        HELD.append(Held("b"))
        async with place_at(kind) as place:
            consumer, broker = durable(tmp_path), place.broker()
            place.subscribe(consumer, broker, id="id", outcomes=place.publisher(broker, "done"))
            async with app_of(consumer, broker):
                await place.publish(bodies([BODY]))
                await until(lambda: ended(consumer) == 2)
                assert consumer.in_flight == 1
                assert await is_kept(place, kind)
                assert await place.published("done") == []
                HELD[-1].let_go()
                await nothing_left(place, consumer)
            assert [each["status"] for each in await place.published("done")] == ["expanded"]
            assert [each["id"] for each in await place.published("failed")] == ["7/1"]
        assert rows_of(tmp_path) == 3

    asyncio.run(main())


@BROKERS
@pytest.mark.slow
def test_comes_again_while_children_are_on_their_way(kind: str, tmp_path: Path) -> None:
    """The store knows the item as expanded: its message waits for children that an earlier process has left.

    What failed there is a dead letter of this process.
    """

    async def main() -> None:
        async with place_at(kind) as place:
            HELD.append(Held("a", "b"))
            first, broker = durable(tmp_path, grace=0), place.broker()
            place.subscribe(first, broker, id="id")
            async with app_of(first, broker):
                await place.publish(bodies([BODY]))
                await until(lambda: first.running.report().failed == 1 and len(HELD[-1].began) == 3)
            assert await place.published("failed") == []
            assert await place.left() == 1

            HELD.append(Held("b"))
            second, broker = durable(tmp_path), place.broker()
            place.subscribe(second, broker, id="id", outcomes=place.publisher(broker, "done"))
            async with app_of(second, broker):
                await until(lambda: second.in_flight == 1 and second.running.report().written == 1)
                await asyncio.sleep(0.3)  # it looks every tenth of a second
                assert second.in_flight == 1
                assert await is_kept(place, kind)
                assert await place.published("done") == []
                HELD[-1].let_go()
                await nothing_left(place, second)
            assert sorted(HELD[-1].began) == ["a", "b"]
            assert [(each["id"], each["status"]) for each in await place.published("done")] == [(7, "expanded")]
            (letter,) = await place.published("failed")
            assert (letter["id"], letter["parent"], letter["stage"]) == ("7/1", 7, "checking")
            assert letter["error"] == "CallFailed: ValueError: a bad part"
        assert rows_of(tmp_path) == 3

    asyncio.run(main())


async def give(body: dict[str, Any]) -> AsyncIterator[str]:
    for part in body["parts"]:
        yield await hold(part)


@pytest.mark.slow
def test_comes_again_while_children_are_made(tmp_path: Path) -> None:
    """A process has ended between two children: the next one makes the others, and tells of each but once."""

    def consumer_of(*held: str) -> PipelineConsumer:
        HELD.append(Held(*held))
        pipeline = pipeline_of(
            Stage("giving", give, expand=True, version=1),
            Stage("passing", same),
            sink=DatabaseSink(f"sqlite:///{tmp_path}/bank.db"),
            store=RunStore(),
        )
        return PipelineConsumer(pipeline, grace=0 if held else 60)

    async def main() -> None:
        async with place_at("nats") as place:
            first, broker = consumer_of("c"), place.broker()
            place.subscribe(first, broker, id="id")
            async with app_of(first, broker):
                await place.publish(bodies([{"id": 7, "parts": ["a", "b", "c", "d"]}]))
                await until(lambda: first.running.report().written == 2)
            second, broker = consumer_of(), place.broker()
            place.subscribe(second, broker, id="id", outcomes=place.publisher(broker, "done"))
            async with app_of(second, broker):
                await until(lambda: second.running.report().written == 2)
                await nothing_left(place, second)
            assert [each["status"] for each in await place.published("done")] == ["expanded"]
        assert rows_of(tmp_path) == 4

    with capture_logs() as logs:
        asyncio.run(main())
    assert [log for log in logs if log["log_level"] != "info"] == []


@pytest.mark.slow
def test_children_with_another_worker() -> None:
    """The same message at two workers: the one that has no child waits for those of the other."""

    async def main(url: str) -> None:
        HELD.append(Held("b"))
        async with place_at("redis") as one, place_at("redis") as other:
            consumers = durable(url), durable(url)
            brokers = one.broker(), other.broker()
            for place, consumer, broker in zip((one, other), consumers, brokers, strict=True):
                place.subscribe(consumer, broker, id="id")
            async with app_of(consumers[0], brokers[0]), app_of(consumers[1], brokers[1]):
                await one.publish(bodies([BODY]))
                await until(lambda: ended(consumers[0]) == 2)
                await other.publish(bodies([BODY]))
                await until(lambda: consumers[1].in_flight == 1)
                await asyncio.sleep(0.3)
                assert [await place.left() for place in (one, other)] == [1, 1]
                HELD[-1].let_go()
                await nothing_left(one, consumers[0])
                await nothing_left(other, consumers[1])
            for place in (one, other):
                assert [each["id"] for each in await place.published("failed")] == ["7/1"]
        assert HELD[-1].began == ["a", "bad", "b"]

    with own_database(answering(POSTGRES)) as url:
        asyncio.run(main(url.render_as_string(hide_password=False)))
