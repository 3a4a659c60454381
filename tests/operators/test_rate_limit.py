"""`rate_limit`: items in order, each when its place in the schedule comes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from marbles import Basin, Pulled, Ringing, joined, on_completed, on_error, on_next, play, taking
from operator_helpers import Watch, collect, run_on_loop
from reactivex import operators as rx_ops
from reactivex.abc import SchedulerBase
from reactivex.scheduler import NewThreadScheduler
from reactivex.subject import Subject
from reactivex.testing import TestScheduler
from reactivex.testing.recorded import Recorded

from rxpipe.operators import RateLimiter, from_iterable, rate_limit, stage, timeout

ERROR = ValueError("no")


def items(*ticks: int) -> list[Recorded[int]]:
    """Items at ticks: each is the tick itself."""
    return [on_next(tick, tick) for tick in ticks]


def every(ticks: float, burst: int = 1) -> Any:
    return rate_limit(RateLimiter(1, ticks, burst=burst))


def test_items_are_spaced() -> None:
    """Each goes when its place comes, in order, and the completion with the last."""
    messages = play(every(50), *items(210, 211, 212), on_completed(213))
    assert messages == [on_next(210, 210), on_next(260, 211), on_next(310, 212), on_completed(310)]


def test_slower_items_pass_at_once() -> None:
    """Whoever is slower than the limit does not notice it."""
    messages = play(every(50), *items(210, 270, 330), on_completed(340))
    assert messages == [on_next(210, 210), on_next(270, 270), on_next(330, 330), on_completed(340)]


def test_a_burst() -> None:
    """After a rest, some go at once."""
    messages = play(every(50, burst=2), *items(210, 210, 210, 210), on_completed(400))
    assert [message.time for message in messages] == [210, 210, 260, 310, 400]


def test_an_item_at_the_tick_at_which_a_place_comes() -> None:
    """It goes after the one whose place that is."""
    messages = play(every(50), *items(210, 220, 260), on_completed(261))
    assert messages == [on_next(210, 210), on_next(260, 220), on_next(310, 260), on_completed(310)]


def test_an_item_that_waits_takes_one_place() -> None:
    """Others that come meanwhile take none before it is their turn."""
    limiter = RateLimiter(1, 50)
    play(rate_limit(limiter), *items(210, 211, 212, 213), on_completed(400))
    assert limiter.reserve(360) == 50


def test_an_empty_source() -> None:
    """Nothing passes, and no place is taken."""
    limiter = RateLimiter(1, 50)
    assert play(rate_limit(limiter), on_completed(210)) == [on_completed(210)]
    assert limiter.reserve(210) == 0


def test_what_has_arrived_goes_before_an_error() -> None:
    """An error waits for the items that came before it."""
    messages = play(every(50), *items(210, 211), on_error(212, ERROR))
    assert messages == [on_next(210, 210), on_next(260, 211), on_error(260, ERROR)]


@pytest.mark.parametrize("before", [[], [210]])
def test_an_error_without_anything_that_waits(before: list[int]) -> None:
    """It comes at once."""
    assert play(every(50), *items(*before), on_error(220, ERROR)) == [*items(*before), on_error(220, ERROR)]


def test_disposal_while_an_item_waits() -> None:
    """It does not come."""
    assert play(every(50), *items(210, 211), disposed=259) == items(210)


def test_disposal_ends_the_timer_thread() -> None:
    """The fixture of all tests waits for that."""
    watch = Watch[int]().to(from_iterable(range(9)).pipe(every(3600)))
    watch.dispose()
    assert watch.values == [0]


def test_a_timer_that_rings_while_it_is_disposed() -> None:
    """Nothing comes of it."""
    timer = Ringing()
    watch = Watch[int]().to(from_iterable(range(9)).pipe(rate_limit(RateLimiter(1, 50), timer=timer)))
    watch.dispose()
    timer.ring()
    assert watch.values == [0]


def test_disposal_out_of_an_item() -> None:
    """`take` ends the source, too."""
    pulled = Pulled(range(100))
    assert collect(from_iterable(pulled).pipe(every(0.001), rx_ops.take(3))) == [0, 1, 2]
    assert pulled.count == 3


def test_an_observer_that_raises_ends_the_sequence() -> None:
    """It fails with that, and nothing else comes."""

    def fail(value: int) -> None:
        raise ERROR

    watch = Watch[int](fail)
    with pytest.raises(ValueError, match="no"):
        watch.to(from_iterable(range(9)).pipe(every(0.001))).end()
    assert watch.values == [0]


def test_the_source_waits() -> None:
    """It holds one item, and pulls the next when that has gone."""
    pulled, scheduler, counts = Pulled(range(100)), TestScheduler(), list[int]()

    def note(scheduler: SchedulerBase, state: Any = None) -> None:
        counts.append(pulled.count)

    for tick in (201, 249, 251, 299, 301):
        scheduler.schedule_absolute(tick, note)
    scheduler.start(lambda: from_iterable(pulled).pipe(every(50)))
    assert counts == [2, 2, 3, 3, 4]


def test_it_waits_for_room_downstream() -> None:
    """Items go as the stage takes them, and their places are not lost."""
    messages = play(rx.compose(every(50), taking(70)), *items(210, 211, 212), on_completed(213))
    assert messages == [on_next(280, 210), on_next(350, 211), on_next(420, 212), on_completed(420)]


def test_no_burst_follows_a_time_without_room() -> None:
    """Items that were held up are spaced again: no place that passed meanwhile is used later."""
    scheduler = TestScheduler()
    basin, times = Basin[int](1, lambda value: times.append(scheduler.clock)), list[float]()
    basin.fill_from(from_iterable(range(9)).pipe(every(50)), scheduler)

    def drain(scheduler: SchedulerBase, state: Any = None) -> None:
        basin.drain()

    for tick in (500, 501, 502, 503):
        scheduler.schedule_absolute(tick, drain)
    scheduler.advance_to(1000)
    assert times == [0, 500, 550, 600, 650]


def test_a_place_whose_room_was_taken_by_another_is_given_up() -> None:
    """Behind a gate that branches share, an item whose time comes without room takes a new place."""
    scheduler, other = TestScheduler(), Subject[str]()
    times: list[tuple[float, str]] = []
    basin = Basin[str](1, lambda value: times.append((scheduler.clock, value)))
    limited = from_iterable("abc").pipe(every(50))
    basin.fill_from(joined(limited, other.pipe(timeout(10_000))), scheduler)

    def drain(scheduler: SchedulerBase, state: Any = None) -> None:
        basin.drain()

    def fill(scheduler: SchedulerBase, state: Any = None) -> None:
        other.on_next("other")

    scheduler.schedule_absolute(10, drain)
    scheduler.schedule_absolute(20, fill)
    scheduler.schedule_absolute(100, drain)
    scheduler.schedule_absolute(110, drain)
    scheduler.advance_to(1000)
    assert times == [(0, "a"), (20, "other"), (100, "b"), (150, "c")]


def test_operators_share_a_limiter() -> None:
    """Two chains behind one limiter go at its rate together."""
    limiter, scheduler = RateLimiter(1, 10), TestScheduler()
    first, second = (from_iterable(name * 3).pipe(rate_limit(limiter)) for name in "ab")
    messages = scheduler.start(lambda: joined(first, second)).messages
    assert [message.time for message in messages[:-1]] == [200, 210, 220, 230, 240, 250]


def test_a_stage_and_an_operator_share_a_limiter() -> None:
    """The calls of a stage take places in the same schedule."""
    limiter, scheduler = RateLimiter(1, 10), TestScheduler()
    limited = from_iterable("aa").pipe(rate_limit(limiter))
    staged = from_iterable("bb").pipe(stage(str.upper, rate_limit=limiter))
    messages = scheduler.start(lambda: joined(limited, staged)).messages
    assert [message.time for message in messages[:-1]] == [200, 210, 220, 230]


def test_clocks_of_real_time_share_a_limiter() -> None:
    """Chains on the timer thread and on a scheduler of reactivex's count the same seconds."""
    limiter = RateLimiter(1, 0.001)
    for scheduler in (NewThreadScheduler(), None, NewThreadScheduler()):
        assert collect(from_iterable(range(3)).pipe(rate_limit(limiter)), scheduler) == [0, 1, 2]


def test_on_a_loop() -> None:
    """On a loop its time counts, and items come there."""

    async def main() -> tuple[list[int], float, set[threading.Thread]]:
        watch = Watch[int]().to(from_iterable(range(4)).pipe(every(60)))
        return await watch.end_on_loop(), asyncio.get_running_loop().time(), set(watch.threads)

    assert run_on_loop(main) == ([0, 1, 2, 3], 180, {threading.current_thread()})


times_of_items = st.lists(st.integers(201, 300), max_size=20).map(sorted)


@pytest.mark.slow
@given(
    branches=st.lists(times_of_items, min_size=1, max_size=3),
    limit=st.integers(1, 4),
    interval=st.integers(1, 20),
    burst=st.integers(1, 4),
    busy=st.integers(0, 30),
)
def test_rates_in_general(branches: list[list[int]], limit: int, interval: int, burst: int, busy: int) -> None:
    """However slow downstream is, no window has more than its items; and each branch gives all of them, in order."""
    scheduler, seconds = TestScheduler(), limit * interval
    limiter = RateLimiter(limit, seconds, burst=burst)
    went: list[tuple[float, int, int]] = []

    def branch(number: int, ticks: list[int]) -> rx.Observable[int]:
        source = scheduler.create_hot_observable(*items(*ticks), on_completed(301))

        def note(tick: int) -> None:
            went.append((scheduler.clock, number, tick))

        return source.pipe(rate_limit(limiter), rx_ops.do_action(note))

    merged = joined(*[branch(number, ticks) for number, ticks in enumerate(branches)])
    scheduler.start(lambda: merged.pipe(taking(busy)), disposed=100_000)
    for number, ticks in enumerate(branches):
        assert [tick for _, of, tick in went if of == number] == ticks
    assert all(sum(start <= at < start + seconds for at, _, _ in went) <= limit + burst - 1 for start, _, _ in went)
