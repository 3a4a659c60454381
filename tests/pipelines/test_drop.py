"""``Drop``: items that a stage does not want."""

from __future__ import annotations

from typing import Any

import pytest
import reactivex
from pipeline_helpers import SCHEDULERS, WAYS, Seen, counts, noting, run_virtually, same, step

from rxpipe import Batch, Drop, Pipeline, Retry
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy


def even(value: int) -> int | Drop:
    return value if value % 2 == 0 else Drop("odd")


def refuse_odd(value: int) -> int:
    if value % 2:
        raise Drop("odd")
    return value


async def even_later(value: int) -> int | Drop:
    return even(value)


def observe(value: int) -> Any:
    return reactivex.of(even(value))


@pytest.mark.parametrize("call", [even, refuse_odd, even_later, observe])
@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_a_dropped_item_skips_the_later_stages(strategy: Strategy, scheduler: Scheduler, call: Any) -> None:
    """Returned or raised, it is no failure, and counted by stage and reason."""
    later: list[int] = []
    stages = step("a", call), step("b", noting(later))
    report = Pipeline(*stages, strategy=strategy, scheduler=scheduler).run(range(10))
    assert (counts(report), report.dropped, sorted(later)) == ((10, 5, 0, 0), 5, [0, 2, 4, 6, 8])
    assert [(one.stage, one.text, one.count) for one in report.drops] == [("a", "odd", 5)]
    assert [(one.done, one.dropped, one.failed, one.retried) for one in report.stages] == [(5, 5, 0, 0), (5, 0, 0, 0)]
    assert "5 dropped in a: odd" in str(report)


def test_the_outcome_tells_where_and_why() -> None:
    """With the value that the stage got."""
    seen = Seen()
    run_virtually(Pipeline(step("a", lambda value: value + 1), step("b", even)), [0], seen)
    (outcome,) = seen.outcomes
    assert (outcome.status, outcome.stage, outcome.value, str(outcome.error)) == ("dropped", "b", 1, "odd")


def test_no_other_call_follows() -> None:
    """Whatever the policy says."""
    calls: list[int] = []

    def drop(value: int) -> int:
        calls.append(value)
        raise Drop

    policy = Retry(max_attempts=5, initial=0, retry_on=lambda error: True)
    report = run_virtually(Pipeline(step("a", drop, retry=policy)), [1])
    assert (calls, report.dropped) == ([1], 1)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_in_a_batch_it_drops_its_item_alone(scheduler: Scheduler) -> None:
    """In place of a result."""
    stage = step("a", lambda values: [even(value) for value in values], batch=Batch(max_items=4, max_seconds=0))
    report = Pipeline(stage, step("b", same), scheduler=scheduler).run(range(10))
    assert (report.written, report.dropped, report.failed) == (5, 5, 0)


def test_raised_for_a_batch_it_drops_all() -> None:
    """They are not called with again."""
    calls: list[Any] = []

    def drop(values: list[int]) -> list[int]:
        calls.append(values)
        raise Drop("all")

    report = run_virtually(Pipeline(step("a", drop, batch=Batch(max_items=3, max_seconds=1))), range(3))
    assert (calls, report.dropped) == ([[0, 1, 2]], 3)
