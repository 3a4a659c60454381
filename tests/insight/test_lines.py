"""What is said of pipelines that rxpipe runs, in virtual time."""

from __future__ import annotations

from itertools import count

import pytest
from benchmarks.lines import Line, LineLimit, LineStage, watch
from benchmarks.virtual import DrawnCalls

from rxpipe import Pipeline, Stage
from rxpipe.insight.insight import Insight, insight_of
from rxpipe.insight.window import History
from rxpipe.operators.core.virtual_time import VirtualTime


def _same(value: int) -> int:
    return value


def stage(name: str, *, slots: int, mean: float, failing: float = 0.0) -> LineStage:
    return LineStage(name=name, slots=slots, mean=mean, spread=0.3, failing=failing)


def said(line: Line) -> Insight:
    return insight_of(watch(line, "seed", 1_000))


def test_the_stage_that_can_do_least_is_named() -> None:
    line = Line(stages=(stage("a", slots=4, mean=3.0), stage("b", slots=20, mean=19.0)), limits=())
    found = said(line)
    assert found.bottleneck.name == "b"
    assert found.advice.sentence.startswith("b holds the others up: 20 slots, 100% busy; 26 would give +")
    assert found.advice.gain == pytest.approx((4 / 3.0) / (20 / 19.0) - 1, abs=0.04)
    assert all(check.holds for check in found.checks)


def test_retries_make_a_stage_the_one_that_can_do_least() -> None:
    """Half of its calls fail, so it makes two an item."""
    line = Line(stages=(stage("a", slots=4, mean=2.5, failing=0.5), stage("b", slots=10, mean=8.0)), limits=())
    assert said(line).bottleneck.name == "a"


def test_a_limit_that_two_stages_share_is_named() -> None:
    both = (stage("a", slots=20, mean=8.0), stage("b", slots=20, mean=8.0))
    found = said(Line(stages=both, limits=(LineLimit(rate=2.0, stages=(0, 1)),)))
    assert (found.bottleneck.kind, found.bottleneck.name) == ("limiter", "a and b calls")
    assert "more slots would gain nothing" in found.advice.sentence


def test_a_call_that_hangs_is_seen_and_what_waits_behind_it() -> None:
    """From the fiftieth call on, none of the second stage's ends."""
    time, calls, history = VirtualTime(), count(), History()
    stages = (
        Stage("a", _same, concurrency=4, executor=DrawnCalls(time, lambda: (1.0, None))),
        Stage("b", _same, concurrency=2, executor=DrawnCalls(time, lambda: (1.0 if next(calls) < 50 else 1e6, None))),
    )
    run = Pipeline(*stages).start(range(1_000), scheduler=time)
    while time.seconds < 120:
        time.run(until=time.seconds + 5)
        history.add(run.snapshot())
    first, second = insight_of(history.snapshots).stalls
    assert (first.stage, first.waits_for, second.stage, second.waits_for) == ("a", "room", "b", "call")
    assert first.sentence.endswith(": 4 results wait for room in b")
    run.abort()
    time.run(until=130)
