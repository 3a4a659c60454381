"""What a run may cost: which calls are made, and which are not."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from pipeline_helpers import LIMIT, SCHEDULERS, Block, Seen, counts, finish, same

from rxpipe import Pipeline, Retry, Stage, Usage, record_usage
from rxpipe.errors import BudgetSpent
from rxpipe.operators.stages.settings import StageStats
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.budget import Budget
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.run.strategies import Strategy


def costing(cost: float, then: Callable[[Any], Any] = same) -> Callable[[Any], Any]:
    """A function whose calls cost so much."""

    def call(value: Any) -> Any:
        record_usage(Usage(cost=cost))
        return then(value)

    return call


def stage(cost: float, *, ended: int, running: int) -> StageStats:
    """A stage whose calls have cost so much in all."""
    return StageStats(started=ended + running, done=ended, usage=Usage(cost=cost))


def allows(limit: float, *stages: StageStats, place: int = 0, before: float = 0.0) -> bool:
    """Whether a call of a stage may be made, which is among those that run."""
    budget = Budget(limit, before)
    budget.watch(stages)
    try:
        budget.check(place)
    except BudgetSpent:
        return False
    return True


# Which calls are refused


@pytest.mark.parametrize(("limit", "allowed"), [(4.9, False), (5.0, True)])
def test_calls_that_run_are_expected_to_cost_what_others_did(limit: float, allowed: bool) -> None:
    """Two have cost 2 in all; three run, the new one included."""
    assert allows(limit, stage(2.0, ended=2, running=3)) is allowed


def test_calls_of_other_stages_count_too() -> None:
    """Each by the mean of its own."""
    assert allows(6.0, stage(1.0, ended=1, running=1), stage(2.0, ended=1, running=1))
    assert not allows(5.9, stage(1.0, ended=1, running=1), stage(2.0, ended=1, running=1))


def test_what_was_spent_before_counts_too() -> None:
    """As by earlier processes of the run."""
    assert not allows(5.0, stage(1.0, ended=1, running=1), before=4.0)
    assert allows(6.0, stage(1.0, ended=1, running=1), before=4.0)


def test_the_first_calls_are_made() -> None:
    """Nobody knows yet what they cost."""
    assert allows(0.01, stage(0.0, ended=0, running=50))


def test_the_first_calls_are_expected_to_cost_what_those_of_earlier_processes_did() -> None:
    """By their own stage's mean."""
    stage_a = StageStats(name="a", started=2)
    for limit, allowed in ((4.9, False), (5.0, True)):
        budget = Budget(limit, 3.0, {"a": 1.0, "b": 50.0})
        budget.watch([stage_a])
        with nullcontext() if allowed else pytest.raises(BudgetSpent):
            budget.check(0)


def test_the_first_calls_are_refused_when_all_is_spent() -> None:
    """As they might cost something."""
    assert not allows(5.0, stage(0.0, ended=0, running=1), before=5.0)


def test_stages_that_cost_nothing_go_on() -> None:
    """Though all is spent."""
    assert allows(5.0, stage(0.0, ended=1, running=1), stage(9.0, ended=1, running=0))


def test_calls_that_did_not_return_do_not_tell_that_a_stage_costs_nothing() -> None:
    """Its next call may."""
    assert not allows(5.0, StageStats(started=9, failed=3, pushed_back=5), before=5.0)


def test_calls_that_were_pushed_back_and_made_again_are_calls() -> None:
    """Most of them cost nothing, and so will most of those that run."""
    busy = StageStats(started=13, done=1, pushed_back=9, usage=Usage(cost=1.0))
    assert allows(1.3, busy)
    assert not allows(1.29, busy)


def test_an_error_says_what_to_do() -> None:
    """And pickles."""
    error = BudgetSpent(2.5, 2.4812345)
    assert str(error) == (
        "max_cost is 2.5, 2.481 were spent, and another call might exceed it: the same again with a higher one goes on"
    )
    again: Any = pickle.loads(pickle.dumps(error))
    assert (str(again), again.limit, again.spent) == (str(error), 2.5, 2.4812345)


# Runs


@pytest.mark.parametrize("limit", [0, -1.0, float("nan")])
def test_a_limit_is_above_0(limit: float) -> None:
    """Else nothing could be run."""
    with pytest.raises(ValueError, match="max_cost must be above 0, not"):
        Pipeline(Stage("a", same), max_cost=limit)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("strategy", ["per_stage", "per_item"])
def test_a_run_costs_no_more_than_it_may(strategy: Strategy, scheduler: Scheduler) -> None:
    """It takes no more of an endless source; what was made is written, what was not made is cancelled."""
    seen = Seen()
    stages = Stage("a", costing(0.25), concurrency=1), Stage("b", same)
    pipeline = Pipeline(*stages, strategy=strategy, scheduler=scheduler, concurrency=1, max_cost=2.0)
    run = spent(pipeline, seen)
    report = run.report()
    assert (report.written, report.usage.cost, report.failed) == (8, 2.0, 0)
    assert report.taken == report.written + report.cancelled
    assert set(seen.statuses.values()) == {"written", "cancelled"}
    assert [(one.done, one.failed) for one in report.stages] == [(8, 0), (8, 0)]
    refused = [outcome for outcome in seen.outcomes if outcome.status == "cancelled" and outcome.error is not None]
    assert refused
    assert {(outcome.stage, outcome.attempts) for outcome in refused} == {("a", 0)}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_staged_run_costs_no_more_than_it_may(scheduler: Scheduler) -> None:
    """What its first stage has spent is no more there for the second, which might cost something, too."""
    stages = Stage("a", costing(0.25), concurrency=1), Stage("b", same)
    run = spent(Pipeline(*stages, strategy="staged", scheduler=scheduler, max_cost=2.0), Seen())
    assert (run.usage.cost, run.failed, run.taken) == (2.0, 0, run.cancelled)


def spent(pipeline: Pipeline, seen: Seen) -> Run:
    """A run of an endless source, which ends when all is spent."""

    async def on_loop() -> Run:
        run = pipeline.start(itertools.count(), seen)
        with pytest.raises(BudgetSpent):
            await asyncio.wait_for(asyncio.wrap_future(run.finished), LIMIT)
        return run

    if pipeline.scheduler == "asyncio":
        return asyncio.run(on_loop())
    run = pipeline.start(itertools.count(), seen)
    with pytest.raises(BudgetSpent):
        finish(run)
    return run


def test_calls_in_flight_are_all_that_may_exceed_it() -> None:
    """Of four at once, all have begun before anybody knows what one costs."""
    block = Block()
    run = Pipeline(Stage("a", costing(1.0, block), concurrency=4), max_cost=0.5).start(itertools.count())
    block.wait_for(4)
    block.may_return.set()
    with pytest.raises(BudgetSpent):
        finish(run)
    assert (run.written, run.usage.cost) == (4, 4.0)


def test_items_finish_in_stages_that_cost_nothing() -> None:
    """Once one has been called."""
    calls: list[int] = []
    run = Pipeline(Stage("a", costing(1.0), concurrency=1), Stage("b", calls.append), max_cost=3.0).start(range(10))
    with pytest.raises(BudgetSpent):
        finish(run)
    assert calls == [0, 1, 2]
    assert run.written == 3


def test_another_attempt_is_a_call_too() -> None:
    """The item is given back, not failed: its next attempt is still to be made."""

    def fails(value: int) -> int:
        record_usage(Usage(cost=1.0))
        raise ValueError

    seen = Seen()
    retry = Retry(max_attempts=5, initial=0.001, max_delay=0.001)
    run = Pipeline(Stage("a", fails, concurrency=1, retry=retry), max_cost=3.0).start([1], seen)
    with pytest.raises(BudgetSpent):
        finish(run)
    assert (counts(run), run.usage.cost) == ((1, 0, 0, 1), 3.0)
    assert [(outcome.status, outcome.attempts) for outcome in seen.outcomes] == [("cancelled", 3)]


def test_without_a_limit_everything_is_called() -> None:
    """Whatever it costs."""
    report = Pipeline(Stage("a", costing(1e9))).run(range(20))
    assert (counts(report), report.usage.cost) == ((20, 20, 0, 0), 20e9)


def test_stages_ask_at_the_same_time() -> None:
    """Four of them, with four calls each: what is spent in the end is what was allowed, or a few calls more."""
    ready = threading.Barrier(4)

    def first(value: int) -> int:
        if value < 4:
            ready.wait(LIMIT)
        record_usage(Usage(cost=0.01))
        return value

    stages = [Stage(f"s{place}", costing(0.01) if place else first, concurrency=4) for place in range(4)]
    run = Pipeline(*stages, max_cost=1.0).start(itertools.count())
    with pytest.raises(BudgetSpent):
        finish(run)
    assert run.usage.cost == pytest.approx(1.0, abs=0.04 * 4)
    assert run.taken == run.written + run.cancelled
