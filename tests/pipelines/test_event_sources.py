"""Sources of events, as the guide to event-driven apps shows them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import reactivex
from pipeline_helpers import LIMIT, SCHEDULERS, Block, Seen, counts, finish, lasting, same, until, virtual
from reactivex import operators as rx_ops
from reactivex.subject import Subject

from rxpipe import Pipeline, Stage
from rxpipe import operators as ops
from rxpipe.pipeline.plan import Scheduler


def test_callbacks_from_several_threads() -> None:
    """What is pushed ends or is dropped."""
    questions: Subject[int] = Subject()
    dropped: list[int] = []
    seen = Seen()
    pipeline = Pipeline(Stage("same", same, concurrency=2))
    run = pipeline.start(questions.pipe(ops.overflow("drop_oldest", 10, on_drop=dropped.append)), seen)

    def push(first: int) -> None:
        for number in range(first, first + 250):
            questions.on_next(number)

    threads = [threading.Thread(target=push, args=(first,)) for first in range(0, 1000, 250)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    questions.on_completed()
    finish(run)
    assert sorted(seen.ids + dropped) == list(range(1000))


def test_a_clock_that_is_faster_than_the_work() -> None:
    """A tick that comes while one is at work and another waits is dropped."""
    ticks = reactivex.interval(1).pipe(rx_ops.take(10), rx_ops.map(lambda n: f"report-{n}"))
    seen = Seen()
    pipeline = Pipeline(Stage("report", lasting(4.5), concurrency=1, queue_size=0))
    run, scheduler = virtual(pipeline, ticks.pipe(ops.overflow("drop_newest", 1)), seen)
    scheduler.start()
    assert run.finished.done()
    assert seen.ids[0] == "report-0"
    assert 3 <= len(seen.ids) <= 5


def test_merged_sources() -> None:
    """They end when all have."""
    one: Subject[int] = Subject()
    other: Subject[int] = Subject()
    seen = Seen()
    run = Pipeline(Stage("same", same)).start(reactivex.merge(one, other).pipe(ops.overflow("drop_newest", 100)), seen)
    for number in range(20):
        (one if number % 2 else other).on_next(number)
    one.on_completed()
    assert not run.finished.done()
    other.on_completed()
    assert counts(finish(run)) == (20, 20, 0, 0)
    assert sorted(seen.ids) == list(range(20))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_asyncio_queue_holds_back_who_fills_it(scheduler: Scheduler) -> None:
    """Nothing is dropped, and nothing is taken for which there is no room."""
    block = Block()
    queue: asyncio.Queue[int | None] = asyncio.Queue(maxsize=5)
    put = 0

    async def from_queue() -> AsyncIterator[int]:
        while (question_id := await queue.get()) is not None:
            yield question_id

    async def fill() -> None:
        nonlocal put
        for number in range(50):
            await queue.put(number)
            put += 1
        await queue.put(None)

    async def main() -> None:
        pipeline = Pipeline(Stage("block", block, concurrency=2, queue_size=3), scheduler=scheduler)
        filling = asyncio.create_task(fill())
        running = asyncio.create_task(pipeline.run_async(from_queue()))
        await asyncio.to_thread(block.wait_for, 2)
        await asyncio.to_thread(until, queue.full)
        assert put <= 5 + 5 + 3  # in the queue, in the stage, and on the way between
        block.may_return.set()
        assert counts(await running) == (50, 50, 0, 0)
        await filling

    asyncio.run(asyncio.wait_for(main(), LIMIT))


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "error"])
def test_what_waits_when_a_run_is_stopped_is_dropped_and_counted(policy: Any) -> None:
    """What was pushed is what was taken, what was dropped, and at most one that was on its way between."""
    questions: Subject[int] = Subject()
    dropped: list[int] = []
    block = Block()
    pipeline = Pipeline(Stage("block", block, concurrency=1, queue_size=1))
    run = pipeline.start(questions.pipe(ops.overflow(policy, 20, on_drop=dropped.append)))
    for number in range(20):
        questions.on_next(number)
    block.wait_for(1)
    run.stop()
    block.may_return.set()
    taken = finish(run).taken
    assert len(dropped) == len(set(dropped))
    assert 19 <= taken + len(dropped) <= 20


def test_a_source_without_an_end_is_stopped() -> None:
    """What it had given ends."""
    questions: Subject[Any] = Subject()
    run = Pipeline(Stage("same", same)).start(questions.pipe(ops.overflow("error", 10)))
    questions.on_next(1)
    until(lambda: run.written == 1)
    run.stop()
    assert counts(finish(run)) == (1, 1, 0, 0)
    questions.on_next(2)
