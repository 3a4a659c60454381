"""`RateLimiter` and other limiters: the schedule that calls are given, and how operators wait for a place in it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from operator_helpers import LIMIT, Watch, merged
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable
from reactivex.testing import TestScheduler

from rxpipe.operators import Limiter, RateLimiter, from_iterable, rate_limit, stage
from rxpipe.operators.stages.limiter import AllOf, Permit


def test_calls_are_spaced_evenly() -> None:
    """Six in a minute are one in ten seconds."""
    limiter = RateLimiter(6, 60)
    assert [limiter.reserve(100) for _ in range(4)] == [0, 10, 20, 30]


def test_time_that_has_passed_counts() -> None:
    """A call that comes later waits for less."""
    limiter = RateLimiter(6, 60)
    assert [limiter.reserve(now) for now in (100, 107, 107, 125)] == [0, 3, 13, 5]


def test_a_rest_allows_for_a_burst() -> None:
    """As many calls as `burst` may follow each other after a rest, but no more after a longer one."""
    limiter = RateLimiter(6, 60, burst=3)
    assert [limiter.reserve(100) for _ in range(5)] == [0, 0, 0, 10, 20]
    assert [limiter.reserve(10_000) for _ in range(4)] == [0, 0, 0, 10]


def test_a_shorter_rest_allows_for_a_part_of_it() -> None:
    """A burst grows by one call in the time of one."""
    limiter = RateLimiter(6, 60, burst=3)
    assert [limiter.reserve(0) for _ in range(3)] == [0, 0, 0]
    assert [limiter.reserve(20) for _ in range(3)] == [0, 0, 10]


def test_a_second_is_the_default() -> None:
    """`RateLimiter(4)` is four in a second."""
    limiter = RateLimiter(4)
    assert [limiter.reserve(0) for _ in range(3)] == [0, 0.25, 0.5]


@pytest.mark.parametrize("now", [-1e9, 0.0, 1.7e9])
def test_clocks_may_begin_anywhere(now: float) -> None:
    """Monotonic clocks and virtual ones count from moments of their own."""
    limiter = RateLimiter(1, 2)
    assert [limiter.reserve(now) for _ in range(2)] == [0, 2]


@given(
    limit=st.integers(1, 5),
    interval=st.integers(1, 10),
    burst=st.integers(1, 5),
    gaps=st.lists(st.integers(0, 30), max_size=40),
)
def test_no_window_has_more_than_its_calls(limit: int, interval: int, burst: int, gaps: list[int]) -> None:
    """In any `seconds` there are at most `limit + burst - 1` calls, which go in turn."""
    seconds = limit * interval
    limiter = RateLimiter(limit, seconds, burst=burst)
    now, calls = 0.0, list[float]()
    for gap in gaps:
        now += gap
        calls.append(now + limiter.reserve(now))
    assert calls == sorted(calls)
    assert all(within(calls, start, start + seconds) <= limit + burst - 1 for start in calls)


def within(calls: list[float], start: float, end: float) -> int:
    return sum(start <= call < end for call in calls)


@given(burst=st.integers(1, 6), count=st.integers(1, 30))
def test_no_call_waits_for_longer_than_it_must(burst: int, count: int) -> None:
    """Of calls that all come at once, those beyond the burst go at full rate."""
    limiter = RateLimiter(1, 3, burst=burst)
    assert [limiter.reserve(50) for _ in range(count)] == [3 * max(0, n - burst + 1) for n in range(count)]


class Yielding(float):
    """A time at which another thread gets its turn whenever it is looked at."""

    def __gt__(self, other: float) -> bool:
        time.sleep(0)
        return float(self) > other


def test_threads_share_it() -> None:
    """Every place is given once, to whichever thread."""
    limiter, waits, start = RateLimiter(1, 1), list[float](), threading.Barrier(4)

    def reserve() -> None:
        start.wait(LIMIT)
        for _ in range(100):
            waits.append(limiter.reserve(Yielding(0)))

    threads = [threading.Thread(target=reserve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert sorted(waits) == list(range(400))


@pytest.mark.parametrize(
    "arguments",
    [(0, 1), (-1, 1), (1, 0), (1, -1), (math.nan, 1), (1, math.nan)],
)
def test_numbers_out_of_range_are_refused(arguments: tuple[Any, Any]) -> None:
    """At least one call, in more than no time."""
    with pytest.raises(ValueError, match="limit >= 1"):
        RateLimiter(*arguments)


@pytest.mark.parametrize("burst", [0, -1, math.nan])
def test_a_burst_below_one_is_refused(burst: Any) -> None:
    """A single call is a burst of one."""
    with pytest.raises(ValueError, match="burst >= 1"):
        RateLimiter(1, 1, burst=burst)


def test_a_call_may_take_a_larger_amount() -> None:
    """The next one waits for so much longer; the call itself does not."""
    limiter = RateLimiter(60, 60)
    assert [limiter.reserve(0, amount) for amount in (30, 5, 1)] == [0, 30, 35]


def test_a_call_may_take_nothing() -> None:
    """It waits for its turn, and the next one waits no longer for it."""
    limiter = RateLimiter(1, 10)
    assert [limiter.reserve(0, amount) for amount in (1, 0, 0, 1, 1)] == [0, 10, 10, 10, 20]


def test_what_is_given_back_shortens_the_wait() -> None:
    """The call took less than was thought."""
    limiter = RateLimiter(60, 60)
    limiter.reserve(0, 30)
    limiter.give_back(20)
    assert limiter.reserve(0) == 10


def test_what_was_not_taken_can_be_taken_later() -> None:
    """Below 0, giving back takes: the call took more than was thought."""
    limiter = RateLimiter(60, 60)
    limiter.reserve(0, 10)
    limiter.give_back(-20)
    assert limiter.reserve(0) == 30


@pytest.mark.parametrize("burst", [1, 3])
def test_giving_back_allows_for_no_larger_burst(burst: int) -> None:
    """However much it is, only what the limiter allows after a rest can follow at once."""
    limiter = RateLimiter(1, 10, burst=burst)
    limiter.reserve(0)
    limiter.give_back(1000)
    assert [limiter.reserve(0) for _ in range(burst + 2)] == [*[0] * burst, 10, 20]


def test_giving_back_to_one_that_has_rested_changes_nothing() -> None:
    """What is in the past is over."""
    limiter = RateLimiter(1, 10)
    limiter.give_back(5)
    limiter.reserve(0, 2)
    limiter.give_back(1)
    assert [limiter.reserve(100) for _ in range(2)] == [0, 10]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9), st.integers(0, 9)), max_size=40))
def test_estimates_that_are_corrected_keep_the_pace(calls: list[tuple[int, int, int]]) -> None:
    """With what calls took in truth given back or taken at once, the waits are those of the truth."""
    estimating, knowing, now = RateLimiter(1, 1), RateLimiter(1, 1), 0.0
    for gap, estimate, truth in calls:
        now += gap
        assert estimating.reserve(now, estimate) == knowing.reserve(now, truth)
        estimating.give_back(estimate - truth)


class Counting:
    """A limiter that is not one of rxpipe's: it has each call wait for the same time."""

    def __init__(self, wait: float) -> None:
        self.asked: list[float] = []
        self._wait = wait

    def reserve(self, now: float) -> float:
        self.asked.append(now)
        return self._wait


def test_a_limiter_is_what_has_its_method() -> None:
    """Nothing has to be inherited."""
    assert isinstance(Counting(0), Limiter)
    assert isinstance(RateLimiter(1), Limiter)
    assert isinstance(AllOf(), Limiter)
    assert not isinstance(object(), Limiter)


def test_all_of_them_means_the_longest_wait() -> None:
    """A call has its place when it has one in each."""
    assert AllOf(Counting(3), Counting(7), Counting(0)).reserve(0) == 7


def test_all_of_them_are_asked() -> None:
    """Each call takes a place in each, also in those that have one at once."""
    slow, quick = RateLimiter(1, 10), RateLimiter(1, 2)
    both = AllOf(slow, quick)
    assert [both.reserve(0) for _ in range(3)] == [0, 10, 20]
    assert slow.reserve(0) == 30
    assert [quick.reserve(0) for _ in range(9)] == [2, 4, 6, 8, 12, 14, 16, 18, 22]  # between the calls of both


def test_all_of_none_is_no_limit() -> None:
    """Nobody has to be asked."""
    assert AllOf().reserve(5) == 0


class ByHand:
    """A clock whose timers ring when the test says so."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.disposed = 0

    def now(self) -> float:
        return 100.0

    def call_later(self, seconds: float, action: Callable[[], None]) -> DisposableBase:
        self.timers.append((seconds, action))

        def dispose() -> None:
            self.disposed += 1

        return Disposable(dispose)

    def ring(self) -> None:
        self.timers.pop(0)[1]()


def permit(limiter: Limiter, clock: ByHand) -> Permit:
    return Permit(limiter, clock, lambda come: come())


def test_a_permit_without_a_wait_is_there() -> None:
    """It is taken at once, as often as the limiter allows."""
    clock, limiter = ByHand(), Counting(0)
    one = permit(limiter, clock)
    assert (one.take(), one.take()) == (True, True)
    assert limiter.asked == [100, 100]
    assert clock.timers == []


def test_a_permit_on_its_way_is_asked_for_once() -> None:
    """Who asks again meanwhile takes no other place, and when it has come it is taken once."""
    clock, limiter = ByHand(), Counting(5)
    one = permit(limiter, clock)
    assert [one.take() for _ in range(3)] == [False] * 3
    assert [seconds for seconds, _ in clock.timers] == [5]
    clock.ring()
    assert (one.take(), one.take()) == (True, False)
    assert limiter.asked == [100, 100]


def test_a_permit_that_is_dropped_is_gone() -> None:
    """The next call asks for another place."""
    clock = ByHand()
    one = permit(Counting(5), clock)
    one.take()
    clock.ring()
    one.drop()
    assert one.take() is False
    assert len(clock.timers) == 1


def test_a_permit_on_its_way_cannot_be_dropped() -> None:
    """It comes for whoever still waits."""
    clock = ByHand()
    one = permit(Counting(5), clock)
    one.take()
    one.drop()
    clock.ring()
    assert one.take() is True


def test_disposing_a_permit_cancels_its_timer() -> None:
    """If there is one."""
    clock = ByHand()
    one = permit(Counting(5), clock)
    one.dispose()
    one.take()
    one.dispose()
    assert clock.disposed == 1


def _same(value: int) -> int:
    return value


def test_two_stages_share_a_limiter() -> None:
    """Side by side, their calls take turns in one schedule."""
    scheduler, times = TestScheduler(), list[float]()

    def call(item: int) -> int:
        times.append(scheduler.clock)
        return item

    limiter = RateLimiter(1, 10)
    chains = [from_iterable(range(3)).pipe(stage(call, concurrency=3, rate_limit=limiter)) for _ in range(2)]
    watch = Watch[int]().to(merged(*chains), scheduler)
    scheduler.start()
    assert sorted(watch.result()) == [0, 0, 1, 1, 2, 2]
    assert times == [0, 10, 20, 30, 40, 50]


@pytest.mark.parametrize("limited", ["stage", "rate_limit"])
def test_operators_take_any_limiter(limited: str) -> None:
    """One of several, and one that is the user's own."""
    scheduler, times = TestScheduler(), list[float]()
    own = Counting(4)
    limiter = AllOf(RateLimiter(1, 3), own)
    operators: dict[str, Any] = {"stage": stage(_same, rate_limit=limiter), "rate_limit": rate_limit(limiter)}
    watch = Watch[Any](lambda _: times.append(scheduler.clock)).to(
        from_iterable(range(4)).pipe(operators[limited]), scheduler
    )
    scheduler.start()
    assert watch.result() == [0, 1, 2, 3]
    assert own.asked == [0, 4, 8, 12]
    assert times == [4, 8, 12, 16]
