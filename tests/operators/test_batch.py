"""`batch`: lists by count and by time, and what happens to them while there is no room."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from marbles import Basin, Pulled, Ringing, on_completed, on_error, on_next, play, taking
from operator_helpers import LIMIT, Gauge, Watch, collect, run_on_loop
from reactivex import operators as rx_ops
from reactivex.subject import Subject
from reactivex.testing import TestScheduler
from reactivex.testing.recorded import Recorded

from rxpipe.operators import batch, from_iterable, stage

ERROR = ValueError("no")


def items(*ticks: int) -> list[Recorded[int]]:
    """Items at ticks: each is the tick itself."""
    return [on_next(tick, tick) for tick in ticks]


def add_one(value: int) -> int:
    return value + 1


def is_even(value: int) -> bool:
    return value % 2 == 0


def empty(rows: list[int]) -> None:
    rows.clear()


def test_a_full_list_goes_at_once() -> None:
    """A list goes with the item that fills it, and the rest at the completion."""
    messages = play(batch(2), *items(210, 220, 230, 240, 250), on_completed(300))
    assert messages == [on_next(220, [210, 220]), on_next(240, [230, 240]), on_next(300, [250]), on_completed(300)]


def test_what_is_held_goes_when_it_is_flushed() -> None:
    """At once; what comes later waits again, and there is nothing to flush where nothing is held."""
    source: Subject[int] = Subject()
    flush: Subject[None] = Subject()
    got: list[list[int]] = []
    subscription = source.pipe(batch(10, flush=flush)).subscribe(got.append)
    flush.on_next(None)
    for value in (1, 2):
        source.on_next(value)
    flush.on_next(None)
    source.on_next(3)
    assert got == [[1, 2]]
    subscription.dispose()
    assert not flush.observers
    flush.on_next(None)
    assert got == [[1, 2]]


def test_flushing_is_of_all_lists_that_are_held() -> None:
    """Also of one that is not full, behind full ones that wait for room."""
    flush: rx.Observable[int] = rx.timer(25)
    messages = play(rx.compose(batch(2, flush=flush), taking(100)), *items(210, 211, 212, 213, 214), on_completed(900))
    assert messages == [
        on_next(311, [210, 211]),
        on_next(411, [212, 213]),
        on_next(511, [214]),
        on_completed(900),
    ]


def test_flushing_goes_by_the_time_of_the_subscription() -> None:
    """A virtual one, here."""
    flush: rx.Observable[int] = rx.timer(50)
    assert play(batch(10, flush=flush), *items(210, 251), on_completed(300)) == [
        on_next(250, [210]),
        on_next(300, [251]),
        on_completed(300),
    ]


def test_what_flushing_fails_with_ends_the_sequence() -> None:
    """Behind what is held; whoever made it fail is not raised at, and the source is let go."""
    source, flush = Subject[int](), Subject[None]()
    watch = Watch[list[int]]().to(source.pipe(batch(10, flush=flush)))
    source.on_next(1)
    flush.on_error(ERROR)
    with pytest.raises(ValueError, match="no"):
        watch.end()
    assert watch.values == [[1]]
    assert not source.observers


def test_flushing_that_fails_at_once() -> None:
    """Before anything has come."""
    failing: rx.Observable[None] = rx.throw(ERROR)
    assert play(batch(2, flush=failing), *items(210), on_completed(300)) == [on_error(200, ERROR)]


def test_a_failure_of_flushing_waits_for_room_and_does_not_replace_the_end_of_the_source() -> None:
    """The first end counts."""
    error: rx.Observable[None] = rx.timer(20).pipe(rx_ops.flat_map(lambda _: rx.throw(ERROR)))
    messages = play(rx.compose(batch(1, flush=error), taking(100)), *items(210, 211), on_completed(215))
    assert messages == [on_next(310, [210]), on_next(410, [211]), on_completed(410)]


def test_flushing_that_completes_is_no_end() -> None:
    """Lists come by count from then on."""
    none: rx.Observable[None] = rx.empty()
    assert play(batch(2, flush=none), *items(210, 220), on_completed(300)) == [
        on_next(220, [210, 220]),
        on_completed(300),
    ]


def test_a_list_goes_when_its_first_item_has_waited_long_enough() -> None:
    """The time runs from the first item, not from the last."""
    messages = play(batch(10, 50), *items(210, 240, 259, 270), on_completed(400))
    assert messages == [on_next(260, [210, 240, 259]), on_next(320, [270]), on_completed(400)]


def test_the_time_begins_anew_with_each_list() -> None:
    """A list that is full takes its time with it."""
    messages = play(batch(2, 50), *items(210, 220, 230), on_completed(400))
    assert messages == [on_next(220, [210, 220]), on_next(280, [230]), on_completed(400)]


def test_an_item_at_the_tick_at_which_the_time_is_up() -> None:
    """A hot item comes ahead of the timer, which was set later, and still goes with the list."""
    messages = play(batch(10, 50), *items(210, 260, 270), on_completed(271))
    assert messages == [on_next(260, [210, 260]), on_next(271, [270]), on_completed(271)]


def test_an_item_that_fills_the_list_at_the_tick_at_which_the_time_is_up() -> None:
    """It goes once."""
    messages = play(batch(2, 50), *items(210, 260), on_completed(300))
    assert messages == [on_next(260, [210, 260]), on_completed(300)]


def test_without_a_time_a_list_waits_until_it_is_full() -> None:
    """`None` is for as long as it takes."""
    assert play(batch(2), *items(210, 990)) == [on_next(990, [210, 990])]


def test_no_time_at_all() -> None:
    """With 0 no item waits, unless there is no room: then they go together."""
    messages = play(rx.compose(batch(3, 0), taking(100)), *items(210, 220, 230, 250, 251), on_completed(260))
    assert messages == [on_next(310, [210]), on_next(410, [220, 230, 250]), on_next(510, [251]), on_completed(510)]
    assert play(batch(3, 0), *items(210, 210), on_completed(210)) == [
        on_next(210, [210]),
        on_next(210, [210]),
        on_completed(210),
    ]


@pytest.mark.parametrize("seconds", [None, 0, 50])
def test_an_empty_source(seconds: float | None) -> None:
    """No items are no list."""
    assert play(batch(3, seconds), on_completed(300)) == [on_completed(300)]


def test_one_item() -> None:
    """It goes at the completion, if its time is not up before."""
    assert play(batch(3, 500), *items(210), on_completed(300)) == [on_next(300, [210]), on_completed(300)]


def test_what_is_held_goes_before_an_error() -> None:
    """Nothing that has arrived is lost."""
    assert play(batch(3, 50), *items(210), on_error(220, ERROR)) == [on_next(220, [210]), on_error(220, ERROR)]


def test_an_error_right_after_a_full_list() -> None:
    """There is nothing left to go."""
    assert play(batch(1), *items(210), on_error(220, ERROR)) == [on_next(210, [210]), on_error(220, ERROR)]


def test_an_error_before_any_item() -> None:
    """It comes as it is."""
    assert play(batch(2), on_error(220, ERROR)) == [on_error(220, ERROR)]


def test_an_error_waits_for_what_waits_for_room() -> None:
    """The lists that arrived before it are all taken first."""
    messages = play(rx.compose(batch(2), taking(100)), *items(210, 211, 212, 213, 214), on_error(215, ERROR))
    assert messages[:2] == [on_next(311, [210, 211]), on_next(411, [212, 213])]
    assert messages[-1].time == 411  # the stage's own end, once it has the last list and its source's error
    assert messages[-1] == on_error(411, ERROR)


def test_disposal() -> None:
    """What is held is gone, and so is the timer."""
    assert play(batch(3, 50), *items(210), disposed=259) == []
    watch = Watch[list[int]]().to(rx.concat(rx.of(1), rx.never()).pipe(batch(3, 3600)))
    watch.dispose()  # and the fixture of all tests waits for the end of the timer thread


def test_disposal_out_of_a_list() -> None:
    """`take` ends the source, too."""
    pulled = Pulled(range(100))
    assert collect(from_iterable(pulled).pipe(batch(3), rx_ops.take(2))) == [[0, 1, 2], [3, 4, 5]]
    assert pulled.count == 6


def test_an_endless_source() -> None:
    """Lists come while the source goes on."""

    def numbers() -> Iterator[int]:
        value = 0
        while True:
            yield value
            value += 1

    assert collect(from_iterable(numbers()).pipe(batch(2), rx_ops.take(2))) == [[0, 1], [2, 3]]


def test_a_timer_that_rings_too_late_counts_for_no_other_list() -> None:
    """A timer whose list has gone meanwhile does not send the next one before its time."""
    timer, source = Ringing(), Subject[int]()
    basin = Basin[list[int]](math.inf).fill_from(source.pipe(batch(2, 50, timer=timer)))
    for value in (1, 2, 3):
        source.on_next(value)
    timer.ring()
    assert basin.messages == [[1, 2]]
    timer.ring()
    assert basin.messages == [[1, 2], [3]]


def test_a_list_grows_while_there_is_no_room() -> None:
    """Its time is up, but it goes when it can, and takes along what has come."""
    messages = play(rx.compose(batch(5, 10), taking(100)), *items(210, 230, 250, 270), on_completed(400))
    assert messages == [on_next(320, [210]), on_next(420, [230, 250, 270]), on_completed(420)]


def test_the_rest_of_what_a_hasty_source_gave_does_not_wait_for_more() -> None:
    """Items beyond a full list have a time of their own, from when they came."""
    messages = play(rx.compose(batch(2, 100), taking(10)), *items(210, 211, 212, 213, 214, 400))
    assert messages == [on_next(221, [210, 211]), on_next(231, [212, 213]), on_next(324, [214]), on_next(510, [400])]


def test_the_rest_whose_time_is_up_already_goes_at_once() -> None:
    """It has waited for room long enough."""
    messages = play(rx.compose(batch(2, 20), taking(100)), *items(210, 211, 212, 213, 214))
    assert messages == [on_next(311, [210, 211]), on_next(411, [212, 213]), on_next(511, [214])]


def test_the_source_waits_while_a_list_is_full() -> None:
    """It holds one full list beyond what the gate downstream admits, and pulls no more."""
    pulled = Pulled(range(100))
    basin = Basin[list[int]](1).fill_from(from_iterable(pulled).pipe(batch(3)))
    assert (basin.messages, pulled.count) == ([[0, 1, 2]], 6)
    basin.drain()
    assert (basin.messages, pulled.count) == ([[0, 1, 2], [3, 4, 5]], 9)
    basin.dispose()


def test_pulls_are_exact_through_other_operators() -> None:
    """One list in the stage and one in the batch: what `filter` drops needs no room, and no more is pulled."""
    pulled, gauge, go_on = Pulled(range(1000)), Gauge(), threading.Semaphore(0)

    def call(rows: list[int]) -> list[int]:
        with gauge:
            assert go_on.acquire(timeout=LIMIT)
        return rows

    watch = Watch[list[int]]()
    watch.to(
        from_iterable(pulled).pipe(
            rx_ops.map(add_one),
            rx_ops.filter(is_even),
            batch(3),
            stage(call, queue_size=0),
        )
    )
    gauge.wait_for(now=1)
    assert pulled.count == 12
    go_on.release()
    pulled.wait_for(18)
    gauge.wait_for(total=2)
    watch.dispose()
    go_on.release()
    assert (watch.values, pulled.count) == ([[2, 4, 6]], 18)


def test_an_observer_may_keep_the_list() -> None:
    """A list is whoever's it was given to: emptying it changes nothing here."""
    pulled = Pulled(range(9))
    watch = Watch[list[int]](empty)
    watch.to(from_iterable(pulled).pipe(batch(3))).end()
    assert (len(watch.values), pulled.count) == (3, 9)


def test_an_observer_that_raises_ends_the_sequence() -> None:
    """It fails with that, and nothing else comes."""

    def fail(rows: list[int]) -> None:
        raise ERROR

    watch = Watch[list[int]](fail)
    with pytest.raises(ValueError, match="no"):
        watch.to(from_iterable(range(9)).pipe(batch(3))).end()
    assert watch.values == [[0, 1, 2]]


@pytest.mark.parametrize(("count", "seconds"), [(0, None), (-1, None), (1, -1), (1, math.nan)])
def test_numbers_out_of_range_are_refused(count: int, seconds: float | None) -> None:
    """A list has at least one item, and no item waits for less than no time."""
    with pytest.raises(ValueError, match="max_"):
        batch(count, seconds)


def test_on_a_loop() -> None:
    """On a loop its time counts, and lists come there."""

    async def main() -> tuple[list[list[int]], float]:
        source = Subject[int]()
        watch = Watch[list[int]]().to(source.pipe(batch(10, 60)))
        source.on_next(1)
        await asyncio.sleep(61)
        source.on_completed()
        return await watch.end_on_loop(), asyncio.get_running_loop().time()

    assert run_on_loop(main) == ([[1]], 61)


def test_items_from_another_thread_than_the_timer_s() -> None:
    """Items and timers on different threads: every item comes once, in order, whoever sends a list."""
    source = Subject[int]()
    watch = Watch[list[int]]().to(source.pipe(batch(7, 0.0001)))
    for value in range(5000):
        source.on_next(value)
    source.on_completed()
    assert [value for rows in watch.end() for value in rows] == list(range(5000))


times = st.lists(st.integers(201, 400), max_size=30).map(sorted)


@given(ticks=times, count=st.integers(1, 5), seconds=st.none() | st.integers(0, 40), busy=st.integers(1, 40))
def test_batches_in_general(ticks: list[int], count: int, seconds: int | None, busy: int) -> None:
    """One after the other they are the input; none is empty, none too long, and with room none comes too late."""
    scheduler = TestScheduler()
    source = scheduler.create_hot_observable(*items(*ticks), on_completed(401))
    sent: list[tuple[float, list[int]]] = []

    def send(rows: list[int]) -> rx.Observable[int]:
        sent.append((scheduler.clock, rows))
        return rx.timer(busy)

    scheduler.start(lambda: source.pipe(batch(count, seconds), stage(send, queue_size=0)), disposed=10_000)
    assert [value for _, rows in sent for value in rows] == ticks
    assert all(0 < len(rows) <= count for _, rows in sent)
    room_from = 0.0
    for at, rows in sent:
        if seconds is not None:
            assert at <= max(rows[0] + seconds, room_from)
        room_from = at + busy
