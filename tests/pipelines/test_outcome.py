from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from reactivex import operators as rx_ops

from rxpipe import CommonError, Outcome, Pipeline, Record, Report, Stage, StageReport, Usage
from rxpipe.insight.advice import Advice


def stage_report(name: str, utilization: float) -> StageReport:
    return StageReport(
        name=name,
        concurrency=1,
        done=0,
        failed=0,
        retried=0,
        abandoned=0,
        busy_seconds=0.0,
        utilization=utilization,
    )


def report(*stages: StageReport) -> Report:
    return Report(
        taken=0,
        written=0,
        failed=0,
        cancelled=0,
        seconds=0.0,
        first_seconds=None,
        most_in_flight=0,
        stages=stages,
    )


def test_the_bottleneck_is_what_the_advice_is_about() -> None:
    """A stage, or a limit, the sink or the source."""
    advice = Advice(sentence="the limit of main calls holds the others up", kind="limiter", name="main calls")
    assert replace(report(stage_report("a", 0.9)), advice=advice).bottleneck == "main calls"


def test_a_report_prints_as_a_few_short_lines() -> None:
    """For people; its ``repr`` is for programmers."""
    stages = stage_report("generation", 0.256), replace(stage_report("grading", 0.1), done=1234, failed=2, retried=3)
    advice = Advice(sentence="grading holds the others up: 1 slot, 99% busy", kind="stage", name="grading")
    shown = replace(
        report(*stages), advice=advice, taken=1236, written=1234, failed=2, seconds=12.34, most_in_flight=40
    )
    assert str(shown).splitlines() == [
        "1,236 taken = 1,234 written + 2 failed + 0 cancelled",
        "12.34 s, at most 40 in flight",
        "generation: 0 done, 0 failed, 0 retried, 26% of 1 slots used",
        "grading: 1,234 done, 2 failed, 3 retried, 10% of 1 slots used",
        "grading holds the others up: 1 slot, 99% busy",
    ]
    assert repr(shown).startswith("Report(taken=1236, ")


def test_a_report_tells_the_commonest_errors() -> None:
    """In a script nothing else says why items failed."""

    def odd(value: int) -> int:
        if value % 2:
            raise ValueError("odd")
        if value == 4:
            raise KeyError("four")
        return value

    ended = Pipeline(Stage("a", odd)).run(range(10))
    assert ended.errors == (CommonError("a", "ValueError: odd", 5), CommonError("a", "KeyError: 'four'", 1))
    assert str(ended).splitlines()[-2:] == ["5 failed in a: ValueError: odd", "1 failed in a: KeyError: 'four'"]


def test_a_report_of_a_durable_run_that_cost_something() -> None:
    """The run as a whole, with what it cost in all."""
    usage = Usage(prompt_tokens=1000, completion_tokens=10, cost=0.25)
    shown = replace(report(), run=7, finished=False, written_before=5, usage=usage, usage_before=usage)
    assert str(shown).splitlines() == [
        "0 taken = 0 written + 0 failed + 0 cancelled",
        "run 7: 5 written and 0 failed before, not finished",
        "0.00 s, at most 0 in flight",
        "used in all: 2,000 prompt and 20 completion tokens, cost 0.5",
    ]


def test_a_report_of_a_run_that_was_finished_before() -> None:
    """It says so, and what came of the run, rather than that nothing was taken."""
    shown = replace(report(stage_report("a", 0.0)), run=7, written_before=1998, failed_before=2)
    assert str(shown) == "run 7: nothing was left to do, 1,998 written and 2 failed before"


def test_there_is_no_bottleneck_where_nothing_ran() -> None:
    """As in a run over nothing."""
    assert report(stage_report("a", 0.0)).bottleneck is None


def test_an_outcome_is_a_value() -> None:
    """It compares by its fields, and does not change."""
    outcome: Outcome[Any] = Outcome(id=1, status="written", value="x", error=None, stage=None, attempts=1, seconds=0.5)
    assert outcome == replace(outcome)
    assert outcome != replace(outcome, status="failed")
    with pytest.raises(FrozenInstanceError):
        outcome.status = "failed"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue] - that is the test


def test_an_outcome_knows_the_record_that_it_comes_from() -> None:
    """Whatever its value has become; children and theirs have that of the first; an ID alone is none."""

    def split(value: Any) -> list[Any]:
        return [Record("child", 1), 2] if value == "a b" else [value]

    stages = (Stage("splitting", split, expand=True), Stage("again", lambda one: [one], expand=True))
    outcomes: list[Outcome] = Pipeline(*stages).outcomes([Record(1, "a b"), 2]).pipe(rx_ops.to_list()).run()

    assert {one.id: one.record for one in outcomes} == {
        1: "a b",
        "child": "a b",
        "child/0": "a b",
        "1/1": "a b",
        "1/1/0": "a b",
        2: None,
        "2/0": None,
        "2/0/0": None,
    }
