"""`stage` on executors and schedulers that are somebody else's."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest
from operator_helpers import Gauge, Watch, collect, here, run_on_loop
from reactivex.scheduler import EventLoopScheduler, NewThreadScheduler, ThreadPoolScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler
from reactivex.testing import TestScheduler

from rxpipe.operators import Failure, Retry, deadline, from_iterable, stage
from rxpipe.operators.errors import CallFailed, StageStalled

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


def square(value: int) -> int:
    return value * value


def told(failure: Failure[Any]) -> str:
    return f"{type(failure.error).__name__}: {failure.error}"


def where(value: int) -> str:
    return here().name


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2, thread_name_prefix="mine") as pool:
        yield pool


def test_a_thread_pool_runs_the_function(threads: Executor) -> None:
    """Calls run on the pool's threads, in the subscriber's context, with a deadline."""

    def fn(value: int) -> tuple[str, str, bool]:
        seen = VAR.get()
        VAR.set("call")
        left = deadline()
        return here().name[:4], seen, left is not None and left > 50

    VAR.set("subscriber")
    try:
        values = collect(from_iterable(range(9)).pipe(stage(fn, concurrency=2, timeout=60, scheduler=threads)))
    finally:
        VAR.set("unset")
    assert values == [("mine", "subscriber", True)] * 9


def test_time_in_a_thread_pools_queue_does_not_count() -> None:
    """A call that waits for one of the pool's threads has its whole time before it when it begins."""
    time, release, calls = TestScheduler(), threading.Event(), Gauge()

    def fn(value: int) -> float | None:
        with calls:
            if value == 0:
                release.wait(20)
            return deadline()

    with ThreadPoolExecutor(1) as pool:
        chain = from_iterable([0, 1]).pipe(stage(fn, concurrency=2, timeout=10, timer=time, scheduler=pool))
        watch = Watch[float | None]().to(chain)
        calls.wait_for(1)
        time.advance_to(8)
        release.set()
        assert watch.end() == [2, 10]


def test_a_thread_pool_full_of_hanging_calls_stalls_the_stage() -> None:
    """A pool has no fresh threads: when all of its own hang, that is an error, not silence."""
    time, release, calls = TestScheduler(), threading.Event(), Gauge()

    def fn(value: int) -> None:
        with calls:
            release.wait(20)

    with ThreadPoolExecutor(2) as pool:
        chain = from_iterable(range(9)).pipe(
            stage(fn, concurrency=4, timeout=10, timer=time, scheduler=pool, recover=told)
        )
        watch = Watch[Any]().to(chain)
        calls.wait_for(2)
        time.advance_to(10)
        assert len(watch.values) == 2
        time.advance_to(20)
        with pytest.raises(StageStalled, match="2 calls"):
            watch.end()
        release.set()
    assert calls.total == 2


def test_a_thread_pool_with_threads_to_spare_goes_on() -> None:
    """Of a pool wider than the stage, the threads beyond take the slots of hanging ones."""
    time, release, calls = TestScheduler(), threading.Event(), Gauge()

    def fn(value: int) -> int:
        with calls:
            if value == 0:
                release.wait(20)
            return value

    with ThreadPoolExecutor(2) as pool:
        chain = from_iterable(range(4)).pipe(stage(fn, timeout=10, timer=time, scheduler=pool, recover=told))
        watch = Watch[Any]().to(chain)
        calls.wait_for(1)
        time.advance_to(10)
        assert watch.end() == ["StageTimeout: fn: no result within 10 s", 1, 2, 3]
        release.set()


def test_a_thread_pool_that_is_shut_down() -> None:
    """Calls that a pool cancels or refuses fail; none is waited for in vain."""
    release, calls, submitted = threading.Event(), Gauge(), Gauge()

    class Pool(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = super().submit(fn, *args, **kwargs)
            with submitted:
                return future

    def fn(value: int) -> int:
        with calls:
            release.wait(20)
        return value

    pool = Pool(2)
    watch = Watch[Any]().to(from_iterable(range(4)).pipe(stage(fn, concurrency=3, scheduler=pool, recover=told)))
    calls.wait_for(2)
    submitted.wait_for(total=3)
    pool.shutdown(wait=False, cancel_futures=True)
    release.set()
    assert sorted(watch.end(), key=str) == [
        0,
        1,
        "CancelledError: ",
        "RuntimeError: cannot schedule new futures after shutdown",
    ]
    pool.shutdown()


def test_a_thread_pool_whose_initializer_fails() -> None:
    """A broken pool fails the calls that are waiting in it."""

    def refuse() -> None:
        raise OSError("no connection")

    with ThreadPoolExecutor(1, initializer=refuse) as pool:
        values = collect(from_iterable([1, 2]).pipe(stage(square, scheduler=pool, recover=told)))
    assert [value.split(":")[0] for value in map(str, values)] == ["BrokenThreadPool"] * 2


def test_calls_that_wait_in_a_pool_are_cancelled_on_disposal(threads: ThreadPoolExecutor) -> None:
    """Disposing reaches what has not begun, too: it never runs."""
    release, calls = threading.Event(), Gauge()

    def fn(value: int) -> None:
        with calls:
            release.wait(20)

    watch = Watch[Any]().to(from_iterable(range(9)).pipe(stage(fn, concurrency=6, scheduler=threads)))
    calls.wait_for(2)
    watch.dispose()
    release.set()
    threads.submit(square, 1).result(20)
    assert calls.total == 2


def test_any_executor_will_do() -> None:
    """One that runs everything at once in `submit` is an executor as well."""

    class AtOnce(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result(fn(*args, **kwargs))
            return future

    assert collect(from_iterable(range(50)).pipe(stage(square, scheduler=AtOnce()))) == [n * n for n in range(50)]


def test_a_coroutine_function_is_refused(threads: Executor) -> None:
    """An executor would return the coroutine, not run it: that is an error when the operator is made."""

    async def fn(value: int) -> int:
        return value

    with pytest.raises(TypeError, match="stage fn: a coroutine function cannot run on an executor"):
        stage(fn, scheduler=threads)
    scheduler = ThreadPoolScheduler(1)
    with pytest.raises(TypeError):
        stage(fn, scheduler=scheduler)


def test_a_thread_pool_scheduler_is_its_executor() -> None:
    """Calls run on the scheduler's own threads, a few at a time."""
    scheduler = ThreadPoolScheduler(2)
    names = collect(from_iterable(range(20)).pipe(stage(where, concurrency=2, scheduler=scheduler)))
    assert all(name.startswith("ThreadPoolExecutor") for name in names)
    scheduler.executor.shutdown()


def test_an_event_loop_scheduler_runs_one_call_at_a_time() -> None:
    """Its one thread serves call after call, also after one that raises."""
    scheduler, gauge = EventLoopScheduler(), Gauge()

    def fn(value: int) -> threading.Thread:
        with gauge:
            if value % 5 == 0:
                raise ValueError
            return here()

    chain = from_iterable(range(20)).pipe(
        stage(fn, concurrency=4, scheduler=scheduler, retry=Retry(initial=0, max_attempts=2), recover=lambda _: here())
    )
    assert len(collect(chain)) == 20
    assert (gauge.most, gauge.total) == (1, 24)
    scheduler.dispose()


def test_an_event_loop_scheduler_that_hangs_stalls_the_stage() -> None:
    """Its one thread cannot be replaced: with that stuck for as long as the timeout again, the sequence fails."""
    time, release, calls, scheduler = TestScheduler(), threading.Event(), Gauge(), EventLoopScheduler()

    def fn(value: int) -> None:
        with calls:
            release.wait(20)

    chain = from_iterable(range(5)).pipe(
        stage(fn, concurrency=3, timeout=10, timer=time, scheduler=scheduler, recover=told)
    )
    watch = Watch[Any]().to(chain)
    calls.wait_for(1)
    time.advance_to(20)
    with pytest.raises(StageStalled):
        watch.end()
    release.set()
    calls.wait_for(0)
    scheduler.dispose()


def test_a_scheduler_that_was_disposed_fails_the_items() -> None:
    """A scheduler that refuses actions is a failure of each call."""
    scheduler = EventLoopScheduler()
    scheduler.dispose()
    values = collect(from_iterable([1, 2]).pipe(stage(square, scheduler=scheduler, recover=told)))
    assert [str(value).split(":")[0] for value in values] == ["DisposedException"] * 2


def test_new_threads_for_every_call() -> None:
    """On reactivex's `NewThreadScheduler` each call has a thread of its own."""
    names = collect(from_iterable(range(8)).pipe(stage(where, concurrency=3, scheduler=NewThreadScheduler())))
    assert len(set(names)) == 8


def test_plain_functions_on_a_loop() -> None:
    """On an `AsyncIOScheduler`, plain functions run on the loop itself."""

    async def main() -> list[threading.Thread]:
        scheduler = AsyncIOScheduler(asyncio.get_running_loop())
        chain = from_iterable(range(4)).pipe(stage(lambda _: here(), concurrency=2, scheduler=scheduler))
        return await Watch[threading.Thread]().to(chain).end_on_loop()

    assert run_on_loop(main) == [here()] * 4


def test_an_error_that_ends_the_sequence_is_wrapped(threads: Executor) -> None:
    """On a pool as anywhere, what is not an `Exception` arrives as the cause of `CallFailed`."""

    def fn(value: int) -> int:
        raise SystemExit(2)

    with pytest.raises(CallFailed, match="SystemExit: 2"):
        collect(from_iterable([1]).pipe(stage(fn, scheduler=threads)))
