"""Figures of a run."""

from __future__ import annotations

import pytest
from pipeline_helpers import SCHEDULERS, Seen, counts, lasting, run_virtually, same, virtual

from rxpipe import Pipeline, Stage, Usage, record_usage
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy


def test_figures_are_of_the_time_that_the_run_goes_by() -> None:
    """Forty items; calls take 3 s in two slots, then 1 s in two."""
    stages = Stage("a", lasting(3), concurrency=2), Stage("b", lasting(1), concurrency=2)
    report = run_virtually(Pipeline(*stages), range(40))
    assert (report.seconds, report.first_seconds) == (61.0, 4.0)
    a, b = report.stages
    assert (a.busy_seconds, b.busy_seconds) == (120.0, 40.0)
    assert (a.utilization, b.utilization) == (120 / 122, 40 / 122)
    assert report.bottleneck == "a"
    assert report.advice is not None
    assert report.advice.sentence == "a holds the others up: 2 slots, 98% busy; 6 would give up to +200%, then b does"


def test_nothing_is_named_where_two_are_too_close_to_call() -> None:
    """The sentence has the names of both."""
    stages = Stage("a", lasting(1), concurrency=2), Stage("b", lasting(1), concurrency=2)
    report = run_virtually(Pipeline(*stages), range(400))
    assert report.advice is not None
    assert "too close to call" in report.advice.sentence
    assert {report.advice.name, report.advice.other} == {"a", "b"}
    assert report.bottleneck is None


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_calls_used_is_added_up(scheduler: Scheduler) -> None:
    """By stage and in all, also of calls that failed; and calls that were pushed back are told apart."""
    busy = [True, True]

    class Busy(Exception):
        uses_attempt = False
        retry_after = 0

    def call(value: int) -> int:
        record_usage(Usage(prompt_tokens=10))
        record_usage(Usage(completion_tokens=1, cost=0.5))
        if value == 1:
            raise ValueError
        if busy:
            busy.pop()
            raise Busy
        return value

    report = Pipeline(Stage("a", call, concurrency=1), Stage("b", same), scheduler=scheduler).run([0, 1])
    assert counts(report) == (2, 1, 1, 0)
    assert report.usage == Usage(prompt_tokens=40, completion_tokens=4, cost=2.0)
    assert report.usage_before == Usage()
    assert [(stage.usage, stage.pushed_back) for stage in report.stages] == [(report.usage, 2), (Usage(), 0)]


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
