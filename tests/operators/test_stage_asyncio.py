"""`stage` with coroutine functions: on a loop in virtual time, so that no test waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from operator_helpers import Gauge, Watch, run_on_loop
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.subject import Subject

from rxpipe.operators import Failure, RateLimiter, Retry, from_iterable, stage
from rxpipe.operators.errors import StageStalled, StageTimeout

Timed = list[tuple[float, Any]]


def now() -> float:
    return round(asyncio.get_running_loop().time(), 6)


def results(chain: Callable[[], Observable[Any]]) -> Timed:
    """What a chain gives on a loop, and when."""

    async def main() -> Timed:
        seen: Timed = []
        watch = Watch[Any](lambda value: seen.append((now(), value))).to(chain())
        await watch.end_on_loop()
        return seen

    return run_on_loop(main)


async def sleep(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


def kind(failure: Failure[Any]) -> str:
    return type(failure.error).__name__


def test_calls_share_the_slots() -> None:
    """Two slots take four items in two rounds, and results come as they are ready."""
    chain = from_iterable([10, 20, 30, 5]).pipe(stage(sleep, concurrency=2))
    assert results(lambda: chain) == [(10, 10), (20, 20), (25, 5), (40, 30)]


def test_order_is_kept_on_demand() -> None:
    """With `ordered`, a result waits for those before it, its slot does not."""
    chain = from_iterable([30, 10, 5]).pipe(stage(sleep, concurrency=2, ordered=True))
    assert results(lambda: chain) == [(30, 30), (30, 10), (30, 5)]


def test_no_more_calls_run_than_allowed() -> None:
    """Hundreds of calls of all lengths never exceed the bound, and reach it."""
    gauge = Gauge()

    async def fn(value: int) -> int:
        with gauge:
            await asyncio.sleep(value % 7)
        return value

    seen = results(lambda: from_iterable(range(300)).pipe(stage(fn, concurrency=5, queue_size=2)))
    assert sorted(value for _, value in seen) == list(range(300))
    assert gauge.most == 5


def test_a_coroutine_is_cancelled_at_its_timeout() -> None:
    """At exactly its time the call is cancelled, and the item fails with `StageTimeout`."""
    cancelled: list[float] = []

    async def fn(value: int) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cancelled.append(now())
            raise

    chain = from_iterable([1, 2]).pipe(stage(fn, timeout=7.5, recover=kind))
    assert results(lambda: chain) == [(7.5, "StageTimeout"), (15, "StageTimeout")]
    assert cancelled == [7.5, 15]


def test_many_deadlines_on_one_timer() -> None:
    """Calls that began at different times end at different times, in between others that are quick enough."""
    chain = from_iterable([9, 1, 99, 3, 99, 2, 99, 4]).pipe(stage(sleep, concurrency=2, timeout=10, recover=kind))
    assert results(lambda: chain) == [
        (1, 1),
        (9, 9),
        (11, "StageTimeout"),
        (12, 3),
        (14, 2),
        (21, "StageTimeout"),
        (24, "StageTimeout"),
        (25, 4),
    ]


def test_cleanup_holds_the_slot() -> None:
    """A coroutine that awaits in its `finally` keeps its slot until that is over."""
    began: Timed = []

    async def fn(value: int) -> int:
        began.append((now(), value))
        try:
            await asyncio.sleep(100 if value == 1 else 1)
        finally:
            await asyncio.sleep(3)
        return value

    chain = from_iterable([1, 2]).pipe(stage(fn, timeout=10, recover=kind))
    assert results(lambda: chain) == [(10, "StageTimeout"), (17, 2)]
    assert began == [(0, 1), (13, 2)]


def test_a_coroutine_that_swallows_its_cancellation() -> None:
    """What it returns late is discarded, and its slot is free when it has returned."""

    async def fn(value: int) -> str:
        if value == 1:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                await asyncio.sleep(5)
        return f"late {value}"

    chain = from_iterable([1, 2]).pipe(stage(fn, timeout=10, recover=kind))
    assert results(lambda: chain) == [(10, "StageTimeout"), (15, "late 2")]


def test_coroutines_that_do_not_end_stall_the_stage() -> None:
    """When every slot is taken by a cancelled call that goes on for as long as its timeout, the stage stalls."""

    async def main() -> float:
        release = asyncio.Event()

        async def deaf(value: int) -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

        watch = Watch[Any]().to(from_iterable(range(5)).pipe(stage(deaf, concurrency=2, timeout=10, recover=kind)))
        with pytest.raises(StageStalled, match="deaf: stalled, 2 calls"):
            await watch.end_on_loop()
        assert watch.values == ["StageTimeout"] * 2
        ended = now()
        release.set()
        return ended

    assert run_on_loop(main) == 20


def test_a_slow_cleanup_is_no_stall() -> None:
    """A cancelled call that ends within a further timeout gives its slot back, and the stage goes on."""

    async def fn(value: int) -> int:
        try:
            await asyncio.sleep(100 if value < 3 else 1)
        finally:
            await asyncio.sleep(9)
        return value

    chain = from_iterable([1, 2, 3]).pipe(stage(fn, timeout=10.5, recover=kind))
    assert results(lambda: chain) == [(10.5, "StageTimeout"), (30, "StageTimeout"), (49, 3)]


def test_retries_wait_in_the_loops_time() -> None:
    """Delays pass on the loop's clock, and the slot is free meanwhile."""
    calls: Timed = []

    async def fn(value: str) -> str:
        calls.append((now(), value))
        await asyncio.sleep(1)
        if len(calls) <= 2:
            raise ValueError
        return value

    retry = Retry(max_attempts=3, initial=10, jitter=0)
    chain = from_iterable("abc").pipe(stage(fn, retry=retry))
    assert results(lambda: chain) == [(3, "c"), (12, "a"), (13, "b")]
    assert calls == [(0, "a"), (1, "b"), (2, "c"), (11, "a"), (12, "b")]


def test_a_rate_limit_in_the_loops_time() -> None:
    """Calls start at the pace of the limiter on the loop's clock."""
    chain = from_iterable(range(4)).pipe(stage(sleep, concurrency=9, rate_limit=RateLimiter(1, 10)))
    assert [when for when, _ in results(lambda: chain)] == [0, 11, 22, 33]


def test_calls_that_never_wait_do_not_starve_the_loop() -> None:
    """Other tasks get their turns while thousands of calls run that never suspend."""

    async def fn(value: int) -> int:
        return value

    async def main() -> int:
        watch = Watch[int]()
        watch.to(from_iterable(range(6400)).pipe(stage(fn, concurrency=3), stage(fn, concurrency=3)))
        turns = 0
        while not watch.ended.is_set():
            await asyncio.sleep(0)
            turns += 1
        assert len(watch.result()) == 6400
        return turns

    assert run_on_loop(main) >= 6400 / 64


def test_timers_and_tasks_end_with_the_subscription() -> None:
    """After disposal the loop has neither a task nor a timer of the stage's."""

    async def main() -> float:
        chain = from_iterable(range(9)).pipe(stage(sleep, concurrency=3, timeout=60))
        watch = Watch[Any]().to(chain.pipe(rx_ops.map(str), stage(_echo, timeout=60)))
        await asyncio.sleep(5)
        watch.dispose()
        await asyncio.sleep(1000)
        assert watch.values == ["0", "1", "2", "3"]
        return now()

    assert run_on_loop(main) == 1005


async def _echo(value: str) -> str:
    return value


def test_an_error_of_the_source_cancels_the_calls() -> None:
    """An error of the source ends the sequence at once, and the running coroutines with it."""
    cancelled: list[int] = []

    async def fn(value: int) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cancelled.append(value)
            raise

    async def main() -> None:
        source = Subject[int]()
        watch = Watch[None]().to(source.pipe(stage(fn, concurrency=2)))
        source.on_next(1)
        source.on_next(2)
        await asyncio.sleep(1)
        source.on_error(LookupError())
        with pytest.raises(LookupError):
            watch.result()
        await asyncio.sleep(0)
        assert cancelled == [1, 2]

    run_on_loop(main)


def test_a_coroutine_may_return_an_observable() -> None:
    """Its values are the results, and its completion is the end of the call."""

    async def fn(value: int) -> Observable[int]:
        await asyncio.sleep(1)
        return from_iterable(range(value))

    assert results(lambda: from_iterable([2, 0, 1]).pipe(stage(fn))) == [(1, 0), (1, 1), (3, 0)]


def test_timeouts_raise_timeout_errors() -> None:
    """`StageTimeout` is a `TimeoutError` to whoever awaits the end."""
    with pytest.raises(TimeoutError) as caught:
        results(lambda: from_iterable([100]).pipe(stage(sleep, timeout=1)))
    assert isinstance(caught.value, StageTimeout)


def test_a_source_on_the_loop_is_pulled_as_needed() -> None:
    """A slow stage holds up its source: no more items are taken than may be held."""
    taken: list[float] = []

    def source() -> Iterator[int]:
        for _ in range(6):
            taken.append(now())
            yield 10

    results(lambda: from_iterable(source()).pipe(stage(sleep, concurrency=1, queue_size=1)))
    assert taken == [0, 0, 10, 20, 30, 40]
