"""What holds for any snapshots."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rxpipe.insight.capacity import capacities
from rxpipe.insight.insight import insight_of
from rxpipe.insight.snapshot import LimiterSnapshot, SinkSnapshot, Snapshot, SourceSnapshot, StageSnapshot
from rxpipe.insight.throughput import taking_turns
from rxpipe.insight.window import between
from rxpipe.operators.stages.durations import Durations

from .snapshots import Made, made

pytestmark = pytest.mark.slow
generous = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

counts = st.integers(0, 10**9)
seconds = st.one_of(st.just(0.0), st.floats(0, 1e12), st.sampled_from([math.inf, 1e-300, 1e300]))
perhaps = st.none() | st.floats(0, 1e9)


@st.composite
def histograms(draw: st.DrawFn) -> Durations:
    buckets = draw(st.dictionaries(st.integers(-700, 900), st.integers(-2, 10**6), max_size=4))
    return Durations(buckets, draw(counts), draw(seconds), draw(seconds))


def stages(name: str) -> st.SearchStrategy[StageSnapshot]:
    number = dict.fromkeys(("calls", "done", "failed", "dropped", "sent_back", "retried", "pushed_back"), counts)
    now = dict.fromkeys(("running", "waiting", "delayed", "blocked_now", "cached"), counts)
    times = dict.fromkeys(("busy", "blocked", "limited", "held"), seconds)
    fixed: dict[str, st.SearchStrategy[Any]] = {
        "name": st.just(name),
        "concurrency": st.none() | counts,
        "most": st.none() | counts,
        "slot_seconds": st.none() | seconds,
        "seconds": histograms(),
        "waits": histograms(),
        "oldest": perhaps,
        "last_end": perhaps,
        "limiters": st.sampled_from([(), ("one",), ("one", "gone")]),
    }
    return st.builds(StageSnapshot, **{**number, **now, **times, **fixed})


snapshots = st.builds(
    Snapshot,
    at=st.just(1e9),
    elapsed=seconds,
    stages=st.tuples(stages("a"), stages("b")) | st.just(()) | st.tuples(stages("a")),
    strategy=st.sampled_from(["per_stage", "per_item", "staged"]),
    workers=st.integers(1, 2),
    limiters=st.just(())
    | st.tuples(
        st.builds(
            LimiterSnapshot, name=st.just("one"), unit=st.just("calls"), rate=seconds, taken=seconds, paused=seconds
        )
    ),
    sink=st.none()
    | st.builds(SinkSnapshot, name=st.just("database"), outcomes=counts, commits=counts, busy=seconds, away=perhaps),
    source=st.builds(SourceSnapshot, waited=seconds, is_over=st.booleans()),
    **dict.fromkeys(("taken", "spawned", "written", "failed", "dropped", "in_flight"), counts),
)


@generous
@given(st.lists(snapshots, max_size=4))
def test_any_snapshots_have_an_insight_that_is_json(several: list[Snapshot]) -> None:
    found = insight_of(several)
    assert found.advice.sentence
    json.dumps(found.as_json(), allow_nan=False)
    assert 0 <= found.bottleneck.confidence <= 1


@generous
@given(st.lists(snapshots, max_size=4))
def test_growing_numbers_have_one_too(several: list[Snapshot]) -> None:
    """Those of one run, as none of these falls."""
    ordered = sorted(several, key=lambda each: each.elapsed)
    json.dumps(insight_of([replace(each, workers=1) for each in ordered]).as_json(), allow_nan=False)


@generous
@given(st.lists(st.tuples(st.integers(0, 2_000), st.sampled_from([0.0, 1e-12, 1e-6, 1.0, 20.0])), max_size=9))
def test_so_have_numbers_that_grow_in_no_time(steps: list[tuple[int, float]]) -> None:
    """As in virtual time, or where a clock is coarse."""
    stage = Made(name="a", slots=3, seconds=0.5)
    several: list[Snapshot] = []
    items, elapsed = 0, 0.0
    for more, seconds in steps:
        items, elapsed = items + more, elapsed + seconds
        counts = stage.at(items, elapsed)
        several.append(Snapshot(at=1e9, elapsed=elapsed, stages=(counts,), taken=items, written=items))
    json.dumps(insight_of(several).as_json(), allow_nan=False)


@generous
@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(0.1, 30.0)), min_size=1, max_size=4),
    st.floats(0.01, 100.0),
)
def test_what_holds_a_run_up_does_not_depend_on_the_unit_of_time(lines: list[tuple[int, float]], unit: float) -> None:
    rate = 0.97 * min(slots / each for slots, each in lines)

    def run(scale: float) -> list[Snapshot]:
        line = [Made(name=f"s{n}", slots=slots, seconds=each * scale) for n, (slots, each) in enumerate(lines)]
        return made(*line, rate=rate / scale, every=1000 / rate * scale, looks=3)

    here, there = insight_of(run(1.0)), insight_of(run(unit))
    assert here.bottleneck.name == there.bottleneck.name or "close" in (
        here.bottleneck.verdict,
        there.bottleneck.verdict,
    )
    for one, other in zip(here.capacities, there.capacities, strict=True):
        assert other.rate * unit == pytest.approx(one.rate, rel=0.05)


@generous
@given(st.integers(2, 1_000), st.floats(0.5, 20.0))
def test_a_capacity_grows_as_its_slots_do(slots: int, each: float) -> None:
    def rate(number: int) -> float:
        window = between(*made(Made(name="a", slots=number, seconds=each), rate=1.0, looks=2, every=1_000))
        assert window is not None
        return capacities(window)[0].rate

    assert rate(2 * slots) == pytest.approx(2 * rate(slots))


@generous
@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.floats(1, 1e4), st.floats(0, 1))
def test_two_that_take_turns_do_no_more_than_the_lesser_and_more_with_more_of_either(
    slots_rate: float, limit_rate: float, slots: float, scatter: float
) -> None:
    both = taking_turns(slots_rate, limit_rate, slots, scatter)
    assert 0 < both <= min(slots_rate, limit_rate) * (1 + 1e-9)
    assert taking_turns(slots_rate * 1.5, limit_rate, slots * 1.5, scatter) >= both * (1 - 1e-9)
    assert taking_turns(slots_rate, limit_rate * 1.5, slots, scatter) >= both * (1 - 1e-9)
