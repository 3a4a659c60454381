"""Clocks: which one an operator gets, what time it counts, and how it waits."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import reactivex as rx
from operator_helpers import LIMIT, Watch, collect, run_on_loop
from reactivex import operators as rx_ops
from reactivex.abc import SchedulerBase
from reactivex.scheduler import (
    CurrentThreadScheduler,
    EventLoopScheduler,
    HistoricalScheduler,
    ImmediateScheduler,
    NewThreadScheduler,
    ThreadPoolScheduler,
    TimeoutScheduler,
    TrampolineScheduler,
)
from reactivex.scheduler.eventloop import AsyncIOScheduler, AsyncIOThreadSafeScheduler
from reactivex.testing import TestScheduler
from virtual_loop import VirtualLoop

from rxpipe.operators import from_iterable, timeout
from rxpipe.operators.core.clock import (
    TIMER_THREAD,
    LoopClock,
    SchedulerClock,
    TimerThread,
    clock_for,
    guarded,
    loop_of,
    running_loop,
)
from rxpipe.operators.errors import CompletionTimeout


def nothing() -> None:
    pass


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_the_operator_s_own_timer_wins() -> None:
    """Over the one that is subscribed on, and over the running loop."""

    async def main() -> None:
        own, other = TestScheduler(), TestScheduler()
        own.advance_to(7)
        assert clock_for(own, other).now() == 7

    run_on_loop(main)


def test_the_scheduler_subscribed_on_comes_second() -> None:
    """Before the running loop."""

    async def main() -> None:
        scheduler = TestScheduler()
        scheduler.advance_to(7)
        assert clock_for(None, scheduler).now() == 7

    run_on_loop(main)


def test_the_running_loop_comes_third() -> None:
    """Its time counts."""

    async def main() -> None:
        await asyncio.sleep(7)
        assert clock_for(None, None).now() == 7

    run_on_loop(main)


def test_the_timer_thread_comes_last() -> None:
    """It is one for all."""
    assert clock_for(None, None) is TIMER_THREAD


@pytest.mark.parametrize(
    "scheduler",
    [CurrentThreadScheduler.singleton(), CurrentThreadScheduler(), TrampolineScheduler(), ImmediateScheduler()],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_a_scheduler_that_waits_by_blocking_is_passed_over(scheduler: SchedulerBase) -> None:
    """The subscriber's thread is not made to sleep."""
    assert clock_for(None, scheduler) is TIMER_THREAD


def test_reactivex_s_operators_that_hand_such_a_scheduler_on() -> None:
    """A time in a sequence of `on_error_resume_next` costs nobody that time."""
    source = rx.on_error_resume_next(from_iterable([1]).pipe(timeout(3600)), rx.of(2))
    assert collect(source) == [1, 2]


@pytest.mark.parametrize("make", [AsyncIOScheduler, AsyncIOThreadSafeScheduler])
def test_the_scheduler_of_a_loop(make: Callable[[asyncio.AbstractEventLoop], SchedulerBase]) -> None:
    """The loop's own clock, on the loop and on other threads."""

    def tell(called: asyncio.Future[str]) -> None:
        called.set_result(here())

    async def main() -> None:
        loop = asyncio.get_running_loop()
        scheduler = make(loop)
        assert loop_of(scheduler) is loop
        for clock in (clock_for(None, scheduler), await asyncio.to_thread(clock_for, scheduler, None)):
            called: asyncio.Future[str] = loop.create_future()
            clock.call_later(0, partial(tell, called))
            assert await called == here()

    run_on_loop(main, virtual=False)


def here() -> str:
    return threading.current_thread().name


def test_no_loop_runs_here() -> None:
    """Nor has another scheduler one."""
    assert running_loop() is None
    assert loop_of(TestScheduler()) is None


def test_virtual_time_is_exact() -> None:
    """A scheduler's time is told in seconds, and actions come at their tick."""
    scheduler, calls = TestScheduler(), list[float]()
    clock = SchedulerClock(scheduler)
    for ticks in (0.25, 10, 3, 3):
        clock.call_later(ticks, lambda: calls.append(clock.now()))
    scheduler.start()
    assert calls == [0.25, 3, 3, 10]


def test_a_historical_scheduler() -> None:
    """One whose time is dates tells them as seconds, too."""
    scheduler = HistoricalScheduler(datetime(2020, 1, 1, tzinfo=UTC))
    clock, calls = SchedulerClock(scheduler), list[float]()
    clock.call_later(90, lambda: calls.append(clock.now()))
    began = clock.now()
    scheduler.start()
    assert calls == [began + 90]


@pytest.mark.parametrize(
    "scheduler",
    [NewThreadScheduler(), TimeoutScheduler(), EventLoopScheduler(), ThreadPoolScheduler(1)],
    ids=lambda scheduler: type(scheduler).__name__,
)
def test_schedulers_of_real_time_count_monotonic_seconds(scheduler: SchedulerBase) -> None:
    """Setting the wall clock disturbs none, and all count the same, as the timer thread and the loops do."""
    began = time.monotonic()
    assert began <= SchedulerClock(scheduler).now() <= time.monotonic()
    assert TIMER_THREAD.now() >= began

    async def main() -> float:
        return clock_for(None, None).now()

    assert run_on_loop(main, virtual=False) >= began


def test_a_disposed_action_of_a_scheduler() -> None:
    """It is not called."""
    scheduler, calls = TestScheduler(), list[int]()
    SchedulerClock(scheduler).call_later(5, lambda: calls.append(1)).dispose()
    scheduler.start()
    assert calls == []


def test_an_action_that_raises_does_not_end_the_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is shown, as nobody else can take it; an `EventLoopScheduler` would die of it."""
    shown, done = list[type[BaseException]](), threading.Event()

    def show(args: threading.ExceptHookArgs) -> None:
        shown.append(args.exc_type)

    monkeypatch.setattr(threading, "excepthook", show)
    scheduler = EventLoopScheduler()

    def fail() -> None:
        raise SystemExit

    clock = SchedulerClock(scheduler)
    clock.call_later(0, fail)
    clock.call_later(0, done.set)
    assert done.wait(LIMIT)
    scheduler.dispose()
    assert shown == [SystemExit]


def test_guarded_actions_run() -> None:
    """And what they raise is shown with its traceback."""
    calls: list[int] = []
    guarded(lambda: calls.append(1))
    assert calls == [1]


FOREVER = [1e9 + 1, 1e300, math.inf]


@pytest.mark.parametrize("seconds", FOREVER)
@pytest.mark.parametrize("clock", [TimerThread(), SchedulerClock(TestScheduler())])
def test_waits_that_nobody_lives_to_see_the_end_of(clock: Any, seconds: float) -> None:
    """No clock chokes on them, and they can be disposed."""
    clock.call_later(seconds, nothing).dispose()
    clock.call_later(seconds, nothing)


@pytest.mark.parametrize("seconds", FOREVER)
def test_such_waits_on_a_loop(seconds: float) -> None:
    """The same on a loop: the virtual one would jump there."""

    async def main() -> float:
        clock_for(None, None).call_later(seconds, nothing)
        await asyncio.sleep(5)
        return asyncio.get_running_loop().time()

    assert run_on_loop(main) == 5


def test_a_long_wait() -> None:
    """Thirty years are none of those: but no thread can wait so long at a time everywhere."""
    called = threading.Event()
    timers = TimerThread()
    long = timers.call_later(9e8, nothing)
    timers.call_later(0, called.set)
    assert called.wait(LIMIT)
    long.dispose()


def test_actions_on_a_loop_in_order() -> None:
    """Each at its time."""

    async def main() -> list[tuple[float, str]]:
        clock, calls = clock_for(None, None), list[tuple[float, str]]()

        def note(name: str) -> None:
            calls.append((clock.now(), name))

        for seconds, name in ((10, "b"), (5, "a"), (15, "c"), (0, "0")):
            clock.call_later(seconds, partial(note, name))
        await asyncio.sleep(20)
        return calls

    assert run_on_loop(main) == [(0, "0"), (5, "a"), (10, "b"), (15, "c")]


def test_an_action_on_a_loop_that_was_disposed() -> None:
    """It is not called, also if that happens at its own time, or twice."""

    async def main() -> list[int]:
        clock, calls = clock_for(None, None), list[int]()
        first = clock.call_later(5, lambda: second.dispose())
        second = clock.call_later(5, lambda: calls.append(2))
        third = clock.call_later(1, lambda: calls.append(3))
        third.dispose()
        third.dispose()
        await asyncio.sleep(10)
        first.dispose()
        return calls

    assert run_on_loop(main) == []


def test_actions_that_other_threads_set_wake_the_loop() -> None:
    """And are called on it."""

    async def main() -> str:
        loop, clock = asyncio.get_running_loop(), clock_for(None, None)
        called: asyncio.Future[str] = loop.create_future()
        thread = threading.Thread(target=clock.call_later, args=(0.001, lambda: called.set_result(here())))
        thread.start()
        return await asyncio.wait_for(called, LIMIT)

    assert run_on_loop(main, virtual=False) == here()


def test_actions_that_other_threads_set_and_dispose() -> None:
    """They are not called, whether the loop knows of them already or not."""

    async def main() -> list[int]:
        clock, calls = clock_for(None, None), list[int]()

        def set_and_dispose() -> None:
            clock.call_later(0, lambda: calls.append(1)).dispose()

        thread = threading.Thread(target=set_and_dispose)
        thread.start()
        thread.join(LIMIT)  # meanwhile the loop does nothing
        known = clock.call_later(3600, lambda: calls.append(2))
        await asyncio.to_thread(known.dispose)
        await turn()
        timers: list[asyncio.TimerHandle] = getattr(asyncio.get_running_loop(), "_scheduled")  # noqa: B009
        assert [timer for timer in timers if not timer.cancelled()] == []
        return calls

    assert run_on_loop(main, virtual=False) == []


def test_disposal_after_the_loop_was_closed() -> None:
    """There is nothing left to cancel."""

    async def main() -> Any:
        return clock_for(None, None).call_later(60, nothing)

    run_on_loop(main).dispose()


def test_the_time_of_a_foreign_loop() -> None:
    """A loop that counts another time than `time.monotonic` is asked for it."""
    loop = VirtualLoop()
    assert LoopClock(loop).now() == loop.time()
    loop.close()


def test_a_timeout_under_run() -> None:
    """`run`, which subscribes on a scheduler of its own, times out as well."""
    with pytest.raises(CompletionTimeout):
        rx.never().pipe(timeout(0.001)).run()
    assert rx.of(1).pipe(timeout(60), rx_ops.map(str)).run() == "1"


def test_no_watch_is_needed() -> None:
    """A sequence that ends in time leaves no timer thread behind, as the fixture of all tests sees."""
    assert Watch[int]().to(from_iterable([1]).pipe(timeout(60))).result() == [1]
