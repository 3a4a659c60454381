"""Open pipelines in virtual time: admission, stalls and grace go by the scheduler's clock, and real time by none."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import LIMIT, SCHEDULERS, counts, lasting, until
from reactivex.testing import TestScheduler

from rxpipe import DatabaseSink, Overloaded, Pipeline, Retry, RunStore, Stage, StageTimeout
from rxpipe.operators.core import real_calls
from rxpipe.pipeline.blocking import Interrupts
from rxpipe.pipeline.plan import Scheduler


def failing_once() -> Any:
    """A function that takes 10 s, and fails at its first call."""
    calls: list[Any] = []

    def call(value: Any) -> Any:
        calls.append(value)
        if len(calls) == 1:
            raise ValueError("once")
        return lasting(10.0)(value)

    return call


def test_leaving_the_context_lets_the_time_pass() -> None:
    """Hours of calls, one after the other; more than the pipeline holds may wait."""
    time = TestScheduler()
    pipeline = Pipeline(Stage("a", lasting(3600.0), concurrency=1, queue_size=1))
    with pipeline.open(scheduler=time) as running:
        submissions = [running.submit(number) for number in range(10)]
    outcomes = [submission.result(0) for submission in submissions]
    assert [outcome.status for outcome in outcomes] == ["written"] * 10
    assert time.clock == 10 * 3600
    assert [outcome.seconds for outcome in outcomes[:3]] == [3600.0, 7200.0, 7200.0]  # of being inside


def test_a_stall_is_one_of_virtual_time() -> None:
    """And its end, too."""
    time = TestScheduler()
    with Pipeline(Stage("a", lasting(100.0), concurrency=1)).open(scheduler=time, stalled_after=60) as running:
        running.submit(1)
        time.advance_by(59.0)
        assert running.health().status == "alive"
        time.advance_by(2.0)
        health = running.health()
        told = "a has ended no call for 61 s: its oldest call has been running for 61 s"
        assert (health.status, health.reason) == ("stalled", f"nothing has happened for 61 s: 1 calls of a run; {told}")
        time.advance_by(40.0)
        assert running.health().status == "alive"


def test_grace_is_one_of_virtual_time() -> None:
    """What ends within it is written, the rest is cancelled then."""
    time = TestScheduler()
    stage: Stage = Stage("a", lambda value: lasting(value)(value), concurrency=3)
    with Pipeline(stage).open(scheduler=time, grace=30.0) as running:
        submissions = [running.submit(number) for number in (10, 29, 31)]
    assert [submission.result(0).status for submission in submissions] == ["written", "written", "cancelled"]
    assert running.report().seconds == 30


def test_how_long_to_wait_is_told_in_virtual_time() -> None:
    """As long as items have taken so far."""
    time = TestScheduler()
    with Pipeline(Stage("a", lasting(20.0), concurrency=1)).open(scheduler=time, capacity=1) as running:
        running.submit(1)
        time.advance_by(20.0)
        running.submit(2)
        with pytest.raises(Overloaded) as full:
            running.submit_nowait(3)
    assert full.value.retry_after == pytest.approx(20.0)


class Flaky:
    """A coroutine function that takes some turns of its loop, and fails at first."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls: Counter[Any] = Counter()

    async def __call__(self, value: Any) -> Any:
        self.calls[value] += 1
        for _ in range(50):
            await asyncio.sleep(0)
        if self.calls[value] <= self.failures:
            raise ConnectionError("busy")
        return value


DOUBLING = Retry(max_attempts=4, initial=10.0, backoff_factor=2.0, max_delay=100.0, jitter=0.0)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_no_time_passes_while_coroutines_run(scheduler: Scheduler) -> None:
    """So none times out, and each delay is exact."""
    flaky = Flaky(failures=3)
    pipeline = Pipeline(Stage("a", flaky, timeout=5.0, retry=DOUBLING, concurrency=2), scheduler=scheduler)
    with pipeline.open(scheduler=TestScheduler()) as running:
        submissions = [running.submit(number) for number in range(4)]
    outcomes = [submission.result(0) for submission in submissions]
    assert [(outcome.status, outcome.attempts, outcome.seconds) for outcome in outcomes] == [("written", 4, 70.0)] * 4


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_no_time_passes_while_coroutines_run_on_this_loop(scheduler: Scheduler) -> None:
    """Nor is the loop blocked."""

    async def main() -> list[Any]:
        pipeline = Pipeline(Stage("a", Flaky(failures=3), timeout=5.0, retry=DOUBLING), scheduler=scheduler)
        async with pipeline.open(scheduler=TestScheduler()) as running:
            submissions = [running.submit(number) for number in range(4)]
        return [await submission for submission in submissions]

    outcomes = asyncio.run(asyncio.wait_for(main(), LIMIT))
    assert [(outcome.status, outcome.seconds) for outcome in outcomes] == [("written", 70.0)] * 4


@pytest.mark.parametrize("is_on_a_loop", [False, True])
def test_a_coroutine_that_hangs_times_out(is_on_a_loop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a moment of real time, virtual time passes for it."""
    monkeypatch.setattr(real_calls, "_PATIENCE", 0.05)

    async def hang(value: Any) -> None:
        await asyncio.Event().wait()

    pipeline = Pipeline(Stage("a", hang, timeout=30.0))

    async def main() -> Any:
        async with pipeline.open(scheduler=TestScheduler()) as running:
            submission = running.submit(1)
        return await submission

    if is_on_a_loop:
        outcome = asyncio.run(asyncio.wait_for(main(), LIMIT))
    else:
        with pipeline.open(scheduler=TestScheduler()) as running:
            submission = running.submit(1)
        outcome = submission.result(0)
    assert isinstance(outcome.error, StageTimeout)
    assert outcome.seconds == 30.0


def test_other_threads_are_waited_for() -> None:
    """As coroutines are: virtual time stands still until a call in an executor has ended."""
    may_return = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        stage: Stage = Stage("a", lambda value: may_return.wait(LIMIT), timeout=30.0, executor=executor)
        with Pipeline(stage).open(scheduler=TestScheduler()) as running:
            submission = running.submit(1)
            threading.Timer(0.02, may_return.set).start()
    assert (submission.result(0).status, submission.result(0).seconds) == ("written", 0.0)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_on_a_loop(scheduler: Scheduler) -> None:
    """Delays and grace are virtual, the loop's own time is not needed."""
    time = TestScheduler()
    retry = Retry(initial=5000.0, max_delay=5000.0, jitter=0.0)

    async def main() -> list[str]:
        pipeline = Pipeline(Stage("a", failing_once(), concurrency=1, retry=retry), scheduler=scheduler)
        async with pipeline.open(scheduler=time) as running:
            submissions = [running.submit(number) for number in range(3)]
        return [(await submission).status for submission in submissions]

    assert asyncio.run(asyncio.wait_for(main(), LIMIT)) == ["written"] * 3
    assert time.clock >= 5010


def test_with_a_store(tmp_path: Path) -> None:
    """Its part in real time does not keep virtual time from passing."""
    time = TestScheduler()
    pipeline = Pipeline(
        Stage("a", lasting(1000.0), concurrency=1),
        sink=DatabaseSink(f"sqlite:///{tmp_path / 'bank.db'}"),
        store=RunStore(),
    )
    with pipeline.open(scheduler=time) as running:
        submissions = [running.submit(number) for number in range(3)]
    assert [submission.result(0).status for submission in submissions] == ["written"] * 3
    assert counts(running.report()) == (3, 3, 0, 0)
    assert time.clock >= 3000


def test_the_grace_of_a_run_is_that_of_its_clock() -> None:
    """Where signals end it."""
    time = TestScheduler()
    run = Pipeline(Stage("a", lasting(100.0))).start([1], scheduler=time)
    time.advance_by(1.0)
    interrupts = Interrupts((), None, 30.0)
    interrupts.count = 1
    interrupts.attach(run, lambda action: action())
    time.advance_by(29.0)
    assert run.cancelled == 0
    time.advance_by(2.0)
    until(run.finished.done)
    assert run.cancelled == 1
