"""`retry`: when the source is subscribed to again, and when not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import reactivex as rx
from marbles import Basin, Pulled, on_completed, on_error, on_next, taking
from operator_helpers import LIMIT, Watch, collect
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.testing import ReactiveTest, TestScheduler

from rxpipe.operators import Retry, from_iterable, retry, stage
from rxpipe.operators.errors import CallFailed

ERROR = ValueError("no")
AT_ONCE = Retry(max_attempts=3, initial=0, jitter=0)
subscribe = ReactiveTest.subscribe


def exactly(initial: float = 100, **options: Any) -> Retry:
    return Retry(initial=initial, max_delay=10_000, jitter=0, **options)


class Asking(Exception):
    retry_after = 7.0


def test_the_source_is_subscribed_to_again_after_the_delay() -> None:
    """Delays run from the failure; values of failed attempts have been passed on."""
    scheduler = TestScheduler()
    source = scheduler.create_cold_observable(on_next(10, "a"), on_error(20, ERROR))
    observer = scheduler.start(lambda: source.pipe(retry(exactly())))
    assert observer.messages == [on_next(210, "a"), on_next(330, "a"), on_next(550, "a"), on_error(560, ERROR)]
    assert source.subscriptions == [subscribe(200, 220), subscribe(320, 340), subscribe(540, 560)]


def test_success_ends_it() -> None:
    """An attempt that completes is the last."""
    scheduler = TestScheduler()
    source = scheduler.create_cold_observable(on_next(10, "a"), on_completed(20))
    observer = scheduler.start(lambda: source.pipe(retry(exactly())))
    assert observer.messages == [on_next(210, "a"), on_completed(220)]
    assert source.subscriptions == [subscribe(200, 220)]


def test_an_attempt_that_succeeds_after_failures() -> None:
    """What the last attempt gives comes, and then the completion."""
    attempts = iter([rx.throw(ERROR), rx.throw(ERROR), rx.of("a", "b")])
    scheduler = TestScheduler()
    observer = scheduler.start(lambda: rx.defer(lambda _: next(attempts)).pipe(retry(exactly())))
    assert observer.messages == [on_next(500, "a"), on_next(500, "b"), on_completed(500)]


def test_the_last_error_is_given() -> None:
    """When no attempt is left, the sequence fails with what that one failed with."""
    errors = iter([ValueError("first"), ValueError("second"), ValueError("third")])
    failing: Observable[int] = rx.defer(lambda _: rx.throw(next(errors)))
    with pytest.raises(ValueError, match="third"):
        collect(failing.pipe(retry(AT_ONCE)))


def test_a_foreign_error_is_not_tried_again() -> None:
    """`retry_on` filters."""
    scheduler = TestScheduler()
    source = scheduler.create_cold_observable(on_error(10, ERROR))
    observer = scheduler.start(lambda: source.pipe(retry(exactly(retry_on=OSError))))
    assert observer.messages == [on_error(210, ERROR)]


def test_retry_after_is_obeyed() -> None:
    """An error that says when to come again decides the delay."""
    scheduler = TestScheduler()
    source = scheduler.create_cold_observable(on_error(10, Asking()))
    scheduler.start(lambda: source.pipe(retry(exactly())))
    assert source.subscriptions == [subscribe(200, 210), subscribe(217, 227), subscribe(234, 244)]


@pytest.mark.parametrize("broken", [RuntimeError("broken"), KeyboardInterrupt()])
def test_a_broken_retry_on_ends_the_sequence(broken: BaseException) -> None:
    """What `retry_on` raises is the end, and tells what it was asked about."""

    def retry_on(error: BaseException) -> bool:
        raise broken

    watch = Watch[Any]().to(rx.throw(ERROR).pipe(retry(Retry(retry_on=retry_on))))
    raised = watch.error if watch.error is broken else watch.error and watch.error.__cause__
    assert raised is broken
    assert broken.__context__ is ERROR


def test_retry_on_may_raise_the_error_itself() -> None:
    """That makes no circle of errors."""

    def retry_on(error: BaseException) -> bool:
        raise error

    watch = Watch[Any]().to(rx.throw(ValueError("no")).pipe(retry(Retry(retry_on=retry_on))))
    assert watch.error is not None
    assert watch.error.__context__ is None


def test_disposal_while_waiting() -> None:
    """No further attempt begins."""
    scheduler = TestScheduler()
    source = scheduler.create_cold_observable(on_error(10, ERROR))
    observer = scheduler.start(lambda: source.pipe(retry(exactly())), disposed=309)
    assert observer.messages == []
    assert source.subscriptions == [subscribe(200, 210)]


def test_disposal_during_an_attempt() -> None:
    """The attempt is disposed at once."""
    scheduler = TestScheduler()
    source = scheduler.create_cold_observable(on_next(5, "a"), on_error(10, ERROR))
    observer = scheduler.start(lambda: source.pipe(retry(exactly())), disposed=316)
    assert observer.messages == [on_next(205, "a"), on_next(315, "a")]
    assert source.subscriptions == [subscribe(200, 210), subscribe(310, 316)]


def test_disposal_out_of_a_value() -> None:
    """`take` ends an attempt that would have failed."""
    scheduler = TestScheduler()
    source = scheduler.create_cold_observable(on_next(5, "a"), on_next(6, "b"), on_error(10, ERROR))
    observer = scheduler.start(lambda: source.pipe(retry(exactly()), rx_ops.take(1)))
    assert observer.messages == [on_next(205, "a"), on_completed(205)]
    assert source.subscriptions == [subscribe(200, 205)]


@pytest.mark.parametrize("error", [ERROR, KeyboardInterrupt(), SystemExit()])
@pytest.mark.parametrize("make", [lambda: from_iterable([1, 2]), lambda: rx.of(1, 2), lambda: rx.from_callable(int)])
def test_an_observer_that_raises_causes_no_attempt(error: BaseException, make: Callable[[], Observable[int]]) -> None:
    """What an observer raises is not the source's failure: the sequence ends with it, after one attempt."""
    attempts: list[int] = []
    values: list[int] = []
    watch = Watch[int]()

    def count(_: Any) -> Observable[int]:
        attempts.append(1)
        return make()

    def fail(value: int) -> None:
        values.append(value)
        raise error

    rx.defer(count).pipe(retry(AT_ONCE)).subscribe(fail, watch.on_error, watch.on_completed)
    assert watch.ended.wait(LIMIT)
    assert error in (watch.error, watch.error and watch.error.__cause__)
    assert (len(attempts), len(values)) == (1, 1)


def test_an_observer_that_raises_in_a_stage_s_thread_causes_no_attempt() -> None:
    """The same goes for an observer that is notified by a worker."""
    attempts: list[int] = []

    def count(_: Any) -> Observable[int]:
        attempts.append(1)
        return from_iterable(range(3)).pipe(stage(abs))

    def fail(value: int) -> None:
        raise ERROR

    watch = Watch[int](fail)
    with pytest.raises(ValueError, match="no"):
        watch.to(rx.defer(count).pipe(retry(AT_ONCE))).end()
    assert (len(attempts), watch.values) == (1, [0])


def test_a_source_that_cannot_be_subscribed_to_is_tried_again() -> None:
    """What `subscribe` raises counts as the attempt's failure."""
    attempts: list[int] = []

    def subscribe(observer: ObserverBase[str], scheduler: SchedulerBase | None) -> DisposableBase:
        attempts.append(1)
        if len(attempts) < 3:
            raise ERROR
        observer.on_next("a")
        observer.on_completed()
        return Disposable()

    scheduler = TestScheduler()
    observer = scheduler.start(lambda: rx.create(subscribe).pipe(retry(exactly(10))))
    assert observer.messages == [on_next(230, "a"), on_completed(230)]


def test_a_later_attempt_that_cannot_begin_ends_the_sequence() -> None:
    """`KeyboardInterrupt` out of a subscription has nobody above it but a timer."""
    attempts: list[int] = []

    def subscribe(observer: ObserverBase[str], scheduler: SchedulerBase | None) -> DisposableBase:
        attempts.append(1)
        raise ERROR if len(attempts) == 1 else KeyboardInterrupt

    with pytest.raises(CallFailed):
        collect(rx.create(subscribe).pipe(retry(AT_ONCE)))


def test_many_attempts() -> None:
    """A thousand attempts need no deeper stack than one."""
    scheduler = TestScheduler()
    source = scheduler.create_cold_observable(on_error(1, ERROR))
    policy = exactly(1, backoff_factor=1, max_attempts=1000)
    observer = scheduler.start(lambda: source.pipe(retry(policy)), disposed=5000)
    assert observer.messages == [on_error(2199, ERROR)]
    assert len(source.subscriptions) == 1000


def test_each_subscription_has_its_own_attempts() -> None:
    """A cold source that is subscribed to twice is tried as often for each."""
    scheduler = TestScheduler()
    source = scheduler.create_cold_observable(on_error(10, ERROR))
    retried = source.pipe(retry(exactly(max_attempts=2)))
    both = scheduler.start(lambda: rx.concat(retried.pipe(rx_ops.catch(rx.empty())), retried))
    assert both.messages == [on_error(440, ERROR)]
    assert len(source.subscriptions) == 4


class Failing:
    """So many items, then an error, each time."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        yield from range(self.count)
        raise ERROR


def test_backpressure_goes_through_each_attempt() -> None:
    """A closed gate downstream holds the source up, in later attempts as in the first."""
    pulled = Pulled(Failing(3))
    scheduler = TestScheduler()
    basin = Basin[int](2).fill_from(from_iterable(pulled).pipe(retry(AT_ONCE)), scheduler)
    scheduler.advance_to(1)
    assert (basin.messages, pulled.count) == ([0, 1], 2)
    basin.drain(2)
    scheduler.advance_to(2)
    assert (basin.messages, pulled.count, pulled.times) == ([0, 1, 2, 0], 4, 2)
    basin.drain()
    scheduler.advance_to(3)
    assert (basin.messages, pulled.count) == ([0, 1, 2, 0, 1], 5)


def test_pulls_are_exact_behind_a_stage() -> None:
    """The stage has one item in hand at any time, and the source gives no other."""
    pulled = Pulled(Failing(2))
    scheduler = TestScheduler()
    counts: list[int] = []

    def note(scheduler: SchedulerBase, state: Any = None) -> None:
        counts.append(pulled.count)

    for tick in (201, 299, 301, 401, 501, 601):
        scheduler.schedule_absolute(tick, note)
    scheduler.start(lambda: from_iterable(pulled).pipe(retry(AT_ONCE), taking(100)))
    assert counts == [1, 1, 2, 3, 4, 5]
