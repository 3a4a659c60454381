"""Messages of real brokers: how many are in hand, and for how long."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from broker_helpers import app_of, bodies, nothing_left, pipeline_of, place_at, rows_of, until

from rxpipe.faststream import PipelineConsumer

BROKERS = pytest.mark.parametrize("kind", ["nats", "redis", "rabbit"])


@BROKERS
@pytest.mark.slow
def test_backlog_does_not_pile_up(kind: str, tmp_path: Path) -> None:
    """Of thousands of messages only as many as said are in hand, and none acknowledged without a row."""
    running: list[int] = []
    in_flight: list[int] = []
    busy = 0

    async def call(value: int) -> int:
        nonlocal busy
        busy += 1
        running.append(busy)
        in_flight.append(consumer.in_flight)
        await asyncio.sleep(0.01)
        busy -= 1
        return value

    consumer = PipelineConsumer(pipeline_of(call, tmp_path))
    most = consumer.prefetch

    async def main() -> None:
        async with place_at(kind) as place:
            await place.publish(bodies(range(3000)))
            broker = place.broker()
            place.subscribe(consumer, broker)
            unacknowledged: list[int] = []
            async with app_of(consumer, broker):
                while consumer.running.report().written < 300:
                    if kind != "rabbit":
                        unacknowledged.append(await place.in_hand())
                        acknowledged = 3000 - await place.left()
                        assert rows_of(tmp_path) >= acknowledged
                    await asyncio.sleep(0.01)
            written = 3000 - await place.left()
            assert len(running) == written < 1000
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
def test_signs_of_life(kind: str, tmp_path: Path) -> None:
    """A call that takes longer than the lease does not have its message delivered again."""
    in_flight: set[int] = set()

    async def call(value: int) -> int:
        for _ in range(200):
            await asyncio.sleep(0.01)
            in_flight.add(consumer.in_flight)
        return value

    consumer = PipelineConsumer(pipeline_of(call, tmp_path))

    async def main() -> None:
        async with place_at(kind) as place:
            broker = place.broker()
            place.subscribe(consumer, broker, lease=0.6)
            async with app_of(consumer, broker):
                await place.publish(bodies([1]))
                await until(lambda: consumer.running.report().written == 1)
                await nothing_left(place, consumer)
            assert in_flight == {1}

    asyncio.run(main())
