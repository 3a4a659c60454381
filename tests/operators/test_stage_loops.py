"""On whose thread a stage notifies, with event loops and without; and loops that close."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from operator_helpers import Hanging, Watch, collect, here, run_on_loop
from reactivex import Observable
from reactivex.scheduler import EventLoopScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpipe.operators import Failure, from_iterable, stage
from rxpipe.operators.errors import CallFailed

Operator = Callable[[Observable[int]], Observable[int]]


def same(value: int) -> int:
    return value


async def same_async(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def sleep(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


def kind(failure: Failure[Any]) -> str:
    return type(failure.error).__name__


async def loop_of(value: int) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    return asyncio.get_running_loop(), here()


def test_on_a_loop_everything_is_notified_there() -> None:
    """Functions run on worker threads, values and the end come on the loop's own thread."""
    threads: list[threading.Thread] = []

    def fn(value: int) -> int:
        threads.append(here())
        return value

    async def main() -> Watch[int]:
        watch = Watch[int]().to(from_iterable(range(50)).pipe(stage(fn, concurrency=4), stage(same, concurrency=4)))
        await watch.end_on_loop()
        return watch

    watch = run_on_loop(main, virtual=False)
    assert here() not in threads
    assert set(watch.threads) == {here()}


def test_failures_and_timeouts_are_notified_on_the_loop() -> None:
    """What ends badly on other threads ends on the loop's, too."""
    release = threading.Event()

    def fn(value: int) -> int:
        if value == 0:
            release.wait(20)
        raise ValueError

    async def main() -> Watch[Any]:
        time, watch = TestScheduler(), Watch[Any]()
        watch.to(from_iterable(range(3)).pipe(stage(fn, concurrency=3, timeout=10, timer=time, recover=kind)))
        while len(watch.values) < 2:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        time.advance_to(11)
        values = await watch.end_on_loop()
        release.set()
        assert values == ["ValueError", "ValueError", "StageTimeout"]
        return watch

    assert set(run_on_loop(main, virtual=False).threads) == {here()}


def test_a_source_on_another_thread_is_brought_to_the_loop() -> None:
    """Items that other threads emit lead to notifications on the loop."""

    async def main() -> Watch[int]:
        source = Subject[int]()
        watch = Watch[int]().to(source.pipe(stage(same_async, queue_size=None)))

        def feed() -> None:
            for number in range(100):
                source.on_next(number)
            source.on_completed()

        thread = threading.Thread(target=feed)
        thread.start()
        await watch.end_on_loop()
        thread.join()
        return watch

    watch = run_on_loop(main, virtual=False)
    assert watch.values == list(range(100))
    assert set(watch.threads) == {here()}


def test_disposal_from_another_thread() -> None:
    """Disposed from elsewhere, the calls on the loop are cancelled, and nothing more comes."""
    cancelled: list[int] = []

    async def fn(value: int) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled.append(value)
            raise

    async def main() -> None:
        watch = Watch[Any]().to(from_iterable(range(5)).pipe(stage(fn, concurrency=2)))
        await asyncio.sleep(0)
        thread = threading.Thread(target=watch.dispose)
        thread.start()
        thread.join()
        await asyncio.sleep(0.001)
        assert sorted(cancelled) == [0, 1]
        assert not watch.ended.is_set()

    run_on_loop(main, virtual=False)


def test_threads_do_not_starve_the_loop() -> None:
    """The loop has time for other tasks while many threads keep it supplied with results."""

    async def main() -> int:
        watch = Watch[int]().to(from_iterable(range(3000)).pipe(stage(same, concurrency=8, queue_size=50)))
        turns = 0
        while not watch.ended.is_set():
            await asyncio.sleep(0)
            turns += 1
        watch.result()
        return turns

    assert run_on_loop(main, virtual=False) > 30


def test_without_a_loop_coroutines_run_on_one_of_rxpipes() -> None:
    """Stages that are subscribed to where no loop runs share one in the background, and are notified there."""
    watch = Watch[Any]().to(from_iterable(range(3)).pipe(stage(same_async), stage(loop_of, concurrency=3)))
    places = watch.end()
    assert len(set(places)) == 1
    (loop, thread) = places[0]
    assert thread.name == "rxpipe-loop"
    assert set(watch.threads) == {thread}
    thread.join(20)
    assert loop.is_closed()


def test_coroutines_run_on_the_loop_of_the_scheduler_given() -> None:
    """An `AsyncIOScheduler` says which loop, whoever subscribes."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        chain = from_iterable([1, 2]).pipe(stage(loop_of, scheduler=AsyncIOScheduler(loop)))
        assert collect(chain) == [(loop, thread)] * 2
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_plain_function_off_the_loop_may_return_an_awaitable() -> None:
    """It is awaited on rxpipe's loop, and cancelled at the timeout of the call."""
    begun, cancelled = threading.Event(), threading.Event()

    async def answer(value: float) -> float:
        if value > 1:
            begun.set()
        try:
            await asyncio.sleep(value)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return value

    def fn(value: float) -> Coroutine[Any, Any, float]:
        return answer(value)

    time = TestScheduler()
    watch = Watch[Any]().to(from_iterable([0.001, 100.0]).pipe(stage(fn, timeout=10, timer=time, recover=kind)))
    watch.wait_for(1)
    assert begun.wait(20)
    time.advance_to(11)
    assert watch.end() == [0.001, "StageTimeout"]
    assert cancelled.wait(20)


@pytest.mark.parametrize("items", [[1], [1, 2]])
def test_a_coroutine_returned_too_late_is_closed(hanging: Hanging, items: list[int]) -> None:
    """One that a call returns after its timeout is not awaited, and Python does not complain of that."""
    time = TestScheduler()

    threads = set[threading.Thread]()

    def fn(value: int) -> Coroutine[Any, Any, float]:
        threads.add(here())
        return sleep(hanging(value) * 0)

    watch = Watch[Any]()
    chain = from_iterable(items).pipe(stage(fn, timeout=10, timer=time, recover=kind, max_abandoned=0))
    watch.to(chain)
    hanging.gauge.wait_for(1)
    time.advance_to(10)
    hanging.release(1)  # the sequence has ended with the only item, or the next one starts now
    hanging.release(2)
    assert watch.end() == ["StageTimeout", 0][: len(items)]
    for thread in threads:
        thread.join(20)
    gc.collect()


@pytest.fixture(params=["threads", "coroutines", "pool", "scheduler"])
def operator(request: pytest.FixtureRequest) -> Iterator[Operator]:
    """A stage in each of the places where calls can run when no loop does."""
    with ThreadPoolExecutor(3) as pool:
        scheduler = EventLoopScheduler()
        makers: dict[str, Operator] = {
            "threads": stage(same, concurrency=3),
            "coroutines": stage(same_async, concurrency=3),
            "pool": stage(same, concurrency=3, scheduler=pool),
            "scheduler": stage(same, concurrency=3, scheduler=scheduler),
        }
        yield makers[request.param]
        scheduler.dispose()


def test_the_subscribers_thread_is_not_kept(operator: Operator) -> None:
    """An observer that waits for the subscriber, as a full queue does, does not have it wait for ever."""
    results: queue.Queue[int] = queue.Queue(1)
    watch = Watch[int](results.put).to(from_iterable(range(50)).pipe(operator))
    assert sorted(results.get(timeout=20) for _ in range(50)) == list(range(50))
    watch.end()
    assert here() not in watch.threads


def test_a_call_that_subscribes_is_not_kept(operator: Operator) -> None:
    """The same where the subscriber is a call of another stage: it can wait for its results in any way."""

    def fn(value: int) -> int:
        results: queue.Queue[int] = queue.Queue(1)
        from_iterable(range(10)).pipe(operator).subscribe(results.put)
        return sum(results.get(timeout=20) for _ in range(10))

    assert collect(from_iterable(range(3)).pipe(stage(fn, concurrency=2))) == [45] * 3


def test_the_sources_thread_is_not_kept(operator: Operator) -> None:
    """A thread that feeds a subject goes on while the observer is busy, and never runs the observer."""
    source, results = Subject[int](), queue.Queue[int](1)
    watch = Watch[int](results.put).to(source.pipe(operator))
    for number in range(20):
        source.on_next(number)
    source.on_completed()
    assert sorted(results.get(timeout=20) for _ in range(20)) == list(range(20))
    watch.end()
    assert here() not in watch.threads


def test_a_loop_that_closes_while_subscribed() -> None:
    """A loop run by hand and closed in the middle of calls leaves a subscription that can still be disposed."""
    loop = asyncio.new_event_loop()
    watch = Watch[Any]()

    async def forever(value: int) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        watch.to(from_iterable(range(3)).pipe(stage(forever, concurrency=2, timeout=60)))
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()
    watch.dispose()
    assert isinstance(watch.error, CallFailed)


def test_an_item_for_a_closed_loop_ends_the_sequence() -> None:
    """Where the loop is gone an item cannot be called with: the sequence fails rather than hangs."""
    loop = asyncio.new_event_loop()
    watch, source = Watch[Any](), Subject[int]()

    async def main() -> None:
        watch.to(source.pipe(stage(sleep, timeout=60)))

    loop.run_until_complete(main())
    loop.close()
    source.on_next(1)
    with pytest.raises(RuntimeError, match="closed"):
        watch.result()


def test_a_plain_function_on_the_loop_may_return_an_awaitable() -> None:
    """It is awaited on the running loop, within the call's time."""

    def fn(value: float) -> Coroutine[Any, Any, float]:
        return sleep(value)

    async def main() -> None:
        time, watch = TestScheduler(), Watch[Any]()
        watch.to(from_iterable([0.001, 100]).pipe(stage(fn, timeout=10, timer=time, recover=kind)))
        while not watch.values:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        time.advance_to(11)
        assert await watch.end_on_loop() == [0.001, "StageTimeout"]

    run_on_loop(main, virtual=False)
