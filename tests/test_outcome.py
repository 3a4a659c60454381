from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from rxpipe import Outcome, Report, StageReport


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


def test_the_bottleneck_is_the_stage_whose_slots_were_busiest() -> None:
    """By the share of their time, not by seconds."""
    assert report(stage_report("a", 0.2), stage_report("b", 0.9), stage_report("c", 0.3)).bottleneck == "b"


def test_the_first_of_stages_that_were_equally_busy_is_the_bottleneck() -> None:
    """The later ones wait for it."""
    assert report(stage_report("a", 1.0), stage_report("b", 1.0)).bottleneck == "a"


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
