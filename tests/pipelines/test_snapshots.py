"""Snapshots of runs, in virtual time: where slots spend their time, to the second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import reactivex
from reactivex import operators as rx_ops
from reactivex.scheduler.eventloop import AsyncIOScheduler
from virtual_loop import VirtualLoop

from rxpipe import Batch, DatabaseSink, Drop, Pipeline, RateLimiter, Retry, Snapshot, Stage
from rxpipe.insight.snapshot import CountedError, StageSnapshot
from rxpipe.pipeline.run.run import Run

Seconds = Callable[[Any], float]


def stage(name: str, seconds: float, *, result: Callable[[Any], Any] = lambda value: value, **options: Any) -> Stage:
    """A stage whose calls take so long."""

    async def call(value: Any) -> Any:
        await asyncio.sleep(seconds)
        return result(value)

    all_options: dict[str, Any] = {"concurrency": 1, "queue_size": 0, **options}
    return Stage(name, call, **all_options)


def watched(
    *stages: Stage,
    source: Any = range(4),
    every: float = 1.0,
    during: Callable[[Run], object] = lambda run: None,
    **options: Any,
) -> list[Snapshot]:
    """All snapshots of a run."""
    first, *others = stages
    snapshots: list[Snapshot] = []

    async def main() -> None:
        run = Pipeline(first, *others, scheduler="asyncio", **options).start(source)
        run.snapshots(every).subscribe(snapshots.append)
        during(run)
        await asyncio.wait([asyncio.wrap_future(run.finished)])
        await asyncio.sleep(0)  # for the last one

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    return snapshots


def times(stage: StageSnapshot) -> tuple[float, float, float, float]:
    """Busy, blocked, limited and all slot seconds, rounded to what a clock of milliseconds can tell."""
    assert stage.slot_seconds is not None
    return tuple(round(each, 2) for each in (stage.busy, stage.blocked, stage.limited, stage.slot_seconds))  # type: ignore[return-value]


def test_at_the_beginning_every_second_and_at_the_end() -> None:
    """Each is a value of its own, and no item is lost between the counts."""
    snapshots = watched(stage("a", 1.0, concurrency=2), source=range(5), every=1.0)
    assert [round(one.elapsed, 2) for one in snapshots] == [0, 1, 2, 3, 3]
    assert [one.written for one in snapshots][-1] == 5
    assert [one.state for one in snapshots] == ["running"] * (len(snapshots) - 1) + ["finished"]
    for one in snapshots:
        assert one.taken + one.spawned == one.ended + one.in_flight
    assert snapshots[0].source.length == 5
    assert (snapshots[-1].source.is_over, snapshots[-1].pipeline is None) == (True, False)


def test_busy() -> None:
    """A slot is busy while a call runs, also one that has not ended."""
    halves = watched(stage("a", 2.0, concurrency=2), every=1.0)
    assert [times(one.stages[0]) for one in halves] == [
        (0, 0, 0, 0),
        (2, 0, 0, 2),
        (4, 0, 0, 4),
        (6, 0, 0, 6),
        (8, 0, 0, 8),
        *([(8, 0, 0, 8)] * (len(halves) - 5)),
    ]
    assert halves[1].stages[0].oldest == pytest.approx(1.0, abs=0.01)
    last = halves[-1].stages[0]
    assert (last.calls, last.done, last.running, last.oldest) == (4, 4, 0, None)
    assert last.seconds.quantile(0.5) == pytest.approx(2.0, rel=0.01)


def test_blocked() -> None:
    """A slot is blocked while its result waits for room downstream."""
    last = watched(stage("a", 1.0), stage("b", 3.0), source=range(2))[-1]
    assert [times(one) for one in last.stages] == [(2, 2, 0, 7), (6, 0, 0, 7)]


def test_what_is_blocked_now() -> None:
    """It is counted as it waits, too."""
    third = watched(stage("a", 1.0), stage("b", 3.0), source=range(2))[3]
    first = third.stages[0]
    assert (first.blocked_now, first.running, round(first.blocked, 2)) == (1, 0, 1.0)


def test_limited() -> None:
    """A slot is limited while an item waits for a rate limit that would have a slot."""
    last = watched(stage("a", 1.0, rate_limit=RateLimiter(1, 3.0), queue_size=10), source=range(3))[-1]
    assert times(last.stages[0]) == (3, 0, 4, 7)
    (limiter,) = last.limiters
    assert last.stages[0].limiters == ("a calls",) == (limiter.name,)
    assert (limiter.unit, round(limiter.rate, 3), limiter.taken) == ("calls", 0.333, 3)


def test_limits_that_stages_share() -> None:
    """They are one limit, called by all of these stages."""
    limit = RateLimiter(100)
    last = watched(stage("a", 0.1, rate_limit=limit), stage("b", 0.1, rate_limit=limit))[-1]
    assert [(one.name, one.taken) for one in last.limiters] == [("a and b calls", 8)]
    assert {one.limiters for one in last.stages} == {("a and b calls",)}


def test_limits_of_items() -> None:
    """Those of a batch count items, not calls."""

    async def all_of(values: list[int]) -> list[int]:
        return values

    batch = Batch(max_items=2, max_seconds=1.0, item_rate=RateLimiter(2, 1.0))
    last = watched(Stage("a", all_of, batch=batch))[-1]
    assert [(one.name, one.unit, one.taken) for one in last.limiters] == [("a items", "items", 4)]


def test_waits() -> None:
    """How long items waited in the queue before their calls."""
    last = watched(stage("a", 1.0, queue_size=10), source=range(3))[-1]
    waits = last.stages[0].waits
    assert (waits.count, round(waits.total, 2)) == (3, 3.0)


def test_delays_between_attempts() -> None:
    """An attempt that is not due yet waits, and takes no slot; its wait counts from when it is due."""
    failed: list[int] = []

    def fail_once(value: int) -> int:
        if not failed:
            failed.append(value)
            raise ValueError("once")
        return value

    retry = Retry(max_attempts=2, initial=5.0, jitter=0.0)
    snapshots = watched(stage("a", 1.0, result=fail_once, retry=retry), source=range(1))
    assert (snapshots[3].stages[0].delayed, snapshots[3].stages[0].waiting) == (1, 1)
    last = snapshots[-1].stages[0]
    assert (last.calls, last.retried, round(last.busy, 2)) == (2, 1, 2.0)
    assert last.waits.total == pytest.approx(0.0, abs=0.01)


def test_a_stage_that_expands() -> None:
    """While a value waits for room, its call is not busy but blocked."""

    async def two(value: int) -> AsyncIterator[int]:
        for _ in range(2):
            await asyncio.sleep(1.0)
            yield value

    last = watched(Stage("a", two, expand=True, concurrency=1, queue_size=0), stage("b", 3.0), source=range(1))[-1]
    first = last.stages[0]
    assert (first.spawned, times(first)[:2]) == (2, (2, 2))
    assert first.seconds.total == pytest.approx(2.0, abs=0.02)


def test_an_observable_that_does_not_wait() -> None:
    """While its values wait for room its call is blocked, however many more it gives."""

    async def three(value: int) -> Any:
        return reactivex.interval(1.0, AsyncIOScheduler(asyncio.get_running_loop())).pipe(rx_ops.take(3))

    last = watched(Stage("a", three, expand=True, concurrency=1, queue_size=0), stage("b", 3.0), source=range(1))[-1]
    first = last.stages[0]
    assert (first.spawned, times(first)) == (3, (2, 5, 0, 10))
    assert first.seconds.total == pytest.approx(2.0, abs=0.02)


def test_timeouts_where_there_are_very_many_calls() -> None:
    """The time of most is not taken then. Each is ended nevertheless that gives its next value too late."""

    async def late() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(5.0)
        yield 2

    async def values(value: int) -> Any:
        return late() if value == 1_000 else [1]

    last = watched(Stage("a", values, expand=True, concurrency=1, timeout=3.0), source=range(1_001))[-1]
    assert (last.written, last.stages[0].failed) == (1_001, 1)


def test_a_batch_is_one_call() -> None:
    """It has one slot, which is busy once."""

    async def all_of(values: list[int]) -> list[int]:
        await asyncio.sleep(2.0)
        return values

    last = watched(Stage("a", all_of, batch=Batch(max_items=4, max_seconds=9.0), concurrency=1))[-1]
    assert (last.stages[0].done, round(last.stages[0].busy, 2), last.stages[0].seconds.count) == (4, 2.0, 1)


def test_a_slow_source() -> None:
    """It is told how long it had the pipeline wait."""

    async def ids() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(2.0)
            yield number

    last = watched(stage("a", 0.5), source=ids())[-1]
    assert last.source.waited == pytest.approx(5.0, abs=0.1)
    between = last.source.waits  # the first item apart, which took 2 s
    assert between.count == 2
    assert between.total == pytest.approx(3.0, abs=0.1)
    assert last.source.length is None


def test_errors_and_drops() -> None:
    """The commonest ones, with their stages."""

    def choose(value: int) -> int:
        if value == 0:
            raise Drop("too small")
        raise ValueError("bad")

    last = watched(stage("a", 0.1, result=choose), source=range(3))[-1]
    assert last.errors == (CountedError(stage="a", text="ValueError: bad", count=2),)
    assert last.drops == (CountedError(stage="a", text="too small"),)
    assert (last.failed, last.dropped) == (2, 1)


@pytest.mark.parametrize(("how", "states"), [("stop", {"running", "stopping", "stopped"}), ("abort", {"stopped"})])
def test_a_run_that_is_stopped(how: str, states: set[str]) -> None:
    """It says so, and what ran counts as time that was spent."""

    def during(run: Run) -> None:
        asyncio.get_running_loop().call_later(2.5, getattr(run, how))

    snapshots = watched(stage("a", 2.0), source=range(100), during=during)
    assert {one.state for one in snapshots} >= states
    last = snapshots[-1]
    assert last.taken == last.ended
    assert last.stages[0].busy == pytest.approx(4.0 if how == "stop" else 2.5, abs=0.01)


@pytest.mark.parametrize("how", ["stop", "abort"])
def test_a_run_that_is_over_cannot_be_stopped(how: str) -> None:
    """It stays finished, and its source stays read to the end."""
    run = Pipeline(Stage("a", str)).start(range(3))
    before = run.finished.result(10)
    getattr(run, how)()
    assert (run.state, run.snapshot().state) == ("finished", "finished")
    after = run.report()
    assert (after.taken, after.written, after.cancelled, after.exhausted) == (3, 3, 0, before.exhausted)


def test_a_run_that_fails() -> None:
    """Its source raised."""

    async def broken() -> AsyncIterator[int]:
        yield 1
        raise OSError("gone")

    assert watched(stage("a", 1.0), source=broken())[-1].state == "failed"


def test_an_until_that_is_reached() -> None:
    """The run ends early, and has not been stopped."""
    snapshots: list[Snapshot] = []

    async def main() -> None:
        run = Pipeline(stage("a", 1.0, concurrency=3), scheduler="asyncio").start(range(100), until=5)
        run.snapshots().subscribe(snapshots.append)
        await asyncio.wrap_future(run.finished)
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    assert (snapshots[-1].state, snapshots[-1].until, snapshots[-1].written) == ("finished", 5, 5)


def test_snapshots_may_be_given_up() -> None:
    """Then no timer is left, and the run goes on."""
    got: list[Snapshot] = []

    def during(run: Run) -> None:
        subscription = run.snapshots(0.5).subscribe(got.append)
        asyncio.get_running_loop().call_later(1.2, subscription.dispose)

    assert watched(stage("a", 1.0), during=during)[-1].written == 4
    assert len(got) == 3


def test_seconds_must_be_above_zero() -> None:
    """Else there is one clear error."""
    with pytest.raises(ValueError, match="seconds must be above 0, not 0"):
        watched(stage("a", 1.0), every=0)


def test_a_sink(tmp_path: Path) -> None:
    """Its commits are counted, and what is in them."""
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    pipeline = Pipeline(Stage("a", lambda value: value), sink=DatabaseSink(url, row=lambda one: {"id": one.id}))
    last: list[Snapshot] = []
    run = pipeline.start(range(50))
    run.snapshots(60.0).subscribe(last.append)
    run.finished.result(20)
    sink = run.snapshot().sink
    assert sink is not None
    assert (sink.name, sink.outcomes, sink.waiting, sink.away) == ("database", 50, 0, None)
    assert 1 <= sink.commits <= 50
    assert 0 < sink.busy < 20


def test_a_run_without_a_sink() -> None:
    """There is none to tell of."""
    assert watched(stage("a", 0.1))[-1].sink is None
