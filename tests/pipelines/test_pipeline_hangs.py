"""Functions of stages that hang: their items fail, in a time that the tests let go by, and all others are written."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import STRATEGIES, WAYS, Block, ListSink, Seen, counts, finish, same, until
from reactivex.testing import TestScheduler

from rxpipe import DatabaseSink, Pipeline, Stage, StageStalled, StageTimeout
from rxpipe.operators.core import clock
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.run.strategies import Strategy


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> TestScheduler:
    """The time by which runs go, on threads and on loops."""
    scheduler = TestScheduler()
    virtual = clock.SchedulerClock(scheduler)
    monkeypatch.setattr(clock, "TIMER_THREAD", virtual)

    def clock_of_loop(loop: asyncio.AbstractEventLoop) -> clock.Clock:
        return virtual

    monkeypatch.setattr(clock, "LoopClock", clock_of_loop)
    return scheduler


def finish_in_time(run: Run, time: TestScheduler) -> None:
    """Let time go by until the run has ended."""

    def has_ended() -> bool:
        time.advance_by(1)
        return run.finished.done()

    until(has_ended)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_call_that_hangs_on_a_thread_fails_alone(strategy: Strategy, time: TestScheduler) -> None:
    """It is abandoned when its time is over, and all others are written."""
    block, sink = Block(only=[3]), ListSink()
    run = Pipeline(Stage("s", block, timeout=60, concurrency=2), Stage("t", same), sink=sink, strategy=strategy).start(
        range(10)
    )
    until(lambda: run.stages[0].done == 9)
    time.advance_to(61)
    report = finish(run)
    block.may_return.set()
    assert counts(report) == (10, 9, 1, 0)
    assert report.stages[0].abandoned == 1
    (failed,) = (row for row in sink.rows if row.status == "failed")
    assert (failed.id, failed.stage) == (3, "s")
    assert isinstance(failed.error, StageTimeout)


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_a_coroutine_that_hangs_fails_alone_and_is_cancelled(
    strategy: Strategy, scheduler: Scheduler, time: TestScheduler
) -> None:
    """It may take a moment longer than the run."""
    cancelled = threading.Event()

    async def call(value: int) -> int:
        if value == 3:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                cancelled.set()
                raise
        return value

    pipeline = Pipeline(Stage("s", call, timeout=60), strategy=strategy, scheduler=scheduler)

    async def on_a_loop() -> Any:
        run = pipeline.start(range(10))
        while run.stages[0].done < 9:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        time.advance_to(61)
        return await asyncio.wrap_future(run.finished)

    def on_threads() -> Any:
        run = pipeline.start(range(10))
        until(lambda: run.stages[0].done == 9)
        time.advance_to(61)
        return finish(run)

    report = asyncio.run(on_a_loop()) if scheduler == "asyncio" else on_threads()
    assert counts(report) == (10, 9, 1, 0)
    assert report.stages[0].abandoned == 0
    assert cancelled.wait(20)


def test_a_late_result_of_an_abandoned_call_is_thrown_away(time: TestScheduler) -> None:
    """The item has failed; it does not come twice."""
    block, seen = Block(only=[0]), Seen()
    hang = threading.Event()

    def second(value: int) -> int:
        if value == 1:
            hang.wait(20)
        return value

    run = Pipeline(Stage("s", block, timeout=60, concurrency=1), Stage("t", second)).start([0, 1], seen)
    block.wait_for(1)
    time.advance_to(61)
    seen.wait_for(1)
    block.may_return.set()
    hang.set()
    assert counts(finish(run)) == (2, 1, 1, 0)
    assert seen.ids == [0, 1]
    assert seen.broken == []


def test_a_stage_that_stalls_ends_the_run_and_everything_is_accounted_for(tmp_path: Path, time: TestScheduler) -> None:
    """Rows that were finished are written, and what was on its way is cancelled."""
    block, seen, path = Block(only=range(3, 100)), Seen(), tmp_path / "x.db"
    run = Pipeline(
        Stage("s", block, timeout=60, concurrency=1, max_abandoned=0),
        Stage("t", same),
        sink=DatabaseSink(f"sqlite:///{path}"),
    ).start(range(100), seen)
    block.wait_for(1)
    finish_in_time(run, time)
    with pytest.raises(StageStalled, match="s: stalled, 1 call"):
        finish(run)
    block.may_return.set()
    report = run.report()
    assert (report.written, report.failed) == (3, 1)
    assert report.taken == 4 + report.cancelled == len(seen.outcomes)
    with closing(sqlite3.connect(path)) as database:
        rows = dict(database.execute("select id, status from results").fetchall())
    assert rows == {"0": "written", "1": "written", "2": "written", "3": "failed"}
    assert isinstance(seen.error, StageStalled)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_when_a_stage_stalls_what_others_have_finished_is_written(strategy: Strategy, time: TestScheduler) -> None:
    """Also with ``staged``, where it waits for the rest."""
    block, sink = Block(only=[5, 6, 7]), ListSink()
    run = Pipeline(
        Stage("a", same, concurrency=1),
        Stage("b", block, timeout=60, concurrency=1, max_abandoned=0),
        sink=sink,
        strategy=strategy,
        concurrency=1,
    ).start(range(8))
    block.wait_for(1)
    finish_in_time(run, time)
    with pytest.raises(StageStalled):
        finish(run)
    block.may_return.set()
    assert {row.id: row.status for row in sink.rows} == {**dict.fromkeys(range(5), "written"), 5: "failed"}
    assert run.taken == 6 + run.cancelled
