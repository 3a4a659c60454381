"""`stage` on pools of processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from operator_helpers import LIMIT, Watch, collect, here, run_on_loop
from reactivex.testing import TestScheduler

from rxpipe.operators import Failure, deadline, from_iterable, stage

pytestmark = pytest.mark.slow  # processes take their time to start


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


def time_left(value: int) -> float | None:
    return deadline()


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as pool:
        yield pool


def test_a_process_pool_runs_the_function_elsewhere(processes: Executor) -> None:
    """Calls run in the pool's processes, and results come back."""
    chain = from_iterable(range(20)).pipe(stage(square, concurrency=4, scheduler=processes))
    assert sorted(collect(chain)) == [n * n for n in range(20)]
    assert os.getpid() not in collect(from_iterable([1]).pipe(stage(process_id, scheduler=processes)))


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


def test_what_cannot_travel_fails_the_item(processes: Executor) -> None:
    """A function, a value or a result that does not pickle is that item's failure, and the next one goes on."""
    local: Callable[[int], int] = lambda value: value  # noqa: E731
    (function,) = collect(from_iterable([1]).pipe(stage(local, scheduler=processes, recover=told)))
    (value,) = collect(from_iterable([threading.Lock()]).pipe(stage(id, scheduler=processes, recover=told)))
    results = collect(from_iterable(["lambda", "ValueError"]).pipe(stage(fail, scheduler=processes, recover=told)))
    told_so = [any(words in str(text) for words in ("pickle", "local object")) for text in (function, value, *results)]
    assert told_so == [True, True, True, False]  # the words depend on the version of Python


def test_a_pool_whose_worker_dies() -> None:
    """A worker that is killed breaks its pool: every item then fails, none hangs."""
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
        chain = from_iterable(["die", "ValueError", "ValueError"]).pipe(
            stage(fail, concurrency=2, scheduler=pool, recover=lambda failure: type(failure.error).__name__)
        )
        assert collect(chain) == [BrokenProcessPool.__name__] * 3


def test_observers_do_not_run_on_a_pools_own_thread(processes: Executor) -> None:
    """The thread that manages the processes only leaves a message, so that a slow observer holds up no pool."""
    watch = Watch[int]().to(from_iterable(range(5)).pipe(stage(square, concurrency=2, scheduler=processes)))
    watch.end()
    assert {thread.name for thread in watch.threads} == {"rxpipe-square-relay"}


def test_a_pool_on_a_loop(processes: Executor) -> None:
    """Subscribed to on a loop, what processes do is notified there."""

    async def main() -> Watch[int]:
        watch = Watch[int]().to(from_iterable(range(5)).pipe(stage(square, concurrency=2, scheduler=processes)))
        await watch.end_on_loop()
        return watch

    watch = run_on_loop(main, virtual=False)
    assert sorted(watch.values) == [0, 1, 4, 9, 16]
    assert set(watch.threads) == {here()}


def test_there_is_no_deadline_in_another_process(processes: Executor) -> None:
    """`deadline()` is `None` where the clock that counts is out of reach."""
    assert collect(from_iterable([1]).pipe(stage(time_left, timeout=60, scheduler=processes))) == [None]


def wait_for(path: Path) -> None:
    while not path.exists():
        threading.Event().wait(0.01)


class Submitted(Executor):
    """Another executor's front, which keeps the futures."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.futures: SimpleQueue[Future[Any]] = SimpleQueue()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = self._executor.submit(fn, *args, **kwargs)
        self.futures.put(future)
        return future


def test_calls_in_a_pool_that_time_out(tmp_path: Path) -> None:
    """Those that run go on there, one that waits in the pool's queue is taken back, and each item fails in time."""
    time = TestScheduler()
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
        executor = Submitted(pool)
        watch = Watch[Any]().to(
            from_iterable([tmp_path / "go"] * 6).pipe(
                stage(wait_for, concurrency=6, timeout=10, timer=time, scheduler=executor, recover=told)
            )
        )
        futures = [executor.futures.get(timeout=LIMIT) for _ in range(6)]
        time.advance_to(11)
        assert [text.split(":")[0] for text in watch.end()] == ["StageTimeout"] * 6
        assert futures[-1].cancelled()
        assert not futures[0].done()
        (tmp_path / "go").touch()
