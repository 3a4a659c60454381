"""`stage` without bounds does to the tick what reactivex's `flat_map` does, on the same input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.testing import ReactiveTest, TestScheduler
from reactivex.testing.coldobservable import ColdObservable
from reactivex.testing.hotobservable import HotObservable
from reactivex.testing.recorded import Recorded

from rxpipe.operators import stage

on_next, on_error, on_completed = ReactiveTest.on_next, ReactiveTest.on_error, ReactiveTest.on_completed

Mapper = Callable[[Any], Observable[Any]]
Operator = Callable[[Mapper], Callable[[Observable[Any]], Observable[Any]]]
Logged = HotObservable[Any] | ColdObservable[Any]

ERROR = ValueError("inner")
OUTER_ERROR = LookupError("outer")


@dataclass
class Input:
    """An outer sequence, what maps it, and the sequences whose subscriptions are compared."""

    outer: Observable[Any]
    mapper: Mapper
    watched: list[Logged] = field(default_factory=list[Logged])
    disposed: float = 1000


Case = Callable[[TestScheduler], Input]


def unbounded(mapper: Mapper) -> Callable[[Observable[Any]], Observable[Any]]:
    return stage(mapper, concurrency=None, queue_size=None)


def flat_map(mapper: Mapper) -> Callable[[Observable[Any]], Observable[Any]]:
    return rx_ops.flat_map(mapper)


def run(case: Case, operator: Operator) -> tuple[list[Recorded[Any]], list[Any]]:
    scheduler = TestScheduler()
    given = case(scheduler)
    messages = scheduler.start(lambda: operator(given.mapper)(given.outer), disposed=given.disposed).messages
    return messages, [logged.subscriptions for logged in given.watched]


def given(scheduler: TestScheduler, outer: list[Recorded[Any]], *inners: list[Recorded[Any]]) -> Input:
    """A hot outer sequence whose values are the numbers of the cold inner ones."""
    source = scheduler.create_hot_observable(outer)
    sequences = [scheduler.create_cold_observable(inner) for inner in inners]
    return Input(source, sequences.__getitem__, [source, *sequences])


SHORT = [on_next(10, "a"), on_next(25, "b"), on_completed(40)]
LONG = [on_next(15, "c"), on_next(95, "d"), on_next(200, "e"), on_completed(300)]
ENDLESS = [on_next(5, "f"), on_next(50, "g")]
FAILING = [on_next(12, "h"), on_error(33, ERROR)]


def all_complete(scheduler: TestScheduler) -> Input:
    return given(scheduler, [on_next(210, 0), on_next(220, 1), on_completed(250)], SHORT, LONG)


def the_outer_ends_last(scheduler: TestScheduler) -> Input:
    return given(scheduler, [on_next(210, 0), on_next(220, 0), on_completed(700)], SHORT)


def the_outer_never_ends(scheduler: TestScheduler) -> Input:
    return given(scheduler, [on_next(210, 0), on_next(220, 1)], SHORT, LONG)


def an_inner_never_ends(scheduler: TestScheduler) -> Input:
    return given(scheduler, [on_next(210, 0), on_next(220, 1), on_completed(230)], SHORT, ENDLESS)


def the_outer_fails(scheduler: TestScheduler) -> Input:
    return given(scheduler, [on_next(210, 0), on_next(220, 1), on_error(240, OUTER_ERROR)], SHORT, LONG)


def an_inner_fails(scheduler: TestScheduler) -> Input:
    return given(scheduler, [on_next(210, 1), on_next(220, 0), on_next(260, 1)], FAILING, LONG)


def an_inner_fails_after_the_outer_has_ended(scheduler: TestScheduler) -> Input:
    return given(scheduler, [on_next(210, 0), on_next(211, 1), on_completed(212)], FAILING, LONG)


def an_inner_fails_at_the_tick_of_another_value(scheduler: TestScheduler) -> Input:
    return given(scheduler, [on_next(210, 0), on_next(233, 0), on_completed(400)], FAILING)


def the_outer_fails_at_the_tick_of_an_inner_value(scheduler: TestScheduler) -> Input:
    return given(scheduler, [on_next(210, 0), on_error(220, OUTER_ERROR)], SHORT)


def the_outer_ends_at_the_tick_of_the_inner(scheduler: TestScheduler) -> Input:
    return given(scheduler, [on_next(210, 0), on_completed(250)], SHORT)


def the_outer_is_empty(scheduler: TestScheduler) -> Input:
    return given(scheduler, [on_completed(230)])


def the_outer_gives_nothing(scheduler: TestScheduler) -> Input:
    return given(scheduler, [])


def the_outer_only_fails(scheduler: TestScheduler) -> Input:
    return given(scheduler, [on_error(230, OUTER_ERROR)])


def inners_are_empty(scheduler: TestScheduler) -> Input:
    return given(scheduler, [on_next(210, 0), on_next(220, 0), on_completed(230)], [on_completed(30)])


def disposed_in_the_middle(scheduler: TestScheduler) -> Input:
    made = given(scheduler, [on_next(210, 0), on_next(220, 1), on_completed(300)], SHORT, LONG)
    made.disposed = 233
    return made


def disposed_after_the_outer_has_ended(scheduler: TestScheduler) -> Input:
    made = given(scheduler, [on_next(210, 1), on_completed(220)], SHORT, LONG)
    made.disposed = 233
    return made


def the_mapper_raises_at_once(scheduler: TestScheduler) -> Input:
    made = given(scheduler, [on_next(210, 0), on_completed(220)])
    return Input(made.outer, _raise, made.watched)


def the_mapper_raises_later(scheduler: TestScheduler) -> Input:
    made = given(scheduler, [on_next(210, 0), on_next(220, 1), on_next(230, 7), on_next(240, 0)], SHORT, LONG)
    mapper = made.mapper
    return Input(made.outer, lambda number: _raise(number) if number == 7 else mapper(number), made.watched)


def _raise(value: Any) -> Observable[Any]:
    raise ERROR


def one_inner_subscribed_to_twice(scheduler: TestScheduler) -> Input:
    return given(scheduler, [on_next(210, 0), on_next(215, 0), on_next(250, 0), on_completed(260)], SHORT)


def several_outer_values_at_one_tick(scheduler: TestScheduler) -> Input:
    return given(scheduler, [on_next(210, 0), on_next(210, 1), on_next(210, 0), on_completed(210)], SHORT, LONG)


def several_inner_values_at_one_tick(scheduler: TestScheduler) -> Input:
    inner = [on_next(10, "a"), on_next(10, "b"), on_next(10, "c"), on_completed(10)]
    return given(scheduler, [on_next(210, 0), on_next(210, 0), on_next(220, 0), on_completed(220)], inner)


def inners_are_hot(scheduler: TestScheduler) -> Input:
    outer = scheduler.create_hot_observable(on_next(210, 0), on_next(240, 1), on_next(270, 0), on_completed(280))
    inners = [
        scheduler.create_hot_observable(on_next(205, "a"), on_next(215, "b"), on_next(275, "c"), on_completed(350)),
        scheduler.create_hot_observable(on_next(230, "d"), on_next(240, "e"), on_next(241, "f"), on_completed(300)),
    ]
    return Input(outer, inners.__getitem__, [outer, *inners])


def a_hot_inner_has_ended_before(scheduler: TestScheduler) -> Input:
    outer = scheduler.create_hot_observable(on_next(210, 0), on_completed(280))
    inner = scheduler.create_hot_observable(on_next(205, "a"), on_completed(206))
    return Input(outer, lambda number: inner, [outer, inner])


def inners_give_all_at_once(scheduler: TestScheduler) -> Input:
    outer = scheduler.create_hot_observable(on_next(210, 3), on_next(220, 0), on_next(230, 2), on_completed(240))
    return Input(outer, lambda count: rx.range(count), [outer])


def inners_end_at_once(scheduler: TestScheduler) -> Input:
    outer = scheduler.create_hot_observable(on_next(210, 0), on_next(220, 1), on_next(230, 2))
    kinds: list[Observable[Any]] = [rx.empty(), rx.return_value("x"), rx.throw(ERROR)]
    return Input(outer, kinds.__getitem__, [outer])


def inners_take_their_time(scheduler: TestScheduler) -> Input:
    outer = scheduler.create_hot_observable(on_next(210, 4), on_next(220, 3), on_next(230, 5), on_completed(231))
    return Input(outer, lambda count: rx.interval(10).pipe(rx_ops.take(count)), [outer])


def the_outer_is_cold(scheduler: TestScheduler) -> Input:
    outer = scheduler.create_cold_observable(on_next(10, 0), on_next(50, 0), on_completed(70))
    inner = scheduler.create_cold_observable(SHORT)
    return Input(outer, lambda number: inner, [outer, inner])


def a_flat_map_inside(scheduler: TestScheduler) -> Input:
    outer = scheduler.create_hot_observable(on_next(210, 2), on_next(230, 3), on_completed(240))

    def later(number: int) -> Observable[int]:
        return rx.timer(7 * (number + 1))

    def nested(count: int) -> Observable[int]:
        inner: Observable[int] = rx.interval(20).pipe(rx_ops.take(count))
        return inner.pipe(rx_ops.flat_map(later))

    return Input(outer, nested, [outer])


CASES = [
    all_complete,
    the_outer_ends_last,
    the_outer_never_ends,
    an_inner_never_ends,
    the_outer_fails,
    an_inner_fails,
    an_inner_fails_after_the_outer_has_ended,
    an_inner_fails_at_the_tick_of_another_value,
    the_outer_fails_at_the_tick_of_an_inner_value,
    the_outer_ends_at_the_tick_of_the_inner,
    the_outer_is_empty,
    the_outer_gives_nothing,
    the_outer_only_fails,
    inners_are_empty,
    disposed_in_the_middle,
    disposed_after_the_outer_has_ended,
    the_mapper_raises_at_once,
    the_mapper_raises_later,
    one_inner_subscribed_to_twice,
    several_outer_values_at_one_tick,
    several_inner_values_at_one_tick,
    inners_are_hot,
    a_hot_inner_has_ended_before,
    inners_give_all_at_once,
    inners_end_at_once,
    inners_take_their_time,
    the_outer_is_cold,
    a_flat_map_inside,
]


@pytest.mark.parametrize("case", CASES)
def test_like_flat_map(case: Case) -> None:
    """Values, end and every subscription come at the same ticks as from `flat_map`."""
    assert run(case, unbounded) == run(case, flat_map)


@pytest.mark.parametrize("case", CASES)
def test_like_flat_map_downstream(case: Case) -> None:
    """The same where an operator downstream ends the sequence early."""

    def first_two(operator: Operator) -> Operator:
        return lambda mapper: lambda source: operator(mapper)(source).pipe(rx_ops.take(2))

    assert run(case, first_two(unbounded)) == run(case, first_two(flat_map))


def test_values_and_end_in_full() -> None:
    """What the comparison is about, written out once."""
    messages, subscriptions = run(all_complete, unbounded)
    assert messages == [
        on_next(220, "a"),
        on_next(235, "b"),
        on_next(235, "c"),
        on_next(315, "d"),
        on_next(420, "e"),
        on_completed(520),
    ]
    subscribe = ReactiveTest.subscribe
    assert subscriptions == [[subscribe(200, 250)], [subscribe(210, 250)], [subscribe(220, 520)]]


def test_a_mapper_that_raises_in_full() -> None:
    """The mapper's error ends the sequence at its tick, and disposes the outer and the inner ones."""
    messages, subscriptions = run(the_mapper_raises_later, unbounded)
    assert messages == [on_next(220, "a"), on_error(230, ERROR)]
    subscribe = ReactiveTest.subscribe
    assert subscriptions == [[subscribe(200, 230)], [subscribe(210, 230)], [subscribe(220, 230)]]
