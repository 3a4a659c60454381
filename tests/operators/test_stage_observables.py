"""`stage` with functions that return Observables: flat-mapped within bounds, with backpressure all the way in."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import reactivex as rx
from operator_helpers import Gauge, Watch, collect
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpipe.operators import Failure, Retry, deadline, from_iterable, stage
from rxpipe.operators.stages.call import StageCall


def kind(failure: Failure[Any]) -> str:
    return type(failure.error).__name__


def repeat(value: int) -> Observable[int]:
    return from_iterable([value] * value)


def ten_times(value: int) -> int:
    return value * 10


def test_all_values_are_results() -> None:
    """Several values, one or none come out for an item, as many as its Observable has."""
    assert collect(from_iterable([2, 0, 1, 3]).pipe(stage(repeat))) == [2, 2, 1, 3, 3, 3]


def test_no_more_are_subscribed_to_than_allowed() -> None:
    """An Observable has its item's slot until it completes."""
    scheduler = TestScheduler()
    gauge = Gauge()

    def fn(value: int) -> Observable[int]:
        gauge.__enter__()
        ended: Callable[[], None] = lambda: gauge.__exit__(None, None, None)  # noqa: E731
        return rx.interval(10).pipe(rx_ops.take(value), rx_ops.do_action(on_completed=ended))

    watch = Watch[int]().to(from_iterable([3, 1, 2, 2, 1, 3]).pipe(stage(fn, concurrency=2)), scheduler)
    scheduler.advance_to(1000)
    assert len(watch.result()) == 12
    assert gauge.most == 2


def test_one_that_never_ends_keeps_its_slot() -> None:
    """`never` takes its slot for good; others go on in theirs."""
    kinds: dict[int, Observable[int]] = {0: rx.never(), 1: rx.return_value(1)}
    watch = Watch[int]().to(from_iterable([0, 1, 1]).pipe(stage(kinds.__getitem__, concurrency=2)))
    watch.wait_for(2)
    watch.dispose()
    assert not watch.ended.is_set()


def test_an_infinite_one_is_taken_from_as_needed() -> None:
    """Of an endless Observable little more is pulled than is taken downstream."""
    pulled = Gauge()

    def naturals() -> Iterator[int]:
        while True:
            with pulled:
                yield pulled.total

    def fn(value: int) -> Observable[int]:
        return from_iterable(naturals())

    assert len(collect(from_iterable([1]).pipe(stage(fn), rx_ops.take(100)))) == 100
    assert pulled.total <= 102


def test_a_million_values_are_not_buffered() -> None:
    """While the next stage is full, an Observable of a million values is hardly begun."""
    pulled, release, inside = Gauge(), threading.Event(), Gauge()

    def many(value: int) -> Observable[int]:
        def numbers() -> Iterator[int]:
            for number in range(1_000_000):
                with pulled:
                    yield number

        return from_iterable(numbers())

    def slow(value: int) -> int:
        with inside:
            release.wait(20)
        return value

    watch = Watch[int]().to(from_iterable([1]).pipe(stage(many), stage(slow, queue_size=3)))
    inside.wait_for(1)
    assert pulled.total <= 1 + 3 + 2
    watch.dispose()
    release.set()
    inside.wait_for(0)


def test_an_error_after_values_is_the_items_failure() -> None:
    """What came before the error has come; the error goes the way of all failures."""
    fn: Callable[[int], Observable[int]] = lambda value: rx.concat(repeat(value), rx.throw(ValueError()))  # noqa: E731
    assert collect(from_iterable([2, 1]).pipe(stage(fn, recover=kind))) == [2, 2, "ValueError", 1, "ValueError"]


def test_a_retry_calls_the_function_again() -> None:
    """After an error of the Observable the function makes another one, whose values follow."""
    calls = Gauge()

    def fn(value: int) -> Observable[str]:
        with calls:
            last = rx.throw(ValueError()) if calls.total < 3 else rx.empty()
            return rx.concat(rx.return_value(f"attempt {calls.total}"), last)

    chain = from_iterable([1]).pipe(stage(fn, retry=Retry(initial=0)))
    assert collect(chain) == ["attempt 1", "attempt 2", "attempt 3"]


def test_values_of_a_failed_attempt_are_not_lost() -> None:
    """They go on also if the gate is closed when the last attempt completes without any."""
    scheduler = TestScheduler()
    attempts = iter([rx.concat(from_iterable("ab"), rx.throw(ValueError())), rx.empty()])
    gate = Subject[int]()

    def fn(value: int) -> Observable[str]:
        return next(attempts)

    def slowly(value: str) -> Observable[str]:
        return gate.pipe(rx_ops.take(1), rx_ops.map(lambda _: value))

    chain = from_iterable([1]).pipe(
        stage(fn, retry=Retry(initial=1, jitter=0)), rx_ops.map(str), stage(slowly, queue_size=0)
    )
    watch = Watch[str]().to(chain, scheduler)
    scheduler.advance_to(5)
    gate.on_next(0)
    scheduler.advance_to(10)
    gate.on_next(0)
    assert watch.result() == ["a", "b"]


def test_a_subscription_that_raises_is_the_items_failure() -> None:
    """Whatever `subscribe` raises fails the item, and none hangs."""

    def broken(observer: ObserverBase[int], scheduler: SchedulerBase | None = None) -> DisposableBase:
        raise error

    for error in (ValueError(), KeyboardInterrupt()):
        assert (
            collect(from_iterable([1, 2]).pipe(stage(lambda _: rx.create(broken), recover=kind)))
            == [type(error).__name__] * 2
        )


def test_a_subscription_that_raises_after_its_end() -> None:
    """An Observable that has completed has given its results, whatever `subscribe` raises then."""

    def broken(observer: ObserverBase[int], scheduler: SchedulerBase | None = None) -> DisposableBase:
        observer.on_next(1)
        observer.on_completed()
        raise ValueError

    assert collect(from_iterable([1, 2]).pipe(stage(lambda _: rx.create(broken)))) == [1, 1]


def test_a_disposal_that_raises_harms_nobody(shown: list[str]) -> None:
    """What an Observable raises on being disposed at its timeout is shown, and the stage goes on."""
    scheduler = TestScheduler()

    def dispose() -> None:
        raise ValueError("disposal")

    def subscribe(observer: ObserverBase[int], scheduler: SchedulerBase | None = None) -> DisposableBase:
        return Disposable(dispose)

    watch = Watch[Any]()
    watch.to(from_iterable([1, 2]).pipe(stage(lambda _: rx.create(subscribe), timeout=10, recover=kind)), scheduler)
    scheduler.advance_to(50)
    assert watch.result() == ["StageTimeout"] * 2
    assert shown == ["disposal"] * 2


def test_a_late_error_of_one_that_timed_out_changes_nothing() -> None:
    """An Observable that goes on after its disposal, and fails, does not free a slot twice."""
    scheduler, gauge = TestScheduler(), Gauge()
    errors: list[Callable[[Exception], None]] = []

    class Deaf(Observable[int]):
        """Goes on notifying whoever has unsubscribed, as no well-behaved one does."""

        def subscribe(self, *callbacks: Any, **options: Any) -> DisposableBase:
            gauge.__enter__()
            errors.append(callbacks[1])
            return Disposable(lambda: gauge.__exit__(None, None, None))

    watch = Watch[Any]()
    watch.to(from_iterable(range(6)).pipe(stage(lambda _: Deaf(), timeout=10, recover=kind)), scheduler)
    for ticks in (10, 20, 30):
        scheduler.advance_to(ticks)
        errors[0](ValueError())
    assert gauge.most == 1
    watch.dispose()


def test_order_holds_for_all_values() -> None:
    """With `ordered`, all values of an item come before those of the next, whoever is faster."""
    scheduler = TestScheduler()

    def fn(value: int) -> Observable[str]:
        return rx.interval(10 / value).pipe(rx_ops.take(2), rx_ops.map(lambda n: f"{value}.{n}"))

    watch = Watch[str]().to(from_iterable([1, 2, 5]).pipe(stage(fn, concurrency=3, ordered=True)), scheduler)
    scheduler.advance_to(100)
    assert watch.result() == ["1.0", "1.1", "2.0", "2.1", "5.0", "5.1"]


@pytest.mark.parametrize("concurrency", [1, 2, 3])
def test_in_order_a_retry_gets_through_to_those_that_wait_for_it(concurrency: int) -> None:
    """Where an item's retry finds all slots taken by Observables that pause until its turn, one of them ends first."""
    scheduler, gauge = TestScheduler(), Gauge()
    failing = iter([True, True])

    def fn(value: str) -> Observable[str]:
        gauge.__enter__()
        if value == "a" and next(failing, False):
            gauge.__exit__(None, None, None)
            raise ValueError
        values = from_iterable([f"{value}{n}" for n in range(3)])
        return values.pipe(rx_ops.do_action(on_completed=lambda: gauge.__exit__(None, None, None)))

    retry = Retry(initial=10, jitter=0, backoff_factor=1)
    chain = from_iterable("abcd").pipe(stage(fn, concurrency=concurrency, ordered=True, retry=retry))
    watch = Watch[str]().to(chain, scheduler)
    scheduler.advance_to(50)
    assert watch.result() == [f"{value}{n}" for value in "abcd" for n in range(3)]
    assert gauge.most == concurrency


def test_in_order_a_retry_does_not_wait_for_an_observable_without_end() -> None:
    """One that has given a thousand values and goes on is not waited for: what comes before it is not lost."""
    scheduler = TestScheduler()
    failing, taken = iter([True]), list[int]()

    def fn(value: str) -> Observable[Any]:
        if value == "a" and next(failing, False):
            raise ValueError
        return from_iterable(["a"] if value == "a" else map(taken.append, itertools.count()))

    chain = from_iterable("ab").pipe(stage(fn, ordered=True, retry=Retry(initial=10, jitter=0)))
    watch = Watch[Any](lambda value: watch.dispose() if len(watch.values) == 3 else None).to(chain, scheduler)
    scheduler.advance_to(9)
    assert len(taken) <= 2
    scheduler.advance_to(50)
    assert watch.values == ["a", None, None]
    assert len(taken) <= 1_002


def test_in_order_a_retry_costs_the_same_however_many_items_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """No item is looked for among all the others."""
    compared = Gauge()

    def equal(one: object, other: object) -> bool:
        with compared:
            return one is other

    monkeypatch.setattr(StageCall, "__eq__", equal)
    monkeypatch.setattr(StageCall, "__hash__", object.__hash__)
    scheduler = TestScheduler()
    failed = set[int]()

    def fn(value: int) -> int:
        if value in failed:
            return value
        failed.add(value)
        raise ValueError(value)

    chain = from_iterable(range(500)).pipe(
        stage(fn, concurrency=None, queue_size=None, ordered=True, retry=Retry(initial=10, jitter=0))
    )
    watch = Watch[int]().to(chain, scheduler)
    scheduler.advance_to(1000)
    assert watch.result() == list(range(500))
    assert compared.total < 500


def test_a_stage_inside_a_stage() -> None:
    """A function may return a chain with stages of its own, on threads as well."""

    def fn(value: int) -> Observable[int]:
        return from_iterable(range(value)).pipe(stage(ten_times, concurrency=2, ordered=True))

    chain = from_iterable([3, 1, 2]).pipe(stage(fn, concurrency=2, ordered=True))
    assert collect(chain) == [0, 10, 20, 0, 0, 10]


def test_a_stage_inside_is_not_behind_the_outer_ones_gate() -> None:
    """Inner sources wait for room where their own values go, not where the outer items go."""

    def fn(value: int) -> Observable[int]:
        return from_iterable(range(5)).pipe(stage(repeat, queue_size=0))

    assert len(collect(from_iterable(range(4)).pipe(stage(fn, queue_size=0), stage(repeat, queue_size=0)))) == 4 * 30


def test_a_pipeline_run_inside_a_call() -> None:
    """A function may subscribe to a chain and wait for its end."""

    def fn(value: int) -> int:
        return sum(collect(from_iterable(range(value)).pipe(stage(lambda n: n, queue_size=0))))

    assert sorted(collect(from_iterable(range(6)).pipe(stage(fn, concurrency=2, queue_size=0)))) == [0, 0, 1, 3, 6, 10]


def test_the_subscription_is_part_of_the_call() -> None:
    """While an Observable is being subscribed to, `deadline()` is what is left to its call."""
    scheduler = TestScheduler()
    seen: list[float | None] = []

    def later(_: Any, __: Any = None) -> Observable[int]:
        seen.append(deadline())
        return rx.return_value(1)

    def fn(value: int) -> Observable[int]:
        return rx.defer(later)

    watch = Watch[int]().to(from_iterable([1]).pipe(stage(fn, timeout=10)), scheduler)
    scheduler.advance_to(100)
    assert watch.result() == [1]
    assert seen == [10]
