"""Runs that a stage's function stops: no more is taken, what cannot go on is given back, the rest finishes."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from typing import Any

import pytest
from pipeline_helpers import LIMIT, STRATEGIES, WAYS, Block, Ids, Seen, counts, finish, same, until

from rxpipe import Pipeline, Retry, Stage, StopRun
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.run.strategies import Strategy


def stopping(*values: Any) -> Any:
    """A function that stops the run when it is called with one of these; with any, if there are none."""

    def call(value: Any) -> Any:
        if not values or value in values:
            raise StopRun("no credit is left")
        return value

    return call


def halted(pipeline: Pipeline, source: Any, seen: Seen) -> Run:
    """A run that a stage stops."""

    async def on_loop() -> Run:
        run = pipeline.start(source, seen)
        with pytest.raises(StopRun, match="no credit"):
            await asyncio.wait_for(asyncio.wrap_future(run.finished), LIMIT)
        return run

    if pipeline.scheduler == "asyncio":
        return asyncio.run(on_loop())
    run = pipeline.start(source, seen)
    with pytest.raises(StopRun, match="no credit"):
        finish(run)
    return run


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
@pytest.mark.parametrize("place", [0, 1])
def test_every_call_stops_the_run(place: int, strategy: Strategy, scheduler: Scheduler) -> None:
    """It ends, soon, though its source does not; nothing has failed."""
    seen = Seen()
    calls = [same, same]
    calls[place] = stopping()
    stages = [Stage(name, call, concurrency=2) for name, call in zip("ab", calls, strict=True)]
    ids = Ids(30) if strategy == "staged" else itertools.count()
    run = halted(Pipeline(*stages, strategy=strategy, scheduler=scheduler), ids, seen)
    assert counts(run) == (run.taken, 0, 0, run.taken)
    assert set(seen.statuses.values()) == {"cancelled"}
    assert len(seen.outcomes) == run.taken
    assert isinstance(seen.error, StopRun)
    assert [(stage.failed, stage.running, stage.waiting) for stage in run.stages] == [(0, 0, 0)] * 2


def whatever(error: BaseException) -> bool:
    return True


@pytest.mark.parametrize("retry_on", [Exception, StopRun, "error", whatever], ids=["class", "stop", "kind", "callable"])
def test_a_call_that_stops_the_run_is_not_made_again(retry_on: Any) -> None:
    """Whatever is to be tried again."""
    made: list[int] = []

    def call(value: int) -> int:
        made.append(value)
        raise StopRun("no credit is left")

    stage = Stage("a", call, retry=Retry(max_attempts=5, initial=0, retry_on=retry_on))
    run = halted(Pipeline(stage), [7], Seen())
    assert made == [7]
    assert (run.cancelled, run.stages[0].retried) == (1, 0)


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_one_call_stops_the_run(strategy: Strategy, scheduler: Scheduler) -> None:
    """Its stage is called no more, and what is behind it is written."""
    seen = Seen()
    pipeline = Pipeline(Stage("a", stopping(5)), Stage("b", same), strategy=strategy, scheduler=scheduler)
    run = halted(pipeline, itertools.count(), seen)
    assert (run.failed, run.written) == (0, run.taken - run.cancelled)
    assert run.taken > 5
    cancelled = [outcome for outcome in seen.outcomes if outcome.status == "cancelled"]
    assert 5 in [outcome.id for outcome in cancelled]
    assert {outcome.stage for outcome in cancelled} == {"a"}
    assert {id for id, status in seen.statuses.items() if status == "written"} >= set(range(3))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_stages_stop_the_run_at_once(strategy: Strategy) -> None:
    """It ends with one of their errors, once."""
    together = threading.Barrier(2)
    stopped = Counter[str]()

    def stop_at(name: str, item: int) -> Any:
        def call(value: int) -> int:
            if value == item and strategy != "staged":
                together.wait(LIMIT)
            if value == item:
                stopped[name] += 1
                raise StopRun("no credit is left")
            return value

        return call

    seen = Seen()
    stages = Stage("a", stop_at("a", 1), concurrency=2), Stage("b", stop_at("b", 0), concurrency=2)
    run = halted(Pipeline(*stages, strategy=strategy, concurrency=2), Ids(10), seen)
    assert stopped == {"a": 1, "b": 1}
    assert run.failed == 0
    assert run.cancelled >= 2
    assert run.taken == run.written + run.cancelled


def test_nothing_is_taken_when_a_call_has_stopped_the_run() -> None:
    """Also where an item does not leave the stages before all have been through the first, as with staged."""
    calls: list[int] = []

    def call(value: int) -> int:
        calls.append(value)
        raise StopRun("no credit is left")

    pipeline = Pipeline(Stage("a", call, concurrency=1, queue_size=2), Stage("b", same), strategy="staged")
    halted(pipeline, itertools.count(), Seen())
    assert len(calls) == 1


def test_of_items_with_one_id_the_right_one_is_given_back() -> None:
    """One of them is written meanwhile."""
    calls = itertools.count()
    block = Block()
    runs: list[Run] = []

    def call(value: str) -> Any:
        number = next(calls)
        if number == 0:
            until(lambda: bool(runs) and runs[0].stages[0].started == 2)
            raise StopRun("no credit is left")
        return number

    seen = Seen()
    runs.append(Pipeline(Stage("a", call, concurrency=2), Stage("b", block)).start(["x", "x"], seen))
    block.wait_for(1)
    block.may_return.set()
    with pytest.raises(StopRun):
        finish(runs[0])
    assert [(outcome.status, outcome.value) for outcome in seen.outcomes] == [("written", 1), ("cancelled", "x")]


def test_a_run_that_is_aborted_meanwhile_ends() -> None:
    """Items that were given back are counted once."""
    block = Block(only=[1])

    def call(value: int) -> Any:
        if value == 0:
            block.wait_for(1)
            raise StopRun("no credit is left")
        return block(value)

    seen = Seen()
    run = Pipeline(Stage("a", call, concurrency=2)).start([0, 1], seen)
    until(lambda: run.stages[0].cancelled == 1)
    run.abort()
    with pytest.raises(StopRun):
        finish(run)
    block.may_return.set()
    assert counts(run) == (2, 0, 0, 2)
    assert sorted(seen.ids) == [0, 1]
