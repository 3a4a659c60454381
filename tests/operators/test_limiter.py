"""`RateLimiter`: the schedule that calls are given."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from operator_helpers import LIMIT

from rxpipe.operators import RateLimiter


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
