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
    lasting,
    run_virtually,
    same,
    until,
    virtual,
)
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.subject import Subject

from rxpipe import Outcome, Pipeline, SinkError, Stage
from rxpipe.pipeline import Scheduler
from rxpipe.run import Run, Write
from rxpipe.strategies import Strategy

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
        return maybe_end(value) if where == "call" else same(value)

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


# What observers raise


@pytest.mark.parametrize("raised", [ValueError("observer"), KeyboardInterrupt("observer")])
def test_an_observer_that_raises_ends_the_run(raised: BaseException) -> None:
    """It is told no more but the end, what is finished is written, and the run fails with that."""
    sink = ListSink()

    def on_next(outcome: Outcome[Any]) -> None:
        raise raised

    seen = Seen(on_next)
    run = Pipeline(Stage("a", same), sink=sink).start(Ids(1000), seen)
    with pytest.raises(Exception, match="observer"):
        finish(run)
    report = run.report()
    assert report.taken == report.written + report.cancelled < 1000
    assert len(sink.rows) == report.written
    assert len(seen.outcomes) == 1
    assert seen.error is run.finished.exception()


def test_an_observer_that_raises_at_what_was_cancelled_does_not_hide_the_end() -> None:
    """The run ends all the same."""
    block = Block()

    def on_next(outcome: Outcome[Any]) -> None:
        raise ValueError("observer")

    run = Pipeline(Stage("a", block)).start([1, 2], Seen(on_next))
    block.wait_for(2)
    run.abort()
    with pytest.raises(ValueError, match="observer"):
        finish(run)
    block.may_return.set()
    assert counts(run) == (2, 0, 0, 2)


def test_a_subscriber_to_outcomes_that_raises_is_told_so() -> None:
    """By its own ``on_error``."""
    errors: list[Exception] = []
    over = threading.Event()

    def on_error(error: Exception) -> None:
        errors.append(error)
        over.set()

    Pipeline(Stage("a", same)).outcomes(range(100)).subscribe(lambda outcome: 1 / outcome.id, on_error)
    assert over.wait(LIMIT)
    assert repr(errors) == "[ZeroDivisionError('division by zero')]"


# Sinks of the user's own


class SinkOf:
    def __init__(self, write: Write) -> None:
        self._write = write

    def open(self) -> Write:
        return self._write


def test_a_sink_that_fails_in_the_middle_ends_the_run() -> None:
    """What it had kept was written, and the rest is accounted for."""
    sink, seen = ListSink(poison=5), Seen()
    run = Pipeline(Stage("a", same, concurrency=1), sink=sink).start(Ids(100), seen)
    with pytest.raises(OSError, match="the list is full"):
        finish(run)
    report = run.report()
    assert (report.written, sink.ids) == (5, [0, 1, 2, 3, 4])
    assert report.taken == report.written + report.cancelled == len(seen.outcomes)
    assert seen.error is run.finished.exception()


def test_a_failure_of_the_sink_is_told_before_that_of_the_source() -> None:
    """Which stays visible as its context."""
    run = Pipeline(Stage("a", same), sink=ListSink(poison=1)).start(
        reactivex.concat(reactivex.of(1), reactivex.throw(LookupError("source")))
    )
    with pytest.raises(OSError, match="full") as caught:
        finish(run)
    assert repr(caught.value.__context__) in ("LookupError('source')", "None")


def test_a_sink_may_drop_outcomes() -> None:
    """They count as cancelled: nobody said that they are safe."""
    sink = SinkOf(rx_ops.filter(lambda outcome: outcome.id % 2 == 0))
    assert counts(Pipeline(Stage("a", same), sink=sink).run(range(10))) == (10, 5, 0, 5)


def test_a_sink_may_say_that_an_item_was_cancelled() -> None:
    """It is counted so."""

    def cancel(outcome: Outcome[Any]) -> Outcome[Any]:
        return Outcome(id=outcome.id, status="cancelled", value=1, error=None, stage=None, attempts=1, seconds=0.0)

    assert counts(Pipeline(Stage("a", same), sink=SinkOf(rx_ops.map(cancel))).run(range(3))) == (3, 0, 0, 3)


def test_a_sink_that_completes_early_ends_the_run() -> None:
    """What is on its way was cancelled."""
    report = Pipeline(Stage("a", same), sink=SinkOf(rx_ops.take(2))).run(Ids(100))
    assert report.written == 2
    assert report.taken == 2 + report.cancelled < 100


def test_a_sink_that_gives_back_what_it_was_not_given_fails_the_run() -> None:
    """It would count twice."""

    def twice(outcomes: Observable[Outcome[Any]]) -> Observable[Outcome[Any]]:
        return outcomes.pipe(rx_ops.flat_map(lambda outcome: reactivex.of(outcome, outcome)))

    with pytest.raises(SinkError, match="an outcome that it was not given: 1"):
        Pipeline(Stage("a", same), sink=SinkOf(twice)).run([1])


def test_a_sink_gets_everything_before_it_is_told_of_the_end() -> None:
    """It completes, also where the source has failed: an operator that collects need not know of errors."""
    sink = SinkOf(lambda outcomes: outcomes.pipe(rx_ops.to_list(), rx_ops.flat_map(reactivex.from_iterable)))
    run = Pipeline(Stage("a", same), sink=sink).start(
        reactivex.concat(reactivex.of(1, 2), reactivex.throw(LookupError("source")))
    )
    with pytest.raises(LookupError, match="source"):
        finish(run)
    assert counts(run) == (2, 2, 0, 0)


# Figures


def test_figures_are_of_the_time_that_the_run_goes_by() -> None:
    """Four items; calls take 3 s in two slots, then 1 s in two."""
    stages = Stage("a", lasting(3), concurrency=2), Stage("b", lasting(1), concurrency=2)
    report = run_virtually(Pipeline(*stages), range(4))
    assert (report.seconds, report.first_seconds) == (7.0, 4.0)
    a, b = report.stages
    assert (a.busy_seconds, b.busy_seconds) == (12.0, 4.0)
    assert (a.utilization, b.utilization) == (12 / 14, 4 / 14)
    assert report.bottleneck == "a"


def test_an_outcome_tells_how_long_its_item_took() -> None:
    """From being taken: two wait for those before them."""
    seen = Seen()
    run_virtually(Pipeline(Stage("a", lasting(3), concurrency=2)), range(4), seen)
    assert {outcome.id: outcome.seconds for outcome in seen.outcomes} == {0: 3.0, 1: 3.0, 2: 6.0, 3: 6.0}


@pytest.mark.parametrize(
    ("strategy", "most"),
    [("per_stage", 2 + 3 + 2 + 3), ("per_item", 4), ("staged", 20)],
)
def test_the_most_items_in_flight_are_counted(strategy: Strategy, most: int) -> None:
    """Those being called and those that wait; with ``staged``, all."""
    stages = [Stage(name, lasting(seconds), concurrency=2, queue_size=3) for name, seconds in (("a", 1), ("b", 9))]
    report = run_virtually(Pipeline(*stages, strategy=strategy, concurrency=4), range(20))
    assert report.most_in_flight == most


def test_counts_are_live() -> None:
    """While the run lasts."""
    run, scheduler = virtual(Pipeline(Stage("a", lasting(3), concurrency=1, queue_size=0)), range(3))
    scheduler.advance_to(4.0)
    assert counts(run) == (2, 1, 0, 0)
    assert (run.in_flight, run.seconds, run.stages[0].running) == (1, 4.0, 1)
    scheduler.start()
    assert counts(run) == (3, 3, 0, 0)
    assert (run.in_flight, run.seconds) == (0, 9.0)


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
