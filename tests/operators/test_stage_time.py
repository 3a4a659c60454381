"""Timeouts, retries and rate limits of `stage` in virtual time, to the tick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.testing import ReactiveTest, TestScheduler
from reactivex.testing.recorded import Recorded
from reactivex.typing import AbsoluteTime, ScheduledAction

from rxpipe.operators import Failure, RateLimiter, Retry, from_iterable, stage
from rxpipe.operators.errors import StageTimeout

on_next, on_error, on_completed = ReactiveTest.on_next, ReactiveTest.on_error, ReactiveTest.on_completed

Call = tuple[float, Any]


class Scheduler(TestScheduler):
    """Notes when the last of its actions ran; its clock also goes on to those that were cancelled."""

    __test__ = False
    last_action = 0.0

    def schedule_absolute(
        self, duetime: AbsoluteTime, action: ScheduledAction[Any], state: Any = None
    ) -> DisposableBase:
        def noting(scheduler: SchedulerBase, state: Any = None) -> DisposableBase | None:
            self.last_action = self.clock
            return action(scheduler, state)

        return super().schedule_absolute(duetime, noting, state)


class Work:
    """A function whose calls take virtual time: as many seconds as its item says, or as ``seconds`` says for all.

    Attributes:
        calls: When which item was called with.
    """

    def __init__(self, scheduler: TestScheduler, seconds: float | None = None, fails: int = 0) -> None:
        self.calls: list[Call] = []
        self._scheduler = scheduler
        self._seconds = seconds
        self._fails = fails

    def __call__(self, value: Any) -> Observable[Any]:
        self.calls.append((self._scheduler.clock, value))
        done = rx.timer(self._seconds if self._seconds is not None else value).pipe(rx_ops.map(lambda _: value))
        if len(self.calls) <= self._fails:
            return done.pipe(rx_ops.flat_map(lambda _: rx.throw(ValueError(f"call {len(self.calls)}"))))
        return done


def run(scheduler: TestScheduler, chain: Callable[[], Observable[Any]], until: float = 10_000) -> list[Recorded[Any]]:
    """What a chain that is subscribed to at 200 notifies."""
    return scheduler.start(chain, disposed=until).messages


def named(failure: Failure[Any]) -> str:
    return f"{failure.value} {type(failure.error).__name__}"


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


def test_calls_share_the_slots(scheduler: TestScheduler) -> None:
    """Two slots take four items in two rounds, each starting when a slot is free."""
    work = Work(scheduler)
    messages = run(scheduler, lambda: from_iterable([10.0, 20.0, 30.0, 5.0]).pipe(stage(work, concurrency=2)))
    assert work.calls == [(200, 10), (200, 20), (210, 30), (220, 5)]
    assert messages == [
        on_next(210, 10.0),
        on_next(220, 20.0),
        on_next(225, 5.0),
        on_next(240, 30.0),
        on_completed(240),
    ]


def test_ordered_results_wait_for_their_turn(scheduler: TestScheduler) -> None:
    """In order, a result waits for those before it, while its slot is used by the next item."""
    work = Work(scheduler)
    messages = run(scheduler, lambda: from_iterable([30.0, 10.0, 5.0]).pipe(stage(work, concurrency=2, ordered=True)))
    assert work.calls == [(200, 30), (200, 10), (210, 5)]
    assert messages == [on_next(230, 30.0), on_next(230, 10.0), on_next(230, 5.0), on_completed(230)]


def test_a_call_may_take_its_whole_time(scheduler: TestScheduler) -> None:
    """A call that ends before its time is up is no timeout, and the timeout leaves no trace."""
    messages = run(scheduler, lambda: from_iterable([9.0]).pipe(stage(Work(scheduler), timeout=10)))
    assert messages == [on_next(209, 9.0), on_completed(209)]


def test_a_timeout_comes_to_the_tick(scheduler: TestScheduler) -> None:
    """A call is given up exactly when its time is up, with an error that says whose and how long it was."""
    errors: list[BaseException] = []
    recover: Callable[[Failure[float]], None] = lambda failure: errors.append(failure.error)  # noqa: E731
    chain = from_iterable([50.0]).pipe(stage(Work(scheduler), name="slow", timeout=10, recover=recover))
    assert run(scheduler, lambda: chain) == [on_next(210, None), on_completed(210)]
    (error,) = errors
    assert isinstance(error, StageTimeout)
    assert isinstance(error, TimeoutError)
    assert (error.stage, error.seconds, str(error)) == ("slow", 10, "slow: no result within 10 s")


def test_time_in_the_queue_does_not_count(scheduler: TestScheduler) -> None:
    """An item may wait longer than the timeout: its time runs from the start of its call."""
    work = Work(scheduler, seconds=8)
    messages = run(scheduler, lambda: from_iterable(range(4)).pipe(stage(work, timeout=10)))
    assert messages == [*(on_next(208 + 8 * n, n) for n in range(4)), on_completed(232)]


def test_each_call_has_its_own_deadline(scheduler: TestScheduler) -> None:
    """Calls that started at different times are given up at different times."""
    source = scheduler.create_hot_observable(
        on_next(210, 50.0), on_next(213, 50.0), on_next(214, 2.0), on_next(217, 50.0), on_completed(218)
    )
    messages = run(scheduler, lambda: source.pipe(stage(Work(scheduler), concurrency=9, timeout=10, recover=named)))
    assert messages == [
        on_next(216, 2.0),
        on_next(220, "50.0 StageTimeout"),
        on_next(223, "50.0 StageTimeout"),
        on_next(227, "50.0 StageTimeout"),
        on_completed(227),
    ]


@pytest.mark.parametrize("seconds", [0.1, 0.3, 1 / 3, 0.0000014, 1e-9])
def test_times_that_a_scheduler_rounds(scheduler: TestScheduler, seconds: float) -> None:
    """A timeout that is no whole number of microseconds comes within one of them, and time does not run away."""
    chain = from_iterable([1, 2, 3]).pipe(
        rx_ops.map(lambda _: 50.0), stage(Work(scheduler), timeout=seconds, recover=named)
    )
    messages = run(scheduler, lambda: chain)
    assert [round(message.time - 200, 5) for message in messages] == [round(seconds * n, 5) for n in (1, 2, 3, 3)]


def test_a_timeout_frees_the_slot_for_the_next_item(scheduler: TestScheduler) -> None:
    """The Observable of a call that timed out is disposed, and the next call starts at that tick."""
    slow = scheduler.create_cold_observable(on_next(50, "late"))
    fast = scheduler.create_cold_observable(on_next(1, "fast"), on_completed(1))
    sources = {1: slow, 2: fast}
    messages = run(scheduler, lambda: from_iterable([1, 2]).pipe(stage(sources.__getitem__, timeout=10, recover=named)))
    assert messages == [on_next(210, "1 StageTimeout"), on_next(211, "fast"), on_completed(211)]
    assert slow.subscriptions == [ReactiveTest.subscribe(200, 210)]


def test_retries_wait_longer_and_longer(scheduler: TestScheduler) -> None:
    """The delays are the policy's, from the failure to the next call."""
    work = Work(scheduler, seconds=1, fails=4)
    retry = Retry(max_attempts=5, initial=2, backoff_factor=3, max_delay=15, jitter=0)
    messages = run(scheduler, lambda: from_iterable([7]).pipe(stage(work, retry=retry)))
    assert [when for when, _ in work.calls] == [200, 203, 210, 226, 242]  # 2, 6, 15, 15 seconds after each failure
    assert messages == [on_next(243, 7), on_completed(243)]


def test_an_error_may_ask_for_its_own_delay(scheduler: TestScheduler) -> None:
    """A `retry_after` that an error carries takes the place of the delay."""

    class Busy(Exception):
        retry_after = 77

    times: list[float] = []

    def fn(value: int) -> int:
        times.append(scheduler.clock)
        if len(times) < 2:
            raise Busy
        return value

    messages = run(scheduler, lambda: from_iterable([1]).pipe(stage(fn, retry=Retry(initial=1))))
    assert times == [200, 277]
    assert messages == [on_next(277, 1), on_completed(277)]


def test_a_retry_that_waits_holds_no_slot(scheduler: TestScheduler) -> None:
    """The next item runs while a failed one waits for its next attempt."""
    work = Work(scheduler, seconds=4, fails=1)
    retry = Retry(initial=10, jitter=0)
    messages = run(scheduler, lambda: from_iterable("ab").pipe(stage(work, retry=retry)))
    assert work.calls == [(200, "a"), (204, "b"), (214, "a")]
    assert messages == [on_next(208, "b"), on_next(218, "a"), on_completed(218)]


def test_retries_that_wait_leave_no_slot_idle(scheduler: TestScheduler) -> None:
    """They take up places of the stage, but as long as there are others new items are called."""
    work = Work(scheduler, seconds=0, fails=9)
    retry = Retry(initial=100, max_delay=100, jitter=0)
    chain = from_iterable(range(30)).pipe(stage(work, concurrency=3, queue_size=10, retry=retry))
    run(scheduler, lambda: chain)
    early = [value for when, value in work.calls if when < 300]
    assert early == list(range(30))


def test_a_retry_goes_ahead_of_new_items(scheduler: TestScheduler) -> None:
    """When its delay is over a failed item gets the next free slot, though others have waited for longer."""
    work = Work(scheduler, seconds=4, fails=1)
    retry = Retry(initial=1, jitter=0)
    run(scheduler, lambda: from_iterable("abcd").pipe(stage(work, retry=retry)))
    assert work.calls == [(200, "a"), (204, "b"), (208, "a"), (212, "c"), (216, "d")]


def test_a_timeout_is_retried_like_any_failure(scheduler: TestScheduler) -> None:
    """A call that timed out is made again after the delay, with its whole time before it."""
    slow_once = iter([50.0, 8.0])
    work = Work(scheduler)
    retry = Retry(initial=5, jitter=0)
    chain = from_iterable(["x"]).pipe(stage(lambda _: work(next(slow_once)), timeout=10, retry=retry))
    assert run(scheduler, lambda: chain) == [on_next(223, 8.0), on_completed(223)]
    assert work.calls == [(200, 50.0), (215, 8.0)]


def test_retries_in_order_keep_their_place(scheduler: TestScheduler) -> None:
    """With `ordered`, results of later items wait for one that is retried."""
    work = Work(scheduler, seconds=1, fails=1)
    retry = Retry(initial=10, jitter=0)
    messages = run(scheduler, lambda: from_iterable("abc").pipe(stage(work, retry=retry, ordered=True)))
    assert messages == [on_next(212, "a"), on_next(212, "b"), on_next(212, "c"), on_completed(212)]


def test_no_call_follows_disposal_in_a_delay(scheduler: Scheduler) -> None:
    """Disposing while an item waits for its next attempt ends it, and no timer is left."""
    work = Work(scheduler, seconds=1, fails=9)
    retry = Retry(initial=50, jitter=0)
    assert run(scheduler, lambda: from_iterable([1]).pipe(stage(work, timeout=500, retry=retry)), until=220) == []
    assert work.calls == [(200, 1)]
    assert scheduler.last_action == 220


def test_calls_are_spaced_by_a_rate_limit(scheduler: TestScheduler) -> None:
    """However many slots are free, calls start at the pace of the limiter."""
    work = Work(scheduler, seconds=1)
    limiter = RateLimiter(1, 10)
    messages = run(scheduler, lambda: from_iterable(range(4)).pipe(stage(work, concurrency=9, rate_limit=limiter)))
    assert work.calls == [(200, 0), (210, 1), (220, 2), (230, 3)]
    assert messages[-1] == on_completed(231)


def test_a_rate_limit_may_allow_a_burst(scheduler: TestScheduler) -> None:
    """After a rest, so many calls may follow each other at once."""
    work = Work(scheduler, seconds=1)
    limiter = RateLimiter(1, 10, burst=3)
    run(scheduler, lambda: from_iterable(range(5)).pipe(stage(work, concurrency=9, rate_limit=limiter)))
    assert [when for when, _ in work.calls] == [200, 200, 200, 210, 220]


def test_retries_take_from_the_rate_limit(scheduler: TestScheduler) -> None:
    """An attempt is a call like any other to the limiter, and goes ahead of new items there, too."""
    work = Work(scheduler, seconds=1, fails=1)
    chain = from_iterable("abc").pipe(
        stage(work, concurrency=9, rate_limit=RateLimiter(1, 10), retry=Retry(initial=2, jitter=0))
    )
    run(scheduler, lambda: chain)
    assert work.calls == [(200, "a"), (210, "a"), (220, "b"), (230, "c")]


def test_stages_can_share_a_rate_limit(scheduler: TestScheduler) -> None:
    """Two stages with one limiter together keep its pace."""
    work = Work(scheduler, seconds=1)
    limiter = RateLimiter(1, 10)
    chain = from_iterable(range(2)).pipe(stage(work, rate_limit=limiter), stage(work, rate_limit=limiter))
    run(scheduler, lambda: chain)
    assert [when for when, _ in work.calls] == [200, 210, 220, 230]


def test_a_place_in_the_rate_limit_is_not_taken_before_there_is_a_slot(scheduler: TestScheduler) -> None:
    """Calls that are slower than the limiter's pace do not save up places, which would let two follow at once."""
    source = scheduler.create_hot_observable(on_next(210, 35.0), *(on_next(211, 1.0) for _ in range(3)))
    work = Work(scheduler)
    run(scheduler, lambda: source.pipe(stage(work, rate_limit=RateLimiter(1, 10))), until=400)
    assert [when for when, _ in work.calls] == [210, 245, 255, 265]


def test_many_items_at_one_tick(scheduler: TestScheduler) -> None:
    """Hundreds of items that take no time leave virtual time where it is."""
    messages = run(scheduler, lambda: from_iterable(range(500)).pipe(stage(lambda value: value, timeout=60)))
    assert messages == [*(on_next(200, n) for n in range(500)), on_completed(200)]


def test_no_timer_is_left_at_the_end(scheduler: Scheduler) -> None:
    """A sequence that has ended holds no timer, so that virtual time stops with it."""
    limiter, retry = RateLimiter(1, 5), Retry(initial=1, jitter=0)
    run(
        scheduler,
        lambda: from_iterable(range(3)).pipe(
            stage(Work(scheduler, seconds=1, fails=1), timeout=1000, retry=retry, rate_limit=limiter),
            stage(Work(scheduler, seconds=1), timeout=1000, rate_limit=limiter),
        ),
        until=300,
    )
    assert scheduler.last_action == 300


def test_the_timer_given_wins(scheduler: TestScheduler) -> None:
    """With `timer=`, waiting goes by that scheduler, whatever the subscription is on."""
    other = TestScheduler()
    seen: list[str] = []
    never: Callable[[int], Observable[str]] = lambda _: rx.never()  # noqa: E731
    from_iterable([1]).pipe(stage(never, timeout=10, timer=other, recover=named)).subscribe(
        seen.append, scheduler=scheduler
    )
    scheduler.advance_to(50)
    assert seen == []
    other.advance_to(10)
    assert seen == ["1 StageTimeout"]
