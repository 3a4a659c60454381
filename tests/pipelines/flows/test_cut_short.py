"""Random flows whose items are cancelled at any time, or that end with ``until``: they end, and the counts add up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipeline_helpers import SCHEDULERS, Seen
from reactivex.testing import TestScheduler
from virtual_loop import VirtualLoop

from rxpipe import Listener, Pipeline, Report
from rxpipe.pipeline.plan import Scheduler, until_written
from rxpipe.pipeline.run.run import Run

from .model import Flow, Machinery
from .test_random_flows import flows

BOTH = pytest.mark.parametrize("scheduler", SCHEDULERS)
MANY = settings(
    max_examples=settings().max_examples * 80 // 100, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class Cancels(Listener):
    """Cancels four of ten items, each after a while, and some of them twice."""

    def __init__(self, seed: int) -> None:
        self.later: Callable[[float, Callable[[], object]], object] = lambda seconds, action: None
        self._random = random.Random(seed)

    def taken(self, item: Any) -> None:
        if self._random.random() < 0.4:
            for _ in range(self._random.choice([1, 1, 2])):
                self.later(self._random.choice([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 7.0]), item.cancel)


def in_virtual_time(pipeline: Pipeline, ids: int, seen: Seen, cancels: Cancels) -> Run:
    clock = TestScheduler()

    def later(seconds: float, action: Callable[[], object]) -> None:
        def act(_: object, state: object = None) -> None:
            action()

        clock.schedule_relative(seconds, act)

    cancels.later = later
    run = pipeline.start(range(ids), seen, scheduler=clock)
    clock.start()
    assert run.finished.done(), f"it hangs: {run.report()}"
    return run


def on_virtual_loop(pipeline: Pipeline, ids: int, seen: Seen, cancels: Cancels) -> Run:
    async def main() -> Run:
        cancels.later = asyncio.get_running_loop().call_later
        run = pipeline.start(range(ids), seen)
        await asyncio.wrap_future(run.finished)
        return run

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def report_of(pipeline: Pipeline, scheduler: Scheduler, ids: int, cancels: Cancels) -> Report:
    """The report of a run in which all is accounted for."""
    seen = Seen()
    run = (in_virtual_time if scheduler == "threads" else on_virtual_loop)(pipeline, ids, seen, cancels)
    report = run.finished.result()
    ended = report.written + report.failed + report.dropped + report.expanded + report.collected + report.cancelled
    assert report.taken + report.spawned == ended == len(seen.outcomes)
    assert (seen.broken, seen.completed) == ([], True)
    assert [(stage.running, stage.waiting) for stage in run.stages] == [(0, 0)] * len(run.stages)
    return report


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("one_slot", [True, False])
@MANY
@given(data=st.data(), ids=st.integers(0, 8), seed=st.integers(0, 2**32))
def test_items_may_be_cancelled_at_any_time(
    one_slot: bool, scheduler: Scheduler, data: st.DataObject, ids: int, seed: int
) -> None:
    """Parents, children and what waits for them; wherever they are."""
    flow: Flow = data.draw(flows(one_slot=one_slot))
    cancels = Cancels(seed)
    pipeline = Machinery(flow, scheduler).pipeline()
    pipeline.listeners = (cancels,)
    assert report_of(pipeline, scheduler, ids, cancels).taken == ids


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("one_slot", [True, False])
@MANY
@given(data=st.data(), ids=st.integers(0, 30), until=st.integers(1, 8))
def test_until_is_reached_or_the_source_ends(
    one_slot: bool, scheduler: Scheduler, data: st.DataObject, ids: int, until: int
) -> None:
    """With exactly so many rows; items that wait for their turn hold up none that are needed."""
    flow: Flow = data.draw(flows(one_slot=one_slot))
    pipeline = until_written(Machinery(flow, scheduler).pipeline(), until)
    report = report_of(pipeline, scheduler, ids, Cancels(0))
    assert report.written == until or (report.written < until and (report.taken, report.cancelled) == (ids, 0))
