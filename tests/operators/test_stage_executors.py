"""`stage` on executors and schedulers that are somebody else's."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import pytest
from operator_helpers import Gauge, Watch, collect, here, run_on_loop
from reactivex.scheduler import EventLoopScheduler, NewThreadScheduler, ThreadPoolScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler
from reactivex.testing import TestScheduler

from rxpipe.operators import Failure, Retry, deadline, from_iterable, stage
from rxpipe.operators.errors import CallFailed, StageStalled

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("does not pickle")


class HalfPicklable(Exception):
    """Pickles, but cannot be made again from its arguments."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def square(value: int) -> int:
    return value * value


def process_id(value: int) -> int:
    return os.getpid()


def fail(kind: str) -> str:
    if kind == "lambda":
        return lambda: None  # type: ignore[return-value]
    if kind == "die":
        os._exit(3)
    errors: dict[str, BaseException] = {
        "ValueError": ValueError("plain"),
        "Unpicklable": Unpicklable("secret"),
        "HalfPicklable": HalfPicklable(1, 2),
        "SystemExit": SystemExit(4),
        "KeyboardInterrupt": KeyboardInterrupt(),
    }
    raise errors[kind]


def told(failure: Failure[Any]) -> str:
    return f"{type(failure.error).__name__}: {failure.error}"


def where(value: int) -> str:
    return here().name


def time_left(value: int) -> float | None:
    return deadline()


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as pool:
        yield pool


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2, thread_name_prefix="mine") as pool:
        yield pool


@pytest.mark.slow
def test_a_process_pool_runs_the_function_elsewhere(processes: Executor) -> None:
    """Calls run in the pool's processes, and results come back."""
    chain = from_iterable(range(20)).pipe(stage(square, concurrency=4, scheduler=processes))
    assert sorted(collect(chain)) == [n * n for n in range(20)]
    assert os.getpid() not in collect(from_iterable([1]).pipe(stage(process_id, scheduler=processes)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("ValueError", "ValueError: plain"),
        ("Unpicklable", "CallFailed: Unpicklable: secret"),
        ("HalfPicklable", "CallFailed: HalfPicklable: 1 and 2"),
        ("SystemExit", "SystemExit: 4"),
        ("KeyboardInterrupt", "KeyboardInterrupt: "),
    ],
)
def test_what_a_process_raises_comes_back(processes: Executor, kind: str, text: str) -> None:
    """As it is if it pickles, else described; none ends a worker, which serves the next item."""
    chain = from_iterable([kind, kind]).pipe(stage(fail, scheduler=processes, recover=told))
    assert collect(chain) == [text, text]


@pytest.mark.slow
def test_what_cannot_travel_fails_the_item(processes: Executor) -> None:
    """A function, a value or a result that does not pickle is that item's failure, and the next one goes on."""
    local: Callable[[int], int] = lambda value: value  # noqa: E731
    (function,) = collect(from_iterable([1]).pipe(stage(local, scheduler=processes, recover=told)))
    (value,) = collect(from_iterable([threading.Lock()]).pipe(stage(id, scheduler=processes, recover=told)))
    results = collect(from_iterable(["lambda", "ValueError"]).pipe(stage(fail, scheduler=processes, recover=told)))
    assert ["pickle" in str(text) for text in (function, value, *results)] == [True, True, True, False]


@pytest.mark.slow
def test_a_pool_whose_worker_dies() -> None:
    """A worker that is killed breaks its pool: every item then fails, none hangs."""
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
        chain = from_iterable(["die", "ValueError", "ValueError"]).pipe(
            stage(fail, concurrency=2, scheduler=pool, recover=lambda failure: type(failure.error).__name__)
        )
        assert collect(chain) == [BrokenProcessPool.__name__] * 3


@pytest.mark.slow
def test_observers_do_not_run_on_a_pools_own_thread(processes: Executor) -> None:
    """The thread that manages the processes only leaves a message, so that a slow observer holds up no pool."""
    watch = Watch[int]().to(from_iterable(range(5)).pipe(stage(square, concurrency=2, scheduler=processes)))
    watch.end()
    assert {thread.name for thread in watch.threads} == {"rxpipe-square-relay"}


@pytest.mark.slow
def test_a_pool_on_a_loop(processes: Executor) -> None:
    """Subscribed to on a loop, what processes do is notified there."""

    async def main() -> Watch[int]:
        watch = Watch[int]().to(from_iterable(range(5)).pipe(stage(square, concurrency=2, scheduler=processes)))
        await watch.end_on_loop()
        return watch

    watch = run_on_loop(main, virtual=False)
    assert sorted(watch.values) == [0, 1, 4, 9, 16]
    assert set(watch.threads) == {here()}


@pytest.mark.slow
def test_there_is_no_deadline_in_another_process(processes: Executor) -> None:
    """`deadline()` is `None` where the clock that counts is out of reach."""
    assert collect(from_iterable([1]).pipe(stage(time_left, timeout=60, scheduler=processes))) == [None]


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


def test_a_thread_pool_that_is_shut_down(threads: ThreadPoolExecutor) -> None:
    """Calls that a pool cancels or refuses fail; none is waited for in vain."""
    release, calls = threading.Event(), Gauge()

    def fn(value: int) -> int:
        with calls:
            release.wait(20)
        return value

    options: dict[str, Any] = {"concurrency": 3, "queue_size": 9, "scheduler": threads}
    watch = Watch[Any]().to(from_iterable(range(4)).pipe(stage(fn, **options, recover=told)))
    calls.wait_for(2)
    threads.shutdown(wait=False, cancel_futures=True)
    release.set()
    values = watch.end()
    assert sorted(value for value in values if isinstance(value, int)) == [0, 1]
    assert sorted(value for value in values if isinstance(value, str)) == [
        "CancelledError: ",
        "RuntimeError: cannot schedule new futures after shutdown",
    ]


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


@pytest.mark.slow
def test_calls_in_a_pool_that_time_out(processes: Executor) -> None:
    """A call that waits in the pool's queue when its time is up is taken back, and its slot is free."""
    chain = from_iterable(range(3)).pipe(stage(square, timeout=1e-9, scheduler=processes, recover=told))
    values = collect(chain)
    assert [str(value).split(":")[0] in (str(n * n), "StageTimeout") for n, value in enumerate(values)] == [True] * 3


def test_an_error_that_ends_the_sequence_is_wrapped(threads: Executor) -> None:
    """On a pool as anywhere, what is not an `Exception` arrives as the cause of `CallFailed`."""

    def fn(value: int) -> int:
        raise SystemExit(2)

    with pytest.raises(CallFailed, match="SystemExit: 2"):
        collect(from_iterable([1]).pipe(stage(fn, scheduler=threads)))
