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
LEASE = 5.0  # seconds; a busy machine may stop this process for some, and no sign of life is given meanwhile
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


class SlowAndQuick:
    """Consumers of one place: calls of the one wait until they are released, those of the other do not."""

    def __init__(self, prefetch: int) -> None:
        self.calls: list[int] = []
        self.released = asyncio.Event()
        self._prefetch = prefetch

    async def slow(self, value: int) -> int:
        self.calls.append(value)
        await self.released.wait()
        return value

    async def quick(self, value: int) -> int:
        self.calls.append(value)
        return value

    def consumer(self, place: Place, call: Callable[[int], Any], **options: Any) -> tuple[PipelineConsumer, Any]:
        stage = Stage("only", call, concurrency=self._prefetch)
        consumer = PipelineConsumer(Pipeline(stage, scheduler="asyncio"), prefetch=self._prefetch)
        broker = place.broker()
        place.subscribe(consumer, broker, lease=LEASE, **options)
        return consumer, broker


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nats", "redis"])
def test_signs_of_life(kind: str) -> None:
    """Messages in hand, and those that were read and wait for a worker, outlast the lease: no one else gets them."""
    pair = SlowAndQuick(16)
    calls, released = pair.calls, pair.released

    async def main() -> None:
        async with place_at(kind) as place:
            first = pair.consumer(place, pair.slow)
            second = pair.consumer(place, pair.quick, **({"member": "two"} if kind == "redis" else {}))
            await place.publish(bodies(range(40)))
            async with app_of(*first):
                held = 0

                async def all_read() -> bool:
                    nonlocal held
                    before, held = held, await place.in_hand()
                    await asyncio.sleep(0.3)
                    return 16 < held == before

                await until(all_read)
                assert held <= 16 + 2 + 2  # two are read at once, and the client may hold two that came late
                async with app_of(*second):
                    others = 40 - (held - 16)  # calls, those of the first included
                    await until(lambda: len(calls) == others)
                    await asyncio.sleep(1.4 * LEASE)
                    assert (len(calls), first[0].in_flight, second[0].in_flight) == (others, 16, 0)
                    released.set()
                    await until(lambda: len(calls) == 40)
                    await nothing_left(place, first[0])

    asyncio.run(main())
    assert sorted(calls) == list(range(40))


@pytest.mark.slow
def test_signs_of_life_of_what_the_client_holds() -> None:
    """NATS's client holds messages that came too late for the request that asked for them: they outlast it, too."""
    pair = SlowAndQuick(8)
    calls, released = pair.calls, pair.released

    async def main() -> None:
        async with place_at("nats") as place:
            first, second = pair.consumer(place, pair.slow), pair.consumer(place, pair.quick)
            await place.publish(bodies(range(30)))
            async with app_of(*first):

                async def read_ahead() -> bool:
                    return await place.in_hand() > 8

                await until(read_ahead)
                await asyncio.sleep(0.1)  # until it has read ahead all that it does
                pull: Any = first[1].subscribers[0].subscription  # as late as if it had timed out
                await pull._nc.publish(pull._nms, b'{"batch": 2, "no_wait": true}', pull._deliver)

                async def late() -> bool:
                    return not pull._sub._pending_queue.empty()

                await until(late)
                async with app_of(*second):
                    await asyncio.sleep(1.4 * LEASE)
                    assert first[0].in_flight == 8
                    released.set()
                    await until(lambda: len(calls) >= 30)
                    await nothing_left(place, first[0])

    asyncio.run(main())
    assert sorted(calls) == list(range(30))


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
