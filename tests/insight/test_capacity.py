"""What each resource could do."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import replace

import pytest

from rxpipe.insight.capacity import Capacity, capacities
from rxpipe.insight.snapshot import LimiterSnapshot, SinkSnapshot, Snapshot, SourceSnapshot, StageSnapshot
from rxpipe.insight.spread import error_of_calls, scatter, variation
from rxpipe.insight.throughput import Line, taking_turns
from rxpipe.insight.window import between, whole
from rxpipe.operators.stages.durations import Durations

from .snapshots import Made, Other, durations, made

HELD: Other = ("held", lambda items, elapsed: elapsed)


def found(snapshots: list[Snapshot]) -> dict[str, Capacity]:
    window = between(snapshots[0], snapshots[-1])
    assert window is not None
    return {each.name: each for each in capacities(window)}


def test_a_stage_can_do_its_slots_over_its_slot_seconds_an_item() -> None:
    stage = found(made(Made(name="a", slots=8, seconds=2.0), rate=3))["a"]
    assert stage.demand == pytest.approx(2.0)
    assert stage.rate == pytest.approx(4.0)
    assert stage.utilization == pytest.approx(3 * 2.0 / 8)


def test_retries_count_as_what_they_take() -> None:
    stage = found(made(Made(name="a", slots=8, seconds=2.0, calls=1.25), rate=3))["a"]
    assert stage.rate == pytest.approx(8 / 2.5, rel=0.01)


def test_without_a_bound_on_its_calls_a_stage_has_none() -> None:
    assert found(made(Made(name="a", slots=None), rate=3))["a"].rate == math.inf


def test_slots_that_changed_count_as_many_as_there_were_on_average() -> None:
    stage = Made(name="a", slots=20, seconds=2.0, other=(("slot_seconds", lambda items, elapsed: 12 * elapsed),))
    assert found(made(stage, rate=3))["a"].rate == pytest.approx(6.0)


def test_children_and_drops_are_in_the_unit() -> None:
    """Each item has ten children, so a stage before them does little for each of the eleven."""
    parents = Made(name="parents", slots=2, seconds=1.0)
    children = Made(name="children", slots=10, seconds=0.5, calls=10)
    one, other = made(parents, children, rate=1.5)[::11]
    spawned = [
        replace(each, spawned=10 * each.taken, written=10 * each.taken, expanded=each.taken) for each in (one, other)
    ]
    both = found(spawned)
    assert both["parents"].rate / both["children"].rate == pytest.approx(2.0 / 2.0, rel=0.01)


def test_a_limit_can_do_its_rate_over_what_an_item_takes() -> None:
    stages = (Made(name="a", calls=2, limiters=("calls",)), Made(name="b", limiters=("calls",)))
    limit = found(made(*stages, rate=1.9, limiters=[("calls", 6.0)]))["calls"]
    assert limit.rate == pytest.approx(2.0, rel=0.01)
    assert limit.utilization == pytest.approx(0.95, rel=0.01)


def test_a_limit_that_the_server_paused_can_do_less() -> None:
    snapshots = made(Made(name="a", limiters=("calls",)), rate=1.5)
    paused = [
        replace(
            each,
            limiters=(
                LimiterSnapshot(name="calls", unit="calls", rate=4.0, taken=each.taken, paused=each.elapsed / 2),
            ),
        )
        for each in snapshots
    ]
    assert found(paused)["calls"].rate == pytest.approx(2.0)


def test_the_source_can_do_what_it_gives_while_there_is_room() -> None:
    assert found(made(Made(name="a"), rate=3, source_waited=0.5))["source"].rate == pytest.approx(6.0)


@pytest.mark.parametrize(
    "counts",
    [
        Snapshot(at=0, elapsed=1e300, taken=1, stages=(), source=SourceSnapshot(waited=1e-300)),
        Snapshot(
            at=0,
            elapsed=1e300,
            taken=1,
            stages=(StageSnapshot(name="a", concurrency=1, most=1, blocked=1e300),),
            sink=SinkSnapshot(name="database", busy=1e-300),
        ),
        Snapshot(
            at=0,
            elapsed=0.1,
            taken=1,
            stages=(),
            limiters=(LimiterSnapshot(name="a", unit="calls", rate=5e-324, taken=1),),
        ),
    ],
    ids=["source", "sink", "limit"],
)
def test_what_is_too_little_to_be_divided_by_is_left_out(counts: Snapshot) -> None:
    window = whole(counts)
    assert window is not None
    assert capacities(window) == ()


def test_a_sink_is_judged_only_if_it_holds_the_stages_up() -> None:
    stage = Made(name="a")
    assert "database" not in found(made(stage, rate=3, sink=(10, 0.9)))
    held = replace(stage, other=(HELD,))
    assert found(made(held, rate=3, sink=(10, 0.9)))["database"].rate == pytest.approx(3 / 0.9)


def test_with_a_store_that_holds_the_stages_up_the_source_is_not_judged() -> None:
    """Its items come through the same database."""
    held = Made(name="a", other=(HELD,))
    assert "source" not in found(made(held, rate=3, sink=(10, 0.9), source_waited=0.8, run=1))
    assert "source" in found(made(held, rate=3, sink=(10, 0.9), source_waited=0.8))


def test_per_item_has_one_bound_for_all_stages() -> None:
    stages = (Made(name="a", slots=10, seconds=1.0), Made(name="b", slots=10, seconds=3.0))
    bound = found(made(*stages, rate=2.4, strategy="per_item"))
    assert [*bound] == ["items at once"]
    assert bound["items at once"].rate == pytest.approx(2.5)


@pytest.mark.parametrize("spread", [0.1, 0.3, 0.6, 1.0])
def test_the_variation_is_read_off_a_histogram(spread: float) -> None:
    assert variation(durations(1_000, 3.0, spread)) == pytest.approx(spread, rel=0.1)


def test_the_scatter_is_the_gini_coefficient() -> None:
    two = Durations()
    two.add(1.0, 500)
    assert scatter(two) == 0
    two.add(3.0, 500)
    assert scatter(two) == pytest.approx(0.25, abs=0.01)  # half of the mean difference, 1, over the mean, 2
    assert scatter(durations(1_000, 1.0, 1.0)) == pytest.approx(0.5, abs=0.03)


def test_the_error_falls_with_the_root_of_the_calls() -> None:
    few, many = (Made(name="a").at(items, 100.0) for items in (100, 1_000))
    assert error_of_calls(few) == pytest.approx(0.03, abs=0.003)
    assert error_of_calls(few) / error_of_calls(many) == pytest.approx(math.sqrt(10), rel=0.1)


def test_attempts_make_the_error_larger() -> None:
    plain, retried = (Made(name="a", calls=calls).at(1_000, 100.0) for calls in (1, 2))
    assert error_of_calls(retried) > error_of_calls(plain)


def test_slots_and_a_limit_that_are_far_apart_do_what_the_lesser_does() -> None:
    assert taking_turns(2.0, 40.0, 8, 0.5) == pytest.approx(2.0, rel=0.01)
    assert taking_turns(40.0, 2.0, 8, 0.5) == pytest.approx(2.0, rel=0.01)


def test_slots_and_a_limit_that_are_equal_do_less_than_either_the_more_the_fewer_slots_there_are() -> None:
    few, many, even = (taking_turns(1.0, 1.0, slots, scatter) for slots, scatter in ((2, 0.5), (30, 0.5), (30, 0.0)))
    assert few < many < even < 1.0


@pytest.mark.parametrize(("slots", "scatter"), [(2, 0.17), (2, 0.5), (6, 0.33), (24, 0.17), (24, 0.5)])
def test_the_share_that_both_lose_is_as_simulated(slots: int, scatter: float) -> None:
    """Calls that follow a gamma distribution; each begins when a slot is free, and an interval after the one before."""
    shape = {0.17: 1 / 0.3**2, 0.33: 1 / 0.6**2, 0.5: 1.0}[scatter]
    numbers, free, following, calls = random.Random(1), [0.0] * slots, 0.0, 4_000
    for _ in range(calls):
        begin = max(free[0], following)
        following = begin + 1
        heapq.heapreplace(free, begin + numbers.gammavariate(shape, slots / shape))
    assert taking_turns(1.0, 1.0, slots, scatter) == pytest.approx(calls / following, rel=0.025)


def test_stages_that_share_a_limit_leave_each_other_the_rest() -> None:
    stages = (Made(name="a", slots=100, limiters=("calls",)), Made(name="b", slots=100, limiters=("calls",)))
    window = between(*made(*stages, rate=2.9, limiters=[("calls", 6.0)])[::11])
    assert window is not None
    assert Line(capacities(window)).rate() == pytest.approx(3.0, rel=0.01)
