from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any

import pytest
import reactivex
from pipeline_helpers import (
    LIMIT,
    SCHEDULERS,
    STRATEGIES,
    Block,
    Ids,
    ListSink,
    Seen,
    SlowSink,
    counts,
    finish,
    same,
    until,
)
from reactivex import operators as rx_ops
from reactivex.subject import Subject

from rxpipe import Pipeline, Stage
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.run.strategies import Strategy

# Stopping: no more IDs are taken, and what was taken finishes


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_stop_lets_what_was_taken_finish(strategy: Strategy) -> None:
    """And takes no more of an endless source."""
    ids: Subject[int] = Subject()
    block, seen = Block(), Seen()
    run = Pipeline(Stage("a", block), Stage("b", same), strategy=strategy).start(ids, seen)
    for number in range(3):
        ids.on_next(number)
    block.wait_for(3)
    run.stop()
    ids.on_next(3)
    block.may_return.set()
    assert counts(finish(run)) == (3, 3, 0, 0)
    assert seen.statuses == dict.fromkeys(range(3), "written")
    assert seen.completed


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_stop_ends_an_endless_source(strategy: Strategy) -> None:
    """Also where nothing would be written before its end."""
    begun = threading.Event()

    def call(value: int) -> int:
        begun.set()
        return value

    run = Pipeline(Stage("a", call), strategy=strategy).start(itertools.count())
    assert begun.wait(LIMIT)
    run.stop()
    report = finish(run)
    assert report.written == report.taken > 0


@pytest.mark.parametrize("end", [Run.stop, Run.abort])
def test_a_run_may_end_before_anything_was_taken(end: Callable[[Run], None]) -> None:
    """As where the source has nothing yet."""
    seen = Seen()
    run = Pipeline(Stage("a", same), sink=ListSink()).start(reactivex.never(), seen)
    end(run)
    assert counts(finish(run)) == (0, 0, 0, 0)
    assert seen.completed


@pytest.mark.parametrize("end", [Run.stop, Run.abort])
def test_ending_a_run_that_is_over_does_nothing(end: Callable[[Run], None]) -> None:
    """As a late Ctrl-C does."""
    run = Pipeline(Stage("a", same)).start([1])
    report = finish(run)
    end(run)
    end(run)
    assert run.report() == report


def test_ids_that_a_source_pushed_but_that_were_not_taken_are_no_part_of_the_run() -> None:
    """They queue before it."""
    block = Block()
    run = Pipeline(Stage("a", block, concurrency=1, queue_size=0)).start(reactivex.of(*range(50)))
    block.wait_for(1)
    run.stop()
    block.may_return.set()
    assert counts(finish(run)) == (1, 1, 0, 0)


# Aborting: calls are cancelled, and what is finished is written


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_abort_cancels_calls_and_what_waits(strategy: Strategy) -> None:
    """Each is told as cancelled, with the stage where it was."""
    block, seen = Block(), Seen()
    run = Pipeline(Stage("a", block, concurrency=2, queue_size=3), strategy=strategy, concurrency=2).start(
        Ids(100), seen
    )
    block.wait_for(2)
    run.abort()
    report = finish(run)
    block.may_return.set()
    assert report.cancelled == report.taken >= 2
    assert set(seen.statuses.values()) == {"cancelled"}
    assert sorted((outcome.stage, outcome.attempts) for outcome in seen.outcomes if outcome.stage) == [("a", 1)] * 2
    assert seen.completed


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_abort_still_writes_what_is_finished(strategy: Strategy) -> None:
    """Finished calls are paid for; failed ones are worth knowing about."""
    sink, block = ListSink(), Block(only=[2, 3])

    def call(value: int) -> int:
        if value == 1:
            raise ValueError
        return value

    stages = Stage("a", call, concurrency=1), Stage("b", block, concurrency=1)
    run = Pipeline(*stages, sink=sink, strategy=strategy).start([0, 1, 2, 3])
    until(lambda: (run.stages[0].ended, run.stages[1].done) == (4, 1))
    block.wait_for(1)
    run.abort()
    assert counts(finish(run)) == (4, 1, 1, 2)
    block.may_return.set()
    assert {row.id: row.status for row in sink.rows} == {0: "written", 1: "failed"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_abort_writes_what_a_stage_holds_back_for_a_slow_sink(strategy: Strategy) -> None:
    """The last stage has finished it, and only waited for room."""
    sink, seen = SlowSink(), Seen()
    run = Pipeline(Stage("a", same, concurrency=4, queue_size=0), sink=sink, strategy=strategy, concurrency=6).start(
        Ids(6), seen
    )
    assert sink.is_at_work.wait(LIMIT)
    until(lambda: run.stages[0].done == 6 and run.taken == 6)
    run.abort()
    sink.may_go_on.set()
    assert counts(finish(run)) == (6, 6, 0, 0)
    assert sorted(sink.ids) == list(range(6))


def test_what_is_cancelled_has_the_value_that_it_had_become() -> None:
    """Which may be worth keeping."""
    block, seen = Block(), Seen()
    run = Pipeline(Stage("a", lambda value: value + 100), Stage("b", block)).start([1], seen)
    block.wait_for(1)
    run.abort()
    finish(run)
    block.may_return.set()
    (outcome,) = seen.outcomes
    assert (outcome.status, outcome.value, outcome.stage, outcome.attempts) == ("cancelled", 101, "b", 2)


def test_of_items_with_one_id_the_right_one_is_cancelled() -> None:
    """They may overtake each other."""
    block, seen = Block(), Seen()
    calls = itertools.count()

    def call(value: str) -> Any:
        number = next(calls)
        return block(number) if number == 0 else number

    run = Pipeline(Stage("a", call)).start(["x", "x"], seen)
    seen.wait_for(1)
    run.abort()
    finish(run)
    block.may_return.set()
    assert [(outcome.status, outcome.value) for outcome in seen.outcomes] == [("written", 1), ("cancelled", "x")]


@pytest.mark.parametrize("end", [Run.stop, Run.abort])
def test_a_run_may_be_ended_by_several_threads_at_once(end: Callable[[Run], None]) -> None:
    """The counts add up."""
    seen = Seen()
    run = Pipeline(Stage("a", same), Stage("b", same)).start(itertools.count(), seen)
    seen.wait_for(20)
    barrier = threading.Barrier(4)

    def end_it() -> None:
        barrier.wait(LIMIT)
        end(run)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(end_it) for _ in range(4)]:
            future.result(LIMIT)
    report = finish(run)
    assert report.taken == report.written + report.failed + report.cancelled == len(seen.outcomes)
    assert seen.broken == []


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("end", [Run.stop, Run.abort])
@pytest.mark.parametrize("where", ["call", "observer"])
def test_a_run_may_be_ended_from_inside(where: str, end: Callable[[Run], None], scheduler: Scheduler) -> None:
    """By a stage's function, or by who observes the outcomes."""
    runs: list[Run] = []
    started = threading.Event()

    def maybe_end(value: Any) -> Any:
        assert started.wait(LIMIT)
        if value == 5:
            end(runs[0])
        return value

    def call(value: int) -> int:
        return int(maybe_end(value)) if where == "call" else value

    seen = Seen((lambda outcome: maybe_end(outcome.id)) if where == "observer" else None)

    async def main() -> None:
        runs.append(Pipeline(Stage("a", call), scheduler=scheduler).start(itertools.count(), seen))
        started.set()
        await asyncio.wait_for(asyncio.wrap_future(runs[0].finished), LIMIT)

    asyncio.run(main())
    report = runs[0].report()
    assert report.taken == report.written + report.cancelled == len(seen.outcomes)
    assert seen.completed
    assert seen.broken == []


# Disposing: everything ends at once, and nothing is notified


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_after_a_dispose_nothing_is_notified(strategy: Strategy) -> None:
    """And the counts add up all the same."""
    block, seen = Block(), Seen()
    run = Pipeline(Stage("a", block, concurrency=2), strategy=strategy, concurrency=2).start(Ids(10), seen)
    block.wait_for(2)
    run.subscription.dispose()
    block.may_return.set()
    with pytest.raises(CancelledError):
        finish(run)
    assert run.cancelled == run.taken >= 2
    assert run.in_flight == 0
    assert (seen.outcomes, seen.ended.is_set()) == ([], False)


def test_an_observer_may_dispose_of_the_run_at_its_end() -> None:
    """As reactivex does; the report is there nevertheless."""
    runs: list[Run] = []
    started = threading.Event()
    seen = Seen(lambda _: started.wait(LIMIT))
    seen.on_completed = lambda: runs[0].subscription.dispose()  # type: ignore[method-assign]
    runs.append(Pipeline(Stage("a", same)).start([1], seen))
    started.set()
    assert counts(finish(runs[0])) == (1, 1, 0, 0)


def test_disposing_of_a_subscription_to_outcomes_ends_its_run() -> None:
    """``take`` does so."""
    ids = Ids(1000)
    taken: list[Any] = []
    over = threading.Event()
    outcomes = Pipeline(Stage("a", same)).outcomes(ids)
    outcomes.pipe(rx_ops.take(3)).subscribe(taken.append, None, over.set)
    assert over.wait(LIMIT)
    assert len(taken) == 3
    assert ids.given < 100


# Waiting for it


def test_who_waits_for_a_run_cannot_cancel_it_by_giving_up() -> None:
    """The run goes on, and ends."""

    async def main() -> None:
        block, seen = Block(), Seen()
        run = Pipeline(Stage("a", block)).start([1], seen)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(run.finished), 0)
        block.may_return.set()
        await asyncio.to_thread(seen.ended.wait, LIMIT)
        assert counts(run) == (1, 1, 0, 0)

    asyncio.run(main())


@pytest.mark.parametrize("ask", ["result", "exception"])
def test_waiting_for_a_run_on_its_own_loop_is_refused(ask: str) -> None:
    """It would never end, as the run is notified there; what to write instead is said, and works."""
    block = Block()

    async def main() -> None:
        run = Pipeline(Stage("a", block)).start(range(3))
        with pytest.raises(RuntimeError, match=r"await run_async\(ids\), or await asyncio\.wrap_future\(run\.finished"):
            getattr(run.finished, ask)()
        block.may_return.set()
        assert (await asyncio.wrap_future(run.finished)).written == 3
        assert run.finished.result().written == 3  # it is over: nothing blocks

    asyncio.run(main())


def test_waiting_for_a_run_of_another_thread_on_a_loop() -> None:
    """That run goes on without this loop, so a program may block it."""

    async def main() -> None:
        run = await asyncio.to_thread(Pipeline(Stage("a", same)).start, range(3))
        assert run.finished.result(LIMIT).written == 3

    asyncio.run(main())


def test_a_run_that_was_refused_to_be_waited_for_leaves_nothing() -> None:
    """The program ends with that error, and its loop while the run goes on."""
    block = Block()

    async def main() -> None:
        Pipeline(Stage("a", block)).start(range(3)).finished.result()

    with pytest.raises(RuntimeError, match="an event loop is running on this thread"):
        asyncio.run(main())
    block.may_return.set()
