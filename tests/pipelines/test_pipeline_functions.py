"""What the functions of stages may do: raise, hang, return anything."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NoReturn

import pytest
import reactivex
from pipeline_helpers import (
    SCHEDULERS,
    STRATEGIES,
    WAYS,
    ListSink,
    Seen,
    counts,
    finish,
    lasting,
    run_virtually,
    same,
)
from reactivex import operators as rx_ops

from rxpipe import DatabaseSink, Outcome, Pipeline, RateLimiter, Retry, Stage, deadline
from rxpipe.database import RowRefused
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy


class Unshowable(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Unpicklable(Exception):
    def __reduce__(self) -> NoReturn:
        raise RuntimeError("no pickle")


RAISED: list[BaseException] = [
    ValueError("x"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError(),
    StopIteration(),
    Unshowable(),
    Unpicklable(),
    ExceptionGroup("several", [ValueError()]),
]


def rows_of(path: Path) -> dict[str, tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return {row[0]: row[1:] for row in connection.execute("SELECT id, status, stage, error FROM results")}


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_whatever_a_function_raises_fails_its_item_alone(
    tmp_path: Path, scheduler: Scheduler, error: BaseException
) -> None:
    """It ends no thread, no loop and no process."""

    def call(value: int) -> int:
        if value == 2:
            raise error
        return value

    path = tmp_path / "x.db"
    sink = DatabaseSink(f"sqlite:///{path}")
    report = Pipeline(Stage("s", call, concurrency=1), sink=sink, scheduler=scheduler).run(range(5))
    assert counts(report) == (5, 4, 1, 0)
    status, stage, text = rows_of(path)["2"]
    assert (status, stage, text.partition(":")[0]) == ("failed", "s", type(error).__name__)


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), KeyboardInterrupt(), asyncio.CancelledError(), Unshowable()],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_whatever_a_coroutine_raises_fails_its_item_alone(scheduler: Scheduler, error: BaseException) -> None:
    """Also what would end its loop, or cancel its task."""
    sink = ListSink()

    async def call(value: int) -> int:
        await asyncio.sleep(0)
        if value == 2:
            raise error
        return value

    report = Pipeline(Stage("s", call, concurrency=1), sink=sink, scheduler=scheduler).run(range(5))
    assert counts(report) == (5, 4, 1, 0)
    (failed,) = (row for row in sink.rows if row.status == "failed")
    assert (failed.id, failed.error) == (2, error)


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_none_is_a_value_like_any_other(strategy: Strategy, scheduler: Scheduler) -> None:
    """The next stage gets it."""
    sink = ListSink()
    stages: list[Stage] = [Stage("a", lambda _: None), Stage("b", lambda value: [value])]
    report = Pipeline(*stages, sink=sink, strategy=strategy, scheduler=scheduler).run(range(3))
    assert counts(report) == (3, 3, 0, 0)
    assert [row.value for row in sink.rows] == [[None]] * 3


def test_what_cannot_be_written_fails_alone_with_the_reason(tmp_path: Path) -> None:
    """Its row says so, in place of the value."""

    def call(value: int) -> Any:
        return object() if value == 2 else {"answer": value}

    seen, path = Seen(), tmp_path / "x.db"
    run = Pipeline(Stage("s", call), sink=DatabaseSink(f"sqlite:///{path}")).start(range(5), seen)
    assert counts(finish(run)) == (5, 4, 1, 0)
    (failed,) = (outcome for outcome in seen.outcomes if outcome.status == "failed")
    assert (failed.id, failed.stage) == (2, "database")
    assert isinstance(failed.error, RowRefused)
    assert "object" in rows_of(path)["2"][2]
    assert rows_of(path)["2"][0] == "failed"


# Time


def test_a_function_is_told_how_long_it_has() -> None:
    """And None where there is no limit."""
    left: list[float | None] = []

    def call(value: object) -> None:
        left.append(deadline())

    Pipeline(Stage("a", call, timeout=60), Stage("b", call)).run([1])
    assert left[0] is not None
    assert 50 < left[0] <= 60
    assert left[1] is None


# Functions that return observables and awaitables


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_of_an_observable_the_last_value_counts(strategy: Strategy, scheduler: Scheduler) -> None:
    """An item has one value."""
    sink = ListSink()
    stage: Stage = Stage("a", lambda value: reactivex.of(value, value + 1, value + 2))
    report = Pipeline(stage, Stage("b", same), sink=sink, strategy=strategy, scheduler=scheduler).run(range(3))
    assert counts(report) == (3, 3, 0, 0)
    assert sorted(row.value for row in sink.rows) == [2, 3, 4]


def test_an_item_whose_observable_is_empty_fails() -> None:
    """There is no value for the next stage; one that fails, with its error."""
    sink = ListSink()

    def call(value: int) -> Any:
        return [reactivex.of(7), reactivex.empty(), reactivex.throw(LookupError("inner"))][value]

    report = Pipeline(Stage("s", call), Stage("t", same), sink=sink).run(range(3))
    assert counts(report) == (3, 1, 2, 0)
    failed = {row.id: row for row in sink.rows if row.status == "failed"}
    assert "no elements" in str(failed[1].error)
    assert repr(failed[2].error) == "LookupError('inner')"
    assert {row.stage for row in failed.values()} == {"s"}


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_an_awaitable_is_awaited(strategy: Strategy, scheduler: Scheduler) -> None:
    """Though the function is a plain one."""

    async def later(value: int) -> int:
        await asyncio.sleep(0)
        return 2 * value

    sink = ListSink()
    pipeline = Pipeline(Stage("s", lambda value: later(value)), sink=sink, strategy=strategy, scheduler=scheduler)
    assert counts(pipeline.run(range(5))) == (5, 5, 0, 0)
    assert sorted(row.value for row in sink.rows) == [0, 2, 4, 6, 8]


def test_a_function_that_gives_many_values_is_refused() -> None:
    """At once, with what to do instead; what another one returns is passed on as it is."""

    async def letters(value: int) -> AsyncIterator[str]:
        yield "a"

    def numbers(value: int) -> Iterator[int]:
        yield 1

    for call in (letters, numbers):
        with pytest.raises(TypeError, match=r"stage s: call gives many values, .* with expand=True .* such as a list"):
            Stage("s", call)
    sink = ListSink()
    Pipeline(Stage("s", lambda value: letters(value)), sink=sink).run([1])
    assert isinstance(sink.rows[0].value, AsyncIterator)


# Retries, rate limits, executors


def test_retries_wait_by_the_time_of_the_run() -> None:
    """1 s, then 2 s; the first item holds nobody up meanwhile."""
    calls: list[int] = []
    seen = Seen()

    def flaky(value: int) -> int:
        calls.append(value)
        if value == 0 and calls.count(0) < 3:
            raise OSError
        return value

    stage = Stage("s", flaky, concurrency=1, retry=Retry(max_attempts=3, initial=1, backoff_factor=2, jitter=0))
    report = run_virtually(Pipeline(stage), range(3), seen)
    assert report.seconds == 3.0
    assert [(outcome.id, outcome.attempts, outcome.seconds) for outcome in seen.outcomes] == [
        (1, 1, 0.0),
        (2, 1, 0.0),
        (0, 3, 3.0),
    ]


def test_stages_may_share_a_rate_limit() -> None:
    """Four calls, one a second."""
    limit = RateLimiter(1, 1.0)
    stages = Stage("a", same, rate_limit=limit), Stage("b", same, rate_limit=limit)
    assert run_virtually(Pipeline(*stages), [1, 2]).seconds == 3.0


def test_a_timeout_counts_from_the_start_of_a_call() -> None:
    """Not from when it was queued: each takes 3 s, one after the other."""
    report = run_virtually(Pipeline(Stage("s", lasting(3), concurrency=1, timeout=4)), range(5))
    assert counts(report) == (5, 5, 0, 0)
    assert report.seconds == 15.0


def in_process(value: int) -> tuple[int, bool]:
    return value, os.getpid() != _MAIN


_MAIN = os.getpid()


def exit_at_three(value: tuple[int, bool]) -> int:
    if value[0] == 3:
        raise SystemExit(1)
    return value[0]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_stage_may_run_in_a_pool_of_processes(strategy: Strategy) -> None:
    """A function that exits fails its item, not the pool."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        sink = ListSink()
        stages = Stage("a", in_process, executor=executor), Stage("b", exit_at_three, executor=executor)
        report = Pipeline(*stages, sink=sink, strategy=strategy).run(range(6))
    assert counts(report) == (6, 5, 1, 0)
    assert sorted(row.id for row in sink.rows if row.status == "written") == [0, 1, 2, 4, 5]


def test_a_function_may_be_any_callable() -> None:
    """An object, a bound method, a class."""

    class Adds:
        def __call__(self, value: int) -> int:
            return value + 1

        async def later(self, value: int) -> int:
            return value + 1

    sink = ListSink()
    calls: list[Callable[..., Any]] = [Adds(), Adds().later, str]
    stages = [Stage(str(number), call) for number, call in enumerate(calls)]
    assert counts(Pipeline(*stages, sink=sink).run([1])) == (1, 1, 0, 0)
    assert sink.rows[0].value == "3"


def test_a_chain_of_operators_may_follow_the_outcomes() -> None:
    """They are an Observable like any other."""
    failed: list[Any] = []
    over = threading.Event()

    def call(value: int) -> float:
        return 1 / value

    def is_failed(outcome: Outcome[Any]) -> bool:
        return outcome.status == "failed"

    def id_of(outcome: Outcome[Any]) -> Any:
        return outcome.id

    chain = Pipeline(Stage("s", call)).outcomes([0, 1, 2]).pipe(rx_ops.filter(is_failed), rx_ops.map(id_of))
    chain.subscribe(failed.append, None, over.set)
    assert over.wait(20)
    assert failed == [0]
