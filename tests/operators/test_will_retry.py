"""What a function may ask of the call that is running: whether another attempt follows."""

from __future__ import annotations

from typing import Any

import pytest
import reactivex as rx
from adaptive_servers import Busy, settings
from operator_helpers import Hanging, Watch
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.testing import TestScheduler
from usage_helpers import eventually, minus_one, usage_of

from rxpipe.operators import Retry, deadline, from_iterable, will_retry
from rxpipe.operators.stage import stage_with


@pytest.mark.parametrize(
    ("policy", "foretold"),
    [
        (None, [False]),
        (Retry(max_attempts=3, initial=0), [True, True, False]),
        (Retry(max_attempts=3, initial=0, retry_on=OSError), [False]),
        (Retry(max_attempts=3, initial=0, retry_on=("odd", "error")), [True, True, False]),
    ],
)
def test_will_retry_knows_the_attempts_left(policy: Retry | None, foretold: list[bool]) -> None:
    """It tells for each call whether another follows if that raises the error."""
    told: list[bool] = []

    def fn(item: int) -> int:
        error = ValueError()
        told.append(will_retry(error))
        raise error

    usage_of(fn, retry=policy)
    assert told == foretold


def test_will_retry_is_asked_of_the_error_given() -> None:
    """A call may ask about several, also about one that is pushed back."""
    told: list[bool] = []

    def fn(item: int) -> int:
        told.extend(will_retry(error) for error in (ValueError(), ConnectionError(), Busy(), KeyboardInterrupt()))
        return item

    usage_of(fn, retry=Retry(retry_on="transient"))
    assert told == [False, True, True, False]


def test_will_retry_is_false_where_the_policy_breaks() -> None:
    """If `retry_on` raises, the item fails."""
    told: list[bool] = []

    def broken(error: BaseException) -> bool:
        raise LookupError

    def fn(item: int) -> int:
        told.append(will_retry(ValueError()))
        raise ValueError

    usage_of(fn, retry=Retry(retry_on=broken))
    assert told == [False]


def test_will_retry_is_a_truth_value() -> None:
    """Whatever true thing `retry_on` gives."""
    told: list[Any] = []

    def yes(error: BaseException) -> Any:
        return "yes"

    def fn(item: int) -> int:
        told.append(will_retry(ValueError()))
        return item

    usage_of(fn, retry=Retry(retry_on=yes))
    assert told == [True]


def test_will_retry_is_false_when_the_time_is_up(hanging: Hanging) -> None:
    """The call has failed by then, and what it raises is discarded, though its stage goes on."""
    told: list[bool] = []

    def fn(item: int) -> int:
        told.append(will_retry(ValueError()))
        hanging(item)
        told.append(will_retry(ValueError()))
        return item

    made = settings(fn, 1, timeout=0.02, retry=Retry(retry_on=ValueError), recover=minus_one)
    watch = Watch[int]().to(rx.concat(rx.of(0), rx.never()).pipe(stage_with(made)))
    watch.wait_for(1)
    hanging.release(0)
    assert eventually(lambda: told == [True, False])
    watch.dispose()


def test_will_retry_is_false_when_all_is_over(hanging: Hanging) -> None:
    """Nothing follows in a stage that was disposed."""
    told: list[bool] = []

    def fn(item: int) -> int:
        hanging(item)
        told.append(will_retry(ValueError()))
        return item

    made = settings(fn, 1, retry=Retry(initial=0))
    watch = Watch[int]().to(from_iterable([0]).pipe(stage_with(made)))
    hanging.gauge.wait_for(1)
    watch.dispose()
    hanging.release(0)
    assert eventually(lambda: told == [False])


def test_an_observable_knows_its_call() -> None:
    """Subscribed to, it may ask for the deadline, and whether another attempt follows."""
    scheduler, told = TestScheduler(), list[Any]()

    def inner(_: Any) -> Observable[int]:
        told.append((deadline(), will_retry(ValueError())))
        return rx.timer(4).pipe(rx_ops.flat_map(lambda _: rx.throw(ValueError())))

    made = settings(lambda _: rx.defer(inner), 1, timeout=10, retry=Retry(max_attempts=2, jitter=0), recover=minus_one)
    watch = Watch[int]().to(from_iterable([0]).pipe(stage_with(made)), scheduler)
    scheduler.start()
    assert watch.result() == [-1]
    assert told == [(10, True), (10, False)]
