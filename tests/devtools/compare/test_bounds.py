"""The least time of each strategy, against numbers worked out by hand and against runs in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import reactivex
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Observable
from reactivex.testing import TestScheduler

from rxpipe import Pipeline, Stage
from rxpipe.devtools.compare.least_time import StagePlan, items_at_once, least_seconds
from rxpipe.pipeline.run.strategies import Strategy

STRATEGIES: tuple[Strategy, ...] = ("staged", "per_item", "per_stage")


def plans(*stages: tuple[float, int]) -> list[StagePlan]:
    return [StagePlan(name=str(n), latency=latency, slots=slots) for n, (latency, slots) in enumerate(stages)]


SEED = plans((0.03, 3), (0.06, 3), (0.03, 3))
UNEVEN = plans((2.0, 1), (3.0, 2))


@pytest.mark.parametrize(
    ("stages", "count", "expected"),
    [
        (SEED, 300, (12.0, 4.08, 6.06)),  # 100 rounds of 0.12; 34 rounds of 0.12; 100 rounds of 0.06, and 0.06
        (SEED, 10, (0.48, 0.24, 0.30)),  # 4 rounds; 2 rounds; 4 rounds of the second
        (SEED, 1, (0.12, 0.12, 0.12)),
        (plans((1.0, 10), (1.0, 1)), 10, (11.0, 2.0, 11.0)),
        (UNEVEN, 4, (14.0, 10.0, 11.0)),  # 4*2 + 2*3; ceil(4/3)*5; 4*2 + 3
        (plans((0.5, 2)), 5, (1.5, 1.5, 1.5)),
        (plans((0.0, 3), (0.0, 3)), 300, (0.0, 0.0, 0.0)),
        (SEED, 0, (0.0, 0.0, 0.0)),
    ],
)
def test_bounds_worked_out_by_hand(stages: list[StagePlan], count: int, expected: tuple[float, float, float]) -> None:
    """Staged, per item and per stage, in this order."""
    assert [least_seconds(strategy, stages, count) for strategy in STRATEGIES] == pytest.approx(expected)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("stages", "count"), [(SEED, 10), (UNEVEN, 4), (plans((1.0, 2), (4.0, 3), (2.0, 1)), 7)])
def test_a_pipeline_reaches_its_bound_in_virtual_time(strategy: Strategy, stages: list[StagePlan], count: int) -> None:
    """Where nothing but the latencies takes time, a run takes exactly what the formula says."""
    scheduler = TestScheduler()
    pipeline = Pipeline(
        *(Stage(stage.name, waiting(100 * stage.latency), concurrency=stage.slots) for stage in stages),
        strategy=strategy,
        concurrency=items_at_once(stages),
    )
    run = pipeline.start(range(count), scheduler=scheduler)
    scheduler.start()
    # In hundredths, and less the ticks by which a virtual clock delays what is scheduled for this very moment.
    assert run.finished.result(0).seconds == pytest.approx(100 * least_seconds(strategy, stages, count), abs=0.5)


def waiting(seconds: float) -> Callable[[Any], Observable[Any]]:
    def call(value: Any) -> Observable[Any]:
        return reactivex.timer(seconds)

    return call


@given(
    st.lists(st.tuples(st.floats(0, 9), st.integers(1, 5)), min_size=1, max_size=4),
    st.integers(1, 40),
)
def test_no_strategy_is_slower_than_staged(stages: list[tuple[float, int]], count: int) -> None:
    """Overlapping can't cost time: the bounds of per_stage never exceed those of staged."""
    staged, per_stage = (least_seconds(strategy, plans(*stages), count) for strategy in ("staged", "per_stage"))
    once = sum(latency for latency, _ in stages)
    assert once <= per_stage + 1e-9
    assert per_stage <= staged + 1e-9


def test_per_item_has_the_slots_of_all_stages() -> None:
    """Three stages of three calls make nine items at once."""
    assert [items_at_once(SEED), items_at_once(UNEVEN)] == [9, 3]
