"""`unbatch`: the items of lists, one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from marbles import Basin, Pulled, on_completed, on_error, on_next, play, taking
from operator_helpers import Watch, collect
from reactivex import operators as rx_ops
from reactivex.subject import Subject

from rxpipe.operators import batch, from_iterable, unbatch
from rxpipe.operators.errors import CallFailed

ERROR = ValueError("no")


def test_items_come_one_by_one() -> None:
    """In order, at once, and an empty list is nothing."""
    messages = play(unbatch(), on_next(210, [1, 2]), on_next(220, []), on_next(230, [3]), on_completed(240))
    assert messages == [on_next(210, 1), on_next(210, 2), on_next(230, 3), on_completed(240)]


@given(st.lists(st.integers(), max_size=30), st.integers(1, 7))
def test_it_undoes_batch(values: list[int], count: int) -> None:
    """What went in comes out."""
    assert collect(from_iterable(values).pipe(batch(count), unbatch())) == values


@pytest.mark.parametrize("iterable", [(1, 2), {1: "a", 2: "b"}, iter([1, 2]), range(1, 3)])
def test_any_iterable_will_do(iterable: Iterable[int]) -> None:
    """Tuples, mappings, iterators, ranges."""
    assert collect(rx.of(iterable).pipe(unbatch())) == [1, 2]


def test_the_source_waits_for_the_last_item_to_go() -> None:
    """It holds one list, and takes the next when that has gone."""
    pulled = Pulled([[1, 2, 3], [4, 5], [6]])
    basin = Basin[int](1).fill_from(from_iterable(pulled).pipe(unbatch()))
    assert (basin.messages, pulled.count) == ([1], 1)
    basin.drain()
    assert (basin.messages, pulled.count) == ([1, 2], 1)
    basin.drain()
    assert (basin.messages, pulled.count) == ([1, 2, 3], 2)
    basin.drain()
    basin.drain()
    basin.drain()
    assert basin.messages == [1, 2, 3, 4, 5, 6, None]


def test_an_endless_source_of_empty_lists_is_nothing() -> None:
    """Empty lists need no room."""
    nothing: list[int] = []
    pulled = Pulled([nothing] * 1000 + [[1]])
    assert collect(from_iterable(pulled).pipe(unbatch())) == [1]
    assert pulled.count == 1001


def test_what_is_held_goes_before_an_error() -> None:
    """Nothing that has arrived is lost."""
    messages = play(rx.compose(unbatch(), taking(50)), on_next(210, [1, 2]), on_next(211, [3, 4]), on_error(212, ERROR))
    assert messages == [on_next(260, 1), on_next(310, 2), on_next(360, 3), on_error(360, ERROR)]


def broken(error: BaseException) -> Iterator[int]:
    yield 3
    raise error


@pytest.mark.parametrize("error", [ERROR, SystemExit(1)])
def test_a_list_that_cannot_be_read_ends_the_sequence(error: BaseException) -> None:
    """What came before goes first; of the broken list, and of what follows, nothing; and the source is disposed."""
    source, basin = Subject[Iterable[int]](), Basin[int](1)
    basin.fill_from(source.pipe(unbatch()))
    source.on_next([1, 2])
    source.on_next(broken(error))
    assert (basin.messages, source.observers) == ([1], [])
    basin.drain()
    assert basin.messages[:2] == [1, 2]
    assert error in (basin.messages[2], basin.messages[2].__cause__)
    assert len(basin.messages) == 3


def test_lists_that_came_right_after_a_broken_one() -> None:
    """They are not read, although they were there before it was found to be broken."""
    source = Subject[Iterable[int]]()

    def feed(value: int) -> None:
        source.on_next(broken(ERROR))
        source.on_next([4])

    basin = Basin[int](10, feed).fill_from(source.pipe(unbatch()))
    source.on_next([1])
    assert basin.messages == [1, ERROR]


def test_what_is_no_list_ends_the_sequence() -> None:
    """A value that cannot be iterated is an error, not a hang."""
    not_a_list: Any = 17
    with pytest.raises(TypeError):
        collect(from_iterable([[1], not_a_list]).pipe(unbatch()))


def test_a_broken_list_disposes_the_source() -> None:
    """No other is pulled."""
    pulled = Pulled([broken(SystemExit()), [1]])
    with pytest.raises(CallFailed):
        collect(from_iterable(pulled).pipe(unbatch()))
    assert pulled.count == 1


def test_disposal_out_of_an_item() -> None:
    """The rest of the list is gone."""
    pulled = Pulled([[1, 2, 3], [4]])
    watch = Watch[int]().to(from_iterable(pulled).pipe(unbatch(), rx_ops.take(2)))
    assert (watch.end(), pulled.count) == ([1, 2], 1)
