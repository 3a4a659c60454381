"""Calls of `stage` on threads that hang: abandoned after their timeout, within limits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from operator_helpers import Hanging, Watch, here
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable
from reactivex.testing import TestScheduler

from rxpipe.operators import Failure, Retry, deadline, from_iterable, stage
from rxpipe.operators.core.worker import Call
from rxpipe.operators.errors import StageStalled, StageTimeout
from rxpipe.operators.stages.settings import settings_of
from rxpipe.operators.stages.stage_machine import StageMachine


def ignore(failure: Failure[Any]) -> str:
    return type(failure.error).__name__


def test_an_abandoned_thread_gives_its_slot_to_a_fresh_one(hanging: Hanging) -> None:
    """By default as many threads as there are slots may hang after their timeout while others go on."""
    time = TestScheduler()
    watch = Watch[Any]()
    watch.to(from_iterable([1, 2, 3]).pipe(stage(hanging, timeout=10, timer=time, recover=ignore)))
    hanging.gauge.wait_for(1)
    time.advance_to(10)
    watch.wait_for(1)
    hanging.gauge.wait_for(2)
    hanging.release(2, 3)
    assert watch.end() == ["StageTimeout", 2, 3]


def test_with_no_abandoned_threads_allowed_the_bound_is_strict(hanging: Hanging) -> None:
    """With `max_abandoned=0` the next call starts when the thread of the last one has returned."""
    time = TestScheduler()
    watch = Watch[Any]()
    watch.to(from_iterable([1, 2]).pipe(stage(hanging, timeout=10, timer=time, recover=ignore, max_abandoned=0)))
    hanging.gauge.wait_for(1)
    time.advance_to(10)
    watch.wait_for(1)
    assert hanging.gauge.total == 1
    hanging.release(1, 2)
    assert watch.end() == ["StageTimeout", 2]
    assert hanging.gauge.most == 1


@pytest.mark.parametrize(("allowed", "total"), [(0, 2), (1, 3), (3, 5)])
def test_so_many_threads_are_abandoned_and_no_more(hanging: Hanging, allowed: int, total: int) -> None:
    """Never more than `concurrency + max_abandoned` threads are in the function."""
    time = TestScheduler()
    options: dict[str, Any] = {"concurrency": 2, "timeout": 10, "timer": time, "recover": ignore}
    watch = Watch[Any]()
    watch.to(from_iterable(range(20)).pipe(stage(hanging, **options, max_abandoned=allowed)))
    hanging.gauge.wait_for(2)
    for round_ in range(1, 4):
        time.advance_to(10 * round_)
        hanging.gauge.wait_for(total=min(total, 2 + 2 * round_))
        if watch.ended.is_set():
            break
    assert hanging.gauge.most == total
    watch.dispose()


def test_a_late_result_is_discarded(hanging: Hanging) -> None:
    """What an abandoned thread returns after its timeout goes nowhere; the retry's result counts."""
    time = TestScheduler()
    first = iter([True])

    def fn(value: int) -> int:
        return hanging(value) if next(first, False) else value + 100

    retry = Retry(initial=5, jitter=0)
    watch = Watch[int]().to(from_iterable([1]).pipe(stage(fn, timeout=10, timer=time, retry=retry)))
    hanging.gauge.wait_for(1)
    time.advance_to(10)
    hanging.release(1)
    hanging.gauge.wait_for(0)
    time.advance_to(15)
    assert watch.end() == [101]


def test_a_stage_whose_slots_are_all_stuck_stalls(hanging: Hanging) -> None:
    """When for a further `timeout` no slot has come free, the sequence ends with an error that names the stage."""
    time = TestScheduler()
    watch = Watch[Any]()
    watch.to(
        from_iterable(range(9)).pipe(
            stage(hanging, name="ask", concurrency=2, timeout=10, timer=time, recover=ignore, max_abandoned=0)
        )
    )
    hanging.gauge.wait_for(2)
    time.advance_to(19.9)
    assert not watch.ended.is_set()
    time.advance_to(20)
    with pytest.raises(StageStalled, match="ask: stalled, 2 calls timed out") as caught:
        watch.end()
    assert (caught.value.stage, caught.value.abandoned) == ("ask", 2)


def test_a_stage_that_gets_a_slot_back_does_not_stall(hanging: Hanging) -> None:
    """A thread that returns late, but in time, saves the stage; a later stall waits its whole time again."""
    time = TestScheduler()
    watch = Watch[Any]()
    watch.to(from_iterable([1, 2, 3]).pipe(stage(hanging, timeout=10, timer=time, recover=ignore, max_abandoned=0)))
    hanging.gauge.wait_for(1)
    time.advance_to(15)
    hanging.release(1)
    hanging.gauge.wait_for(total=2)
    time.advance_to(25)  # the second call times out
    watch.wait_for(2)
    time.advance_to(34.9)
    assert not watch.ended.is_set()
    time.advance_to(35)
    with pytest.raises(StageStalled):
        watch.end()


def test_a_deadline_that_is_over_is_zero(hanging: Hanging) -> None:
    """A call that goes on after its timeout has no time left, rather than less than none."""
    time = TestScheduler()
    left: list[float | None] = []
    threads: list[threading.Thread] = []

    def fn(value: int) -> None:
        threads.append(here())
        hanging(value)
        left.append(deadline())

    watch = Watch[None]().to(from_iterable([1]).pipe(stage(fn, timeout=10, timer=time)))
    hanging.gauge.wait_for(1)
    time.advance_to(12)
    with pytest.raises(StageTimeout):
        watch.end()
    hanging.release(1)
    threads[0].join(20)
    assert left == [0]


class Clock:
    """Stands still, and rings when told to."""

    def __init__(self) -> None:
        self.time = 0.0
        self.actions: list[Callable[[], None]] = []

    def now(self) -> float:
        return self.time

    def call_later(self, seconds: float, action: Callable[[], None]) -> DisposableBase:
        self.actions.append(action)
        return Disposable()


class Calls:
    """Keeps the calls that it is to run."""

    queues = cancels = False
    width = float("inf")

    def __init__(self) -> None:
        self.started: list[Call] = []

    def start(self, fn: Callable[[Any], Any], value: Any, call: Call) -> None:
        self.started.append(call)

    def close(self) -> None:
        pass


def stage_by_hand(clock: Clock, runner: Calls, watch: Watch[Any]) -> StageMachine[int, Any]:
    options = settings_of(
        lambda value: value,
        name="stage",
        concurrency=1,
        queue_size=1,
        timeout=10,
        retry=None,
        rate_limit=None,
        recover=ignore,
        max_abandoned=0,
    )
    return StageMachine(
        options,
        watch,
        clock=clock,
        runner=runner,
        loop_runner=Calls,
        dispatcher=None,
        scheduler=None,
    )


def test_a_stall_that_is_over_when_its_timer_is_heard_is_none() -> None:
    """A timer whose message waits behind that of a call that has returned at last ends nothing."""
    clock, runner, watch = Clock(), Calls(), Watch[Any]()
    machine = stage_by_hand(clock, runner, watch)
    machine.on_next(1)
    clock.time = 10
    clock.actions.pop()()
    assert watch.values == ["StageTimeout"]

    def both() -> None:
        runner.started[0].done(True, "late")
        clock.time = 20
        clock.actions.pop()()

    machine.post(both)
    assert not watch.ended.is_set()
    machine.on_next(2)
    assert len(runner.started) == 2


def test_a_timer_that_rings_early_does_not_miss_a_stall() -> None:
    """Some count in whole milliseconds: then the rest is waited for."""
    clock, runner, watch = Clock(), Calls(), Watch[Any]()
    stage_by_hand(clock, runner, watch).on_next(1)
    clock.time = 10
    clock.actions.pop()()
    assert watch.values == ["StageTimeout"]
    clock.time = 19.999
    clock.actions.pop()()
    assert not watch.ended.is_set()
    clock.time = 20
    clock.actions.pop()()
    assert isinstance(watch.error, StageStalled)
