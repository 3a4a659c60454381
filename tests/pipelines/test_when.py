"""``when``: items that pass a stage."""

from __future__ import annotations

from typing import Any

import pytest
from pipeline_helpers import WAYS, Seen, counts, noting, run_virtually, same, step

from rxpipe import Batch, Drop, Pipeline
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy


def is_odd(value: int) -> bool:
    return value % 2 == 1


def is_even(value: int) -> bool:
    return not is_odd(value)


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_two_stages_with_opposite_predicates_are_a_branch(strategy: Strategy, scheduler: Scheduler) -> None:
    """Each item goes through one of them."""
    seen: list[Any] = []
    stages = (
        step("odd", lambda value: value + 100, when=is_odd),
        step("even", lambda value: value + 200, when=is_even),  # 101 passes it
        step("all", noting(seen)),
    )
    report = Pipeline(*stages, strategy=strategy, scheduler=scheduler).run(range(4))
    assert sorted(seen) == [101, 103, 200, 202]
    assert [one.done for one in report.stages] == [2, 2, 4]


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_what_it_raises_fails_the_item(error: BaseException) -> None:
    """In that stage, without a call; the others go on."""

    def fails(value: int) -> bool:
        if value == 1:
            raise error
        return True

    seen, calls = Seen(), list[int]()
    stage = step("a", noting(calls), when=fails)
    report = run_virtually(Pipeline(stage, step("b", same)), range(3), seen)
    failed = next(one for one in seen.outcomes if one.status == "failed")
    assert (failed.id, failed.error, failed.stage, failed.attempts) == (1, error, "a", 0)
    assert (counts(report), calls, report.stages[0].failed) == ((3, 2, 1, 0), [0, 2], 1)


def test_it_may_drop() -> None:
    """By raising that."""

    def unwanted(value: int) -> bool:
        raise Drop("unwanted")

    assert run_virtually(Pipeline(step("a", same, when=unwanted)), range(3)).dropped == 3


def test_it_is_not_asked_about_what_has_failed() -> None:
    """Such items skip the stage anyway."""
    asked: list[int] = []

    def fail(value: int) -> int:
        if value == 1:
            raise OSError
        return value

    run_virtually(Pipeline(step("a", fail), step("b", same, when=asked.append)), range(3))
    assert asked == [0, 2]


def test_the_last_stage_may_be_passed() -> None:
    """The item is written with what it is."""
    seen = Seen()
    run_virtually(Pipeline(step("a", lambda value: -value, when=is_odd)), [1, 2], seen)
    assert {one.id: (one.status, one.value) for one in seen.outcomes} == {1: ("written", -1), 2: ("written", 2)}


def test_a_batch_is_made_of_those_for_which_it_is_true() -> None:
    """The others wait for nobody."""
    calls: list[Any] = []
    seen = Seen()
    stage = step("a", noting(calls), when=is_odd, batch=Batch(max_seconds=5))
    run_virtually(Pipeline(stage), range(6), seen)
    assert calls == [[1, 3, 5]]
    assert seen.ids[:3] == [0, 2, 4]
