"""While a function runs, its call's span is the current one, where it runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN
from otel_helpers import Telemetry, told
from pipeline_helpers import LIMIT, SCHEDULERS, STRATEGIES, same
from reactivex.abc import SchedulerBase
from reactivex.scheduler import EventLoopScheduler, ThreadPoolScheduler

from rxpipe import Pipeline, Retry, Stage
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy

CALLS = 8


def current(value: Any) -> Any:
    """Fails where a span is current."""
    assert trace.get_current_span() is INVALID_SPAN
    return value


class Client:
    """Does what an instrumented client does: a span for each request, below the current one.

    All calls that run at once meet inside of it, so that they cannot but overlap.
    """

    def __init__(self, telemetry: Telemetry, calls: int = CALLS) -> None:
        self._telemetry = telemetry
        self._barrier = threading.Barrier(calls)
        self._calls = calls
        self._come = 0
        self._all_there: asyncio.Event | None = None

    def get(self, value: Any) -> Any:
        self._barrier.wait(LIMIT)
        with self._telemetry.tracer.start_as_current_span("GET", attributes={"rxpipe.item.id": str(value)}):
            self._barrier.wait(LIMIT)
        return value

    async def get_async(self, value: Any) -> Any:
        self._all_there = self._all_there or asyncio.Event()
        with self._telemetry.tracer.start_as_current_span("GET", attributes={"rxpipe.item.id": str(value)}):
            self._come += 1
            if self._come == self._calls:
                self._all_there.set()
            await asyncio.wait_for(self._all_there.wait(), LIMIT)
        return value


class Object:
    """An object whose ``__call__`` is a coroutine function."""

    def __init__(self, call: Callable[[Any], Awaitable[Any]]) -> None:
        self._call = call

    async def __call__(self, value: Any) -> Any:
        return await self._call(value)


KINDS: dict[str, Callable[[Client], Callable[[Any], Any]]] = {
    "plain": lambda client: client.get,
    "coroutine": lambda client: client.get_async,
    "partial": lambda client: partial(client.get_async),
    "object": lambda client: Object(client.get_async),
    "awaitable": lambda client: lambda value: client.get_async(value),
}


def assert_requests_are_below_their_calls(telemetry: Telemetry) -> None:
    """Each is below the call with the same item."""
    calls = telemetry.named("a")
    assert len(calls) == CALLS
    for call in calls:
        (request,) = telemetry.children(call)
        assert request.name == "GET"
        assert told(request)["rxpipe.item.id"] == told(call)["rxpipe.item.id"]
    telemetry.assert_all_over()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("kind", list(KINDS))
def test_items_side_by_side(kind: str, scheduler: Scheduler, strategy: Strategy) -> None:
    """Whatever a function is, and wherever it runs, what it starts is below its own item's call."""
    telemetry = Telemetry()
    call = KINDS[kind](Client(telemetry))
    pipeline = Pipeline(
        Stage("a", call, concurrency=CALLS),
        strategy=strategy,
        scheduler=scheduler,
        concurrency=CALLS,
        listeners=[telemetry.listener],
    )
    pipeline.run(range(CALLS))
    assert_requests_are_below_their_calls(telemetry)


def test_on_a_pool() -> None:
    """The same on a pool of threads."""
    telemetry = Telemetry()
    with ThreadPoolExecutor(CALLS) as pool:
        stage = Stage("a", Client(telemetry).get, concurrency=CALLS, executor=pool)
        Pipeline(stage, listeners=[telemetry.listener]).run(range(CALLS))
    assert_requests_are_below_their_calls(telemetry)


@pytest.mark.parametrize("make", [EventLoopScheduler, partial(ThreadPoolScheduler, 1)])
def test_on_a_scheduler(make: Callable[[], SchedulerBase]) -> None:
    """The same on schedulers of reactivex."""
    telemetry, scheduler = Telemetry(), make()
    stage = Stage("a", Client(telemetry, 1).get, concurrency=1, executor=scheduler)
    Pipeline(stage, listeners=[telemetry.listener]).run(range(CALLS))
    assert_requests_are_below_their_calls(telemetry)
    if isinstance(scheduler, EventLoopScheduler):
        scheduler.dispose()
    elif isinstance(scheduler, ThreadPoolScheduler):
        scheduler.executor.shutdown()


@pytest.mark.slow
def test_in_other_processes() -> None:
    """Calls there have spans, too: only that these are current nowhere."""
    telemetry = Telemetry()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        Pipeline(Stage("a", current, executor=pool), Stage("b", same), listeners=[telemetry.listener]).run([1])
    assert telemetry.tree() == ["rxpipe.item", ["a", "b"]]
    assert told(telemetry.only("a"))["rxpipe.call.status"] == "returned"


def test_each_attempt_has_its_own() -> None:
    """What a retried attempt starts is below that attempt."""
    telemetry = Telemetry()
    left = [ValueError(), ValueError()]

    def call(value: int) -> int:
        with telemetry.tracer.start_as_current_span("GET"):
            if left:
                raise left.pop()
            return value

    retry = Retry(max_attempts=3, initial=0.001, max_delay=0.001)
    Pipeline(Stage("a", call, retry=retry), listeners=[telemetry.listener]).run([1])
    assert telemetry.tree() == ["rxpipe.item", ["a", ["GET"], "a", ["GET"], "a", ["GET"]]]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_nothing_is_current_afterwards(scheduler: Scheduler) -> None:
    """A thread or task that goes on to other calls has not kept the span of the last one."""
    telemetry = Telemetry()
    seen: list[Any] = []

    async def sink(value: Any) -> Any:
        seen.append(trace.get_current_span())
        return value

    traced = Pipeline(Stage("a", same), Stage("b", sink), scheduler=scheduler, listeners=[telemetry.listener])
    plain = Pipeline(Stage("a", same), Stage("b", sink), scheduler=scheduler)
    traced.run(range(3))
    assert all(span.get_span_context().is_valid for span in seen)
    seen.clear()
    plain.run(range(3))
    assert seen == [INVALID_SPAN] * 3
    assert trace.get_current_span() is INVALID_SPAN


def test_a_pipeline_within_a_call() -> None:
    """The items of a pipeline that a function runs are below its call."""
    telemetry = Telemetry()
    inner = Pipeline(Stage("inner", same), listeners=[telemetry.listener])
    outer = Pipeline(Stage("outer", lambda value: inner.run([value]).taken), listeners=[telemetry.listener])
    outer.run([1])
    assert telemetry.tree() == ["rxpipe.item", ["outer", ["rxpipe.item", ["inner"]]]]
