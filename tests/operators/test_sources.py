"""`from_iterable`: each item is taken when there is room for it, and whatever happens ends the sequence."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marbles import Basin, Pulled, joined, on_completed, on_next, taking
from operator_helpers import LIMIT, Gauge, Watch, collect
from reactivex import operators as rx_ops
from reactivex.abc import SchedulerBase
from reactivex.testing import TestScheduler

from rxpipe.operators import from_iterable, stage
from rxpipe.operators.errors import CallFailed

ERROR = ValueError("no")
RAISED: list[BaseException] = [ERROR, KeyboardInterrupt(), SystemExit(1), GeneratorExit()]


def add_one(value: int) -> int:
    return value + 1


def is_even(value: int) -> bool:
    return value % 2 == 0


def keep(value: int) -> int:
    return value


class Failing:
    """Some items, then an error; a class, since a generator would turn some errors into others."""

    def __init__(self, error: BaseException, *items: int) -> None:
        self.items = list(items)
        self.error = error

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if not self.items:
            raise self.error
        return self.items.pop(0)


def test_all_items_at_once_without_a_stage() -> None:
    """They come in one go at the tick of the subscription."""
    messages = TestScheduler().start(lambda: from_iterable("ab")).messages
    assert messages == [on_next(200, "a"), on_next(200, "b"), on_completed(200)]


@pytest.mark.parametrize(
    ("iterable", "items"),
    [
        ([], []),
        ([1], [1]),
        ((1, 2), [1, 2]),
        (range(3), [0, 1, 2]),
        ({1: 2}, [1]),
        (iter([1, 2]), [1, 2]),
        ((n for n in range(3)), [0, 1, 2]),
    ],
)
def test_any_iterable_will_do(iterable: Iterable[int], items: list[int]) -> None:
    """Also an empty one."""
    assert collect(from_iterable(iterable)) == items


def test_each_subscription_iterates_anew() -> None:
    """The observable is cold."""
    pulled = Pulled(range(3))
    source = from_iterable(pulled)
    assert (collect(source), collect(source), pulled.times) == ([0, 1, 2], [0, 1, 2], 2)


def test_nothing_is_iterated_before_it_is_subscribed_to() -> None:
    """Not even `iter` is called."""
    pulled = Pulled(range(3))
    from_iterable(pulled)
    assert pulled.times == 0


@pytest.mark.parametrize("count", [1, 2, 10])
def test_an_endless_iterable(count: int) -> None:
    """As many items are taken as `take` wants."""
    pulled = Pulled(itertools.count())
    assert collect(from_iterable(pulled).pipe(rx_ops.take(count))) == list(range(count))
    assert pulled.count == count


def test_disposal_before_the_first_item() -> None:
    """Nothing is taken."""
    pulled, scheduler = Pulled(range(3)), TestScheduler()
    Watch[int]().to(from_iterable(pulled), scheduler).dispose()
    scheduler.start()
    assert pulled.times == 0


def test_what_was_iterated_is_let_go_of() -> None:
    """An iterator is freed with its subscription, so a generator is closed."""
    closed: list[bool] = []

    class Closing:
        def __iter__(self) -> Iterator[int]:
            try:
                yield from range(10)
            finally:
                closed.append(True)

    basin = Basin[int](1).fill_from(from_iterable(Closing()))
    assert closed == []
    basin.dispose()
    assert closed == [True]


def test_an_iterator_is_let_go_of_at_the_end() -> None:
    """It does not live on with the subscription."""

    class Empty:
        def __iter__(self) -> Iterator[int]:
            return self

        def __next__(self) -> int:
            raise StopIteration

    iterators: list[weakref.ref[Empty]] = []

    class Iterable:
        def __iter__(self) -> Iterator[int]:
            empty = Empty()
            iterators.append(weakref.ref(empty))
            return empty

    watch = Watch[int]().to(from_iterable(Iterable()))
    gc.collect()
    assert (watch.completed, iterators[0]()) == (True, None)


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("items", [[], [1], [1, 2]], ids=len)
def test_what_it_raises_ends_the_sequence(error: BaseException, items: list[int]) -> None:
    """Before any item, and after some: with the error itself, or wrapped in one that says what it was."""
    watch = Watch[int]().to(from_iterable(Failing(error, *items)))
    assert watch.values == items
    assert watch.ended.is_set()
    if isinstance(error, Exception):
        assert watch.error is error
    else:
        assert isinstance(watch.error, CallFailed)
        assert watch.error.__cause__ is error


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_what_iter_raises_ends_the_sequence(error: BaseException) -> None:
    """So does an iterable that cannot be iterated."""

    class Refusing:
        def __iter__(self) -> Iterator[int]:
            raise error

    watch = Watch[int]().to(from_iterable(Refusing()))
    assert error in (watch.error, watch.error and watch.error.__cause__)


def test_what_is_no_iterable_ends_the_sequence() -> None:
    """The error says so."""
    nothing: Any = 17
    with pytest.raises(TypeError, match="not iterable"):
        collect(from_iterable(nothing))


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_what_it_raises_in_a_worker_s_thread_ends_the_sequence(error: BaseException) -> None:
    """Items are taken there once the stage has been full; the worker, and what it has in hand, live on."""
    watch = Watch[int]().to(from_iterable(Failing(error, *range(20))).pipe(stage(keep, queue_size=0)))
    assert watch.ended.wait(LIMIT)
    assert error in (watch.error, watch.error and watch.error.__cause__)
    assert watch.values == list(range(len(watch.values)))


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_what_an_observer_raises_ends_the_sequence(error: BaseException) -> None:
    """No other item is taken."""
    pulled = Pulled(itertools.count())

    def fail(value: int) -> None:
        raise error

    watch = Watch[int](fail).to(from_iterable(pulled))
    assert error in (watch.error, watch.error and watch.error.__cause__)
    assert (watch.values, pulled.count) == ([0], 1)


def test_a_gate_of_some_places() -> None:
    """As many items are taken as there are places, then one for each that is free again."""
    pulled = Pulled(range(7))
    basin = Basin[int](3).fill_from(from_iterable(pulled))
    assert (basin.messages, pulled.count) == ([0, 1, 2], 3)
    basin.drain()
    assert pulled.count == 4
    basin.drain(2)
    assert pulled.count == 6
    basin.drain(4)
    assert basin.messages == [*range(7), None]


def test_the_end_is_found_when_there_is_room_to_look_for_it() -> None:
    """An iterable is not asked for an item that would have no place, though it may have none."""
    basin = Basin[int](2).fill_from(from_iterable([1, 2]))
    assert basin.messages == [1, 2]
    basin.drain()
    assert basin.messages == [1, 2, None]


def test_pulls_are_exact_through_other_operators() -> None:
    """What `filter` drops needs no place, and no item is taken ahead of its place."""
    pulled = Pulled(itertools.count())
    basin = Basin[int](3).fill_from(from_iterable(pulled).pipe(rx_ops.map(add_one), rx_ops.filter(is_even)))
    assert (basin.messages, pulled.count) == ([2, 4, 6], 6)
    basin.drain()
    assert (basin.messages, pulled.count) == ([2, 4, 6, 8], 8)
    basin.dispose()
    basin.drain()
    assert pulled.count == 8


def test_pulls_are_exact_behind_a_chain_of_stages() -> None:
    """Each stage holds its slots and its queue: no more is ever taken than they hold together."""
    pulled, gauge, go_on = Pulled(range(100)), Gauge(), threading.Semaphore(0)

    def wait(value: int) -> int:
        with gauge:
            assert go_on.acquire(timeout=LIMIT)
        return value

    watch = Watch[int]()
    watch.to(
        from_iterable(pulled).pipe(stage(keep, concurrency=2, queue_size=3), stage(wait, concurrency=2, queue_size=1))
    )
    pulled.wait_for(8)
    gauge.wait_for(now=2)
    assert pulled.count == 8
    for _ in range(100):
        go_on.release()
    assert sorted(watch.end()) == list(range(100))


def test_a_slow_stage_in_virtual_time() -> None:
    """Between an item's start and its end no other is taken."""
    pulled, scheduler, counts = Pulled(range(100)), TestScheduler(), list[int]()

    def note(scheduler: SchedulerBase, state: Any = None) -> None:
        counts.append(pulled.count)

    for tick in (201, 249, 251, 299, 301):
        scheduler.schedule_absolute(tick, note)
    scheduler.start(lambda: from_iterable(pulled).pipe(taking(50)))
    assert counts == [1, 1, 2, 2, 3]


@given(
    capacity=st.integers(1, 4),
    lengths=st.lists(st.integers(0, 8), min_size=1, max_size=4),
    drains=st.lists(st.integers(1, 4), max_size=20),
)
def test_joined_sources_share_a_gate(capacity: int, lengths: list[int], drains: list[int]) -> None:
    """However many sources feed it, a gate never holds more than its places, and every item comes."""
    sources = [from_iterable([(n, i) for i in range(length)]) for n, length in enumerate(lengths)]
    most = 0

    def measure(value: tuple[int, int]) -> None:
        nonlocal most
        most = max(most, basin.gate.held)

    basin = Basin[tuple[int, int]](capacity, measure)
    basin.fill_from(joined(*sources))
    for count in drains:
        basin.drain(min(count, basin.gate.held))
    while basin.gate.held:
        basin.drain()
    assert most <= capacity
    assert basin.messages[-1] is None
    assert sorted(basin.messages[:-1]) == [(n, i) for n, length in enumerate(lengths) for i in range(length)]


def test_joined_sources_take_nothing_ahead() -> None:
    """Sources that share a gate take together what it has places for."""
    first, second = Pulled(range(100)), Pulled(range(100))
    basin = Basin[int](3).fill_from(joined(from_iterable(first), from_iterable(second)))
    assert first.count + second.count == 3
    basin.drain(2)
    assert first.count + second.count == 5
