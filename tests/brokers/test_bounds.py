"""Messages of real brokers: how many are in hand, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brokers.helpers import Place, app_of, bodies, nothing_left, pipeline_of, place_at, rows_of, same, until
from rxpipe import Pipeline, Stage
from rxpipe.faststream import PipelineConsumer

MESSAGES = 1000
BROKERS = pytest.mark.parametrize("kind", ["nats", "redis", "rabbit"])


@BROKERS
@pytest.mark.slow
def test_backlog_does_not_pile_up(kind: str, tmp_path: Path) -> None:
    """Of a thousand messages only as many as said are in hand, and none acknowledged without a row."""
    may_go_on = asyncio.Event()
    running: list[int] = []
    in_flight: list[int] = []
    busy = 0

    async def call(value: int) -> int:
        nonlocal busy
        busy += 1
        running.append(busy)
        in_flight.append(consumer.in_flight)
        await asyncio.sleep(0.01)
        if len(running) > MESSAGES // 5:
            await may_go_on.wait()
        busy -= 1
        return value

    consumer = PipelineConsumer(pipeline_of(call, tmp_path))
    most = consumer.prefetch

    async def main() -> None:
        async with place_at(kind) as place:
            await place.publish(bodies(range(MESSAGES)))
            broker = place.broker()
            place.subscribe(consumer, broker)
            unacknowledged: list[int] = []
            async with app_of(consumer, broker):
                while consumer.running.report().written < MESSAGES // 10 or max(in_flight) < most:
                    if kind != "rabbit":
                        unacknowledged.append(await place.in_hand())
                        acknowledged = MESSAGES - await place.left()
                        assert rows_of(tmp_path) >= acknowledged
                    await asyncio.sleep(0.01)
                asyncio.get_running_loop().call_soon(may_go_on.set)  # when it is closing
            written = MESSAGES - await place.left()
            assert len(running) == written < MESSAGES // 2
            assert max(unacknowledged, default=0) <= 2 * most  # acknowledgements are on their way, too

    asyncio.run(main())
    assert max(in_flight) == most
    assert max(running) == 4


@BROKERS
@pytest.mark.slow
def test_enough_in_hand(kind: str, tmp_path: Path) -> None:
    """While 50 items wait for their commit there are messages for every slot and every place in the queue."""
    started: list[int] = []

    async def main() -> None:
        released = asyncio.Event()

        async def call(value: int) -> int:
            started.append(value)
            if len(started) > 50:
                await released.wait()
            return value

        async with place_at(kind) as place:
            await place.publish(bodies(range(200)))
            consumer = PipelineConsumer(pipeline_of(call, tmp_path, commit=60), grace=0.5)
            broker = place.broker()
            place.subscribe(consumer, broker)
            async with app_of(consumer, broker):
                await until(lambda: (len(started), consumer.running.report().taken) == (50 + 4, 50 + 4 + 4))
                assert (consumer.in_flight, consumer.running.report().written) == (50 + 4 + 4, 0)
                released.set()
            rows = rows_of(tmp_path)
            assert 50 <= rows <= 58

            async def the_others() -> bool:
                return await place.left() == 200 - rows

            await until(the_others)

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nats", "redis"])
def test_signs_of_life(kind: str) -> None:
    """Messages in hand, and those that were read and wait for a worker, outlast the lease: no one else gets them."""
    lease = 1.5
    calls: list[int] = []
    released = asyncio.Event()

    async def slow(value: int) -> int:
        calls.append(value)
        await released.wait()
        return value

    async def quick(value: int) -> int:
        calls.append(value)
        return value

    def consumer_of(place: Place, call: Callable[[int], Any], **options: Any) -> tuple[PipelineConsumer, Any]:
        consumer = PipelineConsumer(Pipeline(Stage("only", call, concurrency=16), scheduler="asyncio"), prefetch=16)
        broker = place.broker()
        place.subscribe(consumer, broker, lease=lease, **options)
        return consumer, broker

    async def main() -> None:
        async with place_at(kind) as place:
            first = consumer_of(place, slow)
            second = consumer_of(place, quick, **({"member": "two"} if kind == "redis" else {}))
            await place.publish(bodies(range(40)))
            async with app_of(*first):

                async def read_ahead() -> bool:
                    return await place.in_hand() > 16

                async def the_others_done() -> bool:
                    in_hand = await place.in_hand()
                    return await place.left() == in_hand and len(calls) + in_hand - 16 == 40

                await until(read_ahead)
                async with app_of(*second):
                    await until(the_others_done)
                    called = len(calls)
                    assert 40 - 2 <= called < 40
                    await asyncio.sleep(1.4 * lease)
                    assert (len(calls), first[0].in_flight, second[0].in_flight) == (called, 16, 0)
                    released.set()
                    await until(lambda: len(calls) == 40)
                    await nothing_left(place, first[0])

    asyncio.run(main())
    assert sorted(calls) == list(range(40))


@pytest.mark.slow
def test_read_ahead_is_given_back() -> None:
    """What NATS has delivered, and nobody has begun, comes again as soon as the app stops, before its lease ends."""
    released = asyncio.Event()

    async def call(value: int) -> int:
        await released.wait()
        return value

    async def main() -> None:
        async with place_at("nats") as place:
            consumer = PipelineConsumer(Pipeline(Stage("only", call), scheduler="asyncio"), prefetch=16, grace=0)
            broker = place.broker()
            place.subscribe(consumer, broker, lease=60)
            await place.publish(bodies(range(60)))
            async with app_of(consumer, broker):

                async def read_ahead() -> bool:
                    return await place.in_hand() > 16

                await until(read_ahead)
            again = PipelineConsumer(Pipeline(Stage("only", same), scheduler="asyncio"))
            broker = place.broker()
            place.subscribe(again, broker, lease=60)
            async with app_of(again, broker):
                await nothing_left(place, again)
            assert again.in_flight == 0

    asyncio.run(main())
