"""Spans of what is cut off: none is left open, and nothing is kept of it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest
from otel_helpers import Telemetry, status, told
from pipeline_helpers import LIMIT, STRATEGIES, WAYS, Block, Seen, finish, same, until

from rxpipe import ItemView, Pipeline, Retry, Stage, Usage, record_usage
from rxpipe.otel.spans import Trace
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.strategies import Strategy


def assert_cancelled(telemetry: Telemetry, *, calls: int, items: int) -> None:
    """So many calls and items were, and none of it is an error."""
    assert len(telemetry.named("a", status="cancelled")) == calls
    assert len(telemetry.named("rxpipe.item", ended="cancelled")) == items
    assert {status(span) for span in telemetry.spans} == {("UNSET", None)}
    telemetry.assert_all_over()


@pytest.mark.parametrize("end", ["abort", "dispose"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_threads_are_left_behind(strategy: Strategy, end: str) -> None:
    """Where a run ends while functions are at work, their spans do, though the threads go on."""
    telemetry, block = Telemetry(), Block()
    stages = [Stage("a", block, concurrency=2), Stage("b", same)]
    pipeline = Pipeline(*stages, strategy=strategy, concurrency=2, listeners=[telemetry.listener])
    run = pipeline.start(range(2), Seen())
    block.wait_for(2)
    if end == "abort":
        run.abort()
        finish(run)
    else:
        run.subscription.dispose()
    assert_cancelled(telemetry, calls=2, items=2)
    block.may_return.set()


@pytest.mark.parametrize("end", ["abort", "dispose"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_coroutines_are_cancelled(strategy: Strategy, end: str) -> None:
    """The same on an event loop, where a coroutine is cancelled."""
    telemetry = Telemetry()

    async def main() -> None:
        inside = asyncio.Semaphore(0)

        async def never(value: Any) -> Any:
            inside.release()
            await asyncio.Event().wait()

        pipeline = Pipeline(
            Stage("a", never, concurrency=2),
            strategy=strategy,
            scheduler="asyncio",
            concurrency=2,
            listeners=[telemetry.listener],
        )
        run = pipeline.start(range(2), Seen())
        async with asyncio.timeout(LIMIT):
            await inside.acquire()
            await inside.acquire()
            if end == "abort":
                run.abort()
                await asyncio.wait([asyncio.wrap_future(run.finished)])
            else:
                run.subscription.dispose()

    asyncio.run(main())
    assert_cancelled(telemetry, calls=2, items=2)


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_a_submission_is_cancelled(scheduler: Scheduler) -> None:
    """The item of a request that is given up is cancelled, and so is its call; the next one is not disturbed."""
    telemetry, block = Telemetry(), Block(only=[1])
    pipeline = Pipeline(Stage("a", block, concurrency=1), scheduler=scheduler, listeners=[telemetry.listener])
    with pipeline.open() as running:
        submission = running.submit(1)
        block.wait_for(1)
        assert submission.cancel()
        assert submission.result(LIMIT).status == "cancelled"
        assert running.submit(2).result(LIMIT).status == "written"
    block.may_return.set()
    assert_cancelled(telemetry, calls=1, items=1)
    assert telemetry.only("a", status="returned")


def test_an_abandoned_thread_tells_late() -> None:
    """What it has used counts in its stage, and in no span: neither its own, which has ended, nor the next one's."""
    telemetry, second = Telemetry(), threading.Event()
    attempts = iter((1, 2))

    def call(value: int) -> int:
        if next(attempts) == 1:
            assert second.wait(LIMIT)
            record_usage(Usage(prompt_tokens=5))
            return value
        second.set()
        until(lambda: sum(telemetry.measured("rxpipe.stage.tokens").values()) == 5)
        return value

    stage = Stage("a", call, timeout=0.05, retry=Retry(max_attempts=2, initial=0.001, max_delay=0.001, jitter=0))
    Pipeline(stage, concurrency=2, listeners=[telemetry.listener]).run([1])
    assert all("gen_ai.usage.input_tokens" not in told(span) for span in telemetry.named("a"))
    assert told(telemetry.only("a", attempt=1))["error.type"] == "rxpipe.operators.errors.StageTimeout"
    telemetry.assert_all_over()


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_runs_that_end_at_any_time(strategy: Strategy, scheduler: Scheduler) -> None:
    """Whenever a run is disposed of, as many items have ended as have begun, and so have spans."""
    telemetry = Telemetry()

    async def give_way(value: Any) -> Any:
        await asyncio.sleep(0)
        return value

    async def main() -> None:
        loop = asyncio.get_running_loop()
        first = same if scheduler == "threads" else give_way
        pipeline = Pipeline(
            Stage("a", first),
            Stage("b", same),
            strategy=strategy,
            scheduler=scheduler,
            listeners=[telemetry.listener],
        )
        for moment in range(10):
            run = pipeline.start(range(20))
            loop.call_later(moment * 0.0005, run.subscription.dispose)
            with suppress(asyncio.CancelledError):
                await asyncio.wait_for(asyncio.wrap_future(run.finished), LIMIT)

    asyncio.run(main())
    telemetry.assert_all_over()


def outcome_of(item: Item) -> Outcome[Any]:
    """It was cancelled."""
    return item.cancelled(item.taken_at)


def test_ended_before_it_was_taken() -> None:
    """A run may be disposed of on one thread while another takes an ID: its span ends nevertheless."""
    telemetry, item = Telemetry(), Item(1, 0.0)
    telemetry.listener.ended(item, outcome_of(item))
    telemetry.listener.taken(item)
    telemetry.listener.call_started(item, "a")
    telemetry.listener.call_ended(item, "a", None, again=False)
    assert telemetry.tree() == ["rxpipe.item"]
    telemetry.assert_all_over()


def test_ended_while_a_call_starts() -> None:
    """The same for a call that another thread is about to make."""
    telemetry, taken = Telemetry(), Item(1, 0.0)

    class Late(Trace):
        """Of an item that ends before its call has got a span."""

        def begin(self, item: ItemView, stage: str) -> None:
            telemetry.listener.ended(item, outcome_of(taken))
            super().begin(item, stage)

    telemetry.listener.items[taken] = Late(telemetry.tracer, taken)
    telemetry.listener.call_started(taken, "a")
    assert len(telemetry.named("a", status="cancelled")) == 1
    telemetry.assert_all_over()
