"""Whatever pieces a flow is made of, all items end as a few plain lines say."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pipeline_helpers import Seen, virtual
from virtual_loop import VirtualLoop

from rxpipe import Batch
from rxpipe.insight.snapshot import Snapshot
from rxpipe.pipeline.outcome import Report
from rxpipe.pipeline.plan import Scheduler

from .model import Ended, Flow, Kind, Machinery, Step, expected, number_of

KINDS: tuple[Kind, ...] = ("one", "one", "expand", "collect", "regroup", "batch")


@st.composite
def flows(draw: st.DrawFn, *, one_slot: bool = False, kinds: Sequence[Kind] = ()) -> Flow:
    """Up to six stages of any kinds, or of these; those that collect have something to collect."""
    steps: list[Step] = []
    expanding: list[int] = []
    seed = draw(st.integers(0, 2**32))
    small = st.integers(1, 1 if one_slot else 3)
    for index in range(len(kinds) or draw(st.integers(1, 6))):
        possible = [kind for kind in KINDS if expanding or kind not in ("collect", "regroup")]
        kind = kinds[index] if kinds else draw(st.sampled_from(possible))
        collects = kind in ("collect", "regroup")
        if collects:
            by = expanding.pop()
            steps[by] = replace(steps[by], collected_by=index)
        batch = Batch(max_items=draw(st.integers(1, 3)), max_seconds=draw(st.sampled_from([0.0, 1.0])))
        steps.append(
            Step(
                index=index,
                seed=seed,
                expand=kind in ("expand", "regroup"),
                collect=collects,
                batch=batch if kind == "batch" else None,
                has_when=not collects and draw(st.booleans()),
                has_key=not collects and draw(st.booleans()),
                concurrency=draw(small),
                queue_size=0 if one_slot else draw(st.integers(0, 3)),
                max_rounds=draw(st.integers(0, 2)),
                trouble=draw(st.sampled_from([0, 20, 60])),
            )
        )
        if kind in ("expand", "regroup"):
            expanding.append(index)
    strategy = draw(st.sampled_from(["per_stage", "per_item"]))
    return Flow(steps=steps, ids=draw(st.integers(0, 6)), strategy=strategy, concurrency=draw(small))  # type: ignore[arg-type]


def in_virtual_time(machinery: Machinery) -> tuple[Report, Seen]:
    seen = Seen()
    run, scheduler = virtual(machinery.pipeline(), range(machinery.flow.ids), seen)
    run.snapshots(0.7).subscribe(machinery.snapshots.append)
    scheduler.start()
    assert run.finished.done(), f"it hangs: {run.report()}"
    return run.finished.result(), seen


def on_virtual_loop(machinery: Machinery) -> tuple[Report, Seen]:
    seen = Seen()

    async def main() -> Report:
        run = machinery.pipeline().start(range(machinery.flow.ids), seen)
        run.snapshots(0.7).subscribe(machinery.snapshots.append)
        return await asyncio.wrap_future(run.finished)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main()), seen


def check_snapshot(snapshot: Snapshot) -> None:
    """At any moment: no item is lost, and no slot is in two states."""
    assert snapshot.taken + snapshot.spawned == snapshot.ended + snapshot.in_flight
    for stage in snapshot.stages:
        parts = (stage.busy, stage.blocked, stage.limited, stage.held)
        assert min(parts) >= 0
        assert stage.slot_seconds is not None
        assert sum(parts) <= stage.slot_seconds + 1e-6, stage
        assert stage.blocked_now <= (stage.concurrency or 0)
        if snapshot.state != "running":
            assert (stage.running, stage.waiting, stage.blocked_now, stage.delayed) == (0, 0, 0, 0)


def check(flow: Flow, scheduler: Scheduler) -> None:
    """Run it, and compare."""
    machinery = Machinery(flow, scheduler)
    report, seen = (in_virtual_time if scheduler == "threads" else on_virtual_loop)(machinery)
    found: Counter[Ended] = Counter((one.id, one.status, int(number_of(one.value))) for one in seen.outcomes)
    wanted = expected(flow)
    assert found == wanted, f"too much: {found - wanted}, missing: {wanted - found}"
    ends: list[Any] = ["written", "failed", "dropped", "expanded", "collected", "cancelled"]
    assert report.taken + report.spawned == sum(getattr(report, end) for end in ends) == len(seen.outcomes)
    assert [getattr(report, end) for end in ends] == [sum(n for e, n in found.items() if e[1] == end) for end in ends]
    assert (machinery.broken, seen.broken) == ([], [])
    assert seen.completed
    assert machinery.snapshots
    for snapshot in machinery.snapshots:
        check_snapshot(snapshot)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
@settings(
    max_examples=settings().max_examples * 150 // 100, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(flow=flows())
def test_all_items_end_as_they_should(scheduler: Scheduler, flow: Flow) -> None:
    """With functions that fail, hang, drop, expand and send back."""
    check(flow, scheduler)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
@settings(max_examples=settings().max_examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(flow=flows(one_slot=True))
@example(
    flow=Flow(steps=[Step(index=at, seed=18301, expand=at < 2, queue_size=0, trouble=0) for at in range(3)], ids=1)
)
def test_one_slot_and_no_queue_are_enough(scheduler: Scheduler, flow: Flow) -> None:
    """Nothing waits for what waits for it: neither parents for children, nor what is sent back for room."""
    check(flow, scheduler)
