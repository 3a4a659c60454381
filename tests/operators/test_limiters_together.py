"""Several limiters as one: each call keeps within all of them, whoever else shares them."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from operator_helpers import Watch, merged
from reactivex.testing import TestScheduler

from rxpipe.operators import RateLimiter, from_iterable, stage
from rxpipe.operators.stages.limiter import AllOf


def test_all_of_them_at_the_same_time() -> None:
    """A call that waits for another limiter keeps its distance to the others in each, in whichever order they come."""
    shared = RateLimiter(1, 5)
    both = AllOf(shared, RateLimiter(1, 12))
    assert [both.reserve(0), both.reserve(0)] == [0, 12]
    assert shared.reserve(12) + 12 == 17
    assert AllOf(shared, RateLimiter(1, 7)).reserve(12) + 12 == 22
    assert shared.reserve(6) + 6 == 27


def test_a_slow_limiter_does_not_hold_up_those_who_share_the_fast_one() -> None:
    """They have the places before the one that is taken ahead."""
    fast = RateLimiter(10, 1)
    both = AllOf(fast, RateLimiter(1, 60))
    assert [both.reserve(0), both.reserve(0)] == [0, 60]
    assert [round(fast.reserve(0.1), 6) for _ in range(3)] == [0, 0.1, 0.2]


def test_a_limiter_given_twice_counts_once() -> None:
    """A call has one place in it."""
    limiter = RateLimiter(1, 5)
    assert [AllOf(limiter, limiter).reserve(0) for _ in range(2)] == [0, 5]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=60),
    st.lists(st.tuples(st.integers(1, 7), st.integers(1, 3)), min_size=3, max_size=3),
)
def test_no_limit_is_exceeded_whoever_shares_it(asked: list[tuple[int, int]], limits: list[tuple[int, int]]) -> None:
    """Of calls of one limiter and of several at once, no more than its burst are ever made in so many intervals."""
    first, second, third = (RateLimiter(1, seconds, burst=burst) for seconds, burst in limits)
    ways = [(first,), (first, second), (first, second, third), (third,)]
    now, calls = 0.0, list[tuple[float, tuple[RateLimiter, ...]]]()
    for way, pause in asked:
        now += pause
        used = ways[way]
        calls.append((now + (used[0] if len(used) == 1 else AllOf(*used)).reserve(now), used))
    for limiter, (seconds, burst) in zip((first, second, third), limits, strict=True):
        times = sorted(time for time, used in calls if limiter in used)
        for count, earlier in enumerate(times):
            following = times[count + burst :]
            assert all(later - earlier >= seconds * more - 1e-6 for more, later in enumerate(following, 1))


def test_stages_share_a_limiter_of_which_one_has_another() -> None:
    """No two of their calls are made at once, though one waits for its own limiter, too."""
    scheduler, times = TestScheduler(), list[float]()

    def call(item: int) -> int:
        times.append(scheduler.clock)
        return item

    shared = RateLimiter(1, 5)
    chains = [
        from_iterable(range(4)).pipe(stage(call, concurrency=4, rate_limit=limiter))
        for limiter in (AllOf(shared, RateLimiter(1, 7)), shared)
    ]
    watch = Watch[int]().to(merged(*chains), scheduler)
    scheduler.start()
    assert sorted(watch.result()) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert all(later - earlier >= 5 for earlier, later in itertools.pairwise(times))
