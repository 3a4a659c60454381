"""What `stage` does with values and failures, wherever its calls run."""

from __future__ import annotations

import asyncio
import functools
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import reactivex as rx
from operator_helpers import Gauge, Watch, collect
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.scheduler import ImmediateScheduler
from reactivex.subject import Subject
from structlog.testing import capture_logs

from rxpipe.operators import Failure, Retry, from_iterable, stage
from rxpipe.operators.errors import CallFailed

AT_ONCE = Retry(max_attempts=3, initial=0, jitter=0)


def double(value: int) -> int:
    return value * 2


def of_three(value: int) -> bool:
    return value % 3 == 0


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def raising(error: BaseException) -> Callable[[Any], Any]:
    def fail(value: Any) -> Any:
        raise error

    return fail


def test_each_item_gives_its_result() -> None:
    """Every item's result comes once, in whatever order."""
    assert sorted(collect(from_iterable(range(100)).pipe(stage(double, concurrency=5)))) == list(range(0, 200, 2))


def test_results_come_as_they_finish() -> None:
    """A slow call does not hold up the results of faster ones."""
    fast_came = threading.Event()

    def fn(value: str) -> str:
        if value == "slow":
            assert fast_came.wait(20)
        return value

    watch = Watch[str](lambda value: fast_came.set())
    assert watch.to(from_iterable(["slow", "fast"]).pipe(stage(fn, concurrency=2))).end() == ["fast", "slow"]


def test_none_is_a_result() -> None:
    """A function that returns nothing gives `None` for each item."""
    nothing: Callable[[int], None] = lambda value: None  # noqa: E731
    assert collect(from_iterable(range(3)).pipe(stage(nothing))) == [None, None, None]


@pytest.mark.parametrize("count", [0, 1])
def test_short_sources(count: int) -> None:
    """An empty source completes at once, and one item is enough."""
    assert collect(from_iterable(range(count)).pipe(stage(double))) == [0] * count


def test_a_source_that_never_ends() -> None:
    """Without an end of the source there is none, though all results have come."""
    source = Subject[int]()
    watch = Watch[int]().to(source.pipe(stage(double)))
    source.on_next(1)
    watch.wait_for(1)
    assert not watch.ended.is_set()
    watch.dispose()


def test_an_infinite_source_is_taken_from_as_needed() -> None:
    """Whoever takes a few results of an infinite source ends it, and little more than those was taken."""
    taken = Gauge()

    def naturals() -> Iterator[int]:
        while True:
            with taken:
                yield taken.total

    chain = from_iterable(naturals()).pipe(stage(double, concurrency=2, queue_size=3), rx_ops.take(10))
    assert len(collect(chain)) == 10
    assert taken.total <= 10 + 2 + 3 + 1


def test_the_first_failure_ends_the_sequence() -> None:
    """Without `recover` the sequence fails with the very error that the function raised."""
    error = ValueError("no")
    watch = Watch[int]().to(from_iterable([1, 2]).pipe(stage(raising(error))))
    with pytest.raises(ValueError, match="no"):
        watch.end()
    assert watch.error is error
    assert watch.values == []


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), BaseException("x")]
)
def test_what_is_not_an_exception_is_wrapped(error: BaseException) -> None:
    """Rx carries exceptions only, so anything else arrives as the cause of `CallFailed`."""
    with pytest.raises(CallFailed, match=type(error).__name__) as caught:
        collect(from_iterable([1]).pipe(stage(raising(error))))
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [StopIteration(1), StopAsyncIteration(), Unreadable()])
def test_odd_exceptions_are_failures_like_any(error: Exception) -> None:
    """Exceptions with a meaning of their own, or without a text, arrive as they are."""
    watch = Watch[int]().to(from_iterable([1]).pipe(stage(raising(error))))
    assert watch.ended.wait(20)
    assert watch.error is error


def test_recover_makes_a_value_of_a_failure() -> None:
    """With `recover` a failed item is a value like any other, and the sequence goes on."""
    error = ValueError("odd")

    def even(value: int) -> int:
        if value % 2:
            raise error
        return value

    failures: list[Failure[int]] = []

    def recover(failure: Failure[int]) -> int:
        failures.append(failure)
        return -failure.value

    chain = from_iterable(range(4)).pipe(stage(even, name="evens", retry=AT_ONCE, recover=recover))
    assert sorted(collect(chain)) == [-3, -1, 0, 2]
    assert sorted(failures, key=lambda failure: failure.value)[0] == Failure(
        value=1, error=error, stage="evens", attempts=3
    )


def test_recover_is_given_what_is_not_an_exception() -> None:
    """`recover` sees the error as it was raised."""
    recover: Callable[[Failure[int]], str] = lambda failure: type(failure.error).__name__  # noqa: E731
    assert collect(from_iterable([1]).pipe(stage(raising(SystemExit(1)), recover=recover))) == ["SystemExit"]


@pytest.mark.parametrize("error", [LookupError("broken"), SystemExit()])
def test_recover_that_raises_ends_the_sequence(error: BaseException) -> None:
    """What `recover` raises is what the sequence fails with."""
    watch = Watch[int]().to(from_iterable(range(3)).pipe(stage(raising(ValueError()), recover=raising(error))))
    assert watch.ended.wait(20)
    assert watch.error is error or (watch.error is not None and watch.error.__cause__ is error)
    assert watch.broken == []


def test_retries_call_again_up_to_the_last_attempt() -> None:
    """A call that fails is made again, and its result counts like any; `max_attempts` counts calls."""
    calls = Gauge()

    def third_time_lucky(value: int) -> int:
        with calls:
            if calls.total < 3:
                raise ValueError
        return value

    assert collect(from_iterable([7]).pipe(stage(third_time_lucky, retry=AT_ONCE))) == [7]
    assert calls.total == 3


def test_the_last_attempts_error_is_the_one_that_counts() -> None:
    """The sequence fails with what the last of the attempts raised."""
    calls = Gauge()

    def fail(value: int) -> int:
        with calls:
            raise ValueError(f"attempt {calls.total}")

    with pytest.raises(ValueError, match="attempt 3"):
        collect(from_iterable([1]).pipe(stage(fail, retry=AT_ONCE)))


def test_an_error_not_worth_a_retry_is_final() -> None:
    """`retry_on` picks the errors that are retried."""
    calls = Gauge()

    def fail(value: int) -> int:
        with calls:
            raise KeyError

    retry = Retry(initial=0, retry_on=ValueError)
    with pytest.raises(KeyError):
        collect(from_iterable([1]).pipe(stage(fail, retry=retry)))
    assert calls.total == 1


def test_retry_on_that_raises_is_the_items_failure() -> None:
    """A broken `retry_on` fails the item with its own error, the function's in its context; others go on."""
    error, broken = ValueError("call"), LookupError("retry_on")
    failures: list[Failure[int]] = []

    def recover(failure: Failure[int]) -> int:
        failures.append(failure)
        return failure.value

    retry = Retry(retry_on=raising(broken))
    assert collect(from_iterable([1, 2]).pipe(stage(raising(error), retry=retry, recover=recover))) == [1, 2]
    assert failures[0].error is broken
    assert broken.__context__ is error


def test_the_sources_error_ends_the_sequence_at_once() -> None:
    """An error of the source is passed on, and no call is waited for."""
    source, started, release = Subject[int](), threading.Event(), threading.Event()

    def fn(value: int) -> int:
        started.set()
        release.wait(20)
        return value

    watch = Watch[int]().to(source.pipe(stage(fn)))
    source.on_next(1)
    assert started.wait(20)
    source.on_error(LookupError("source"))
    with pytest.raises(LookupError, match="source"):
        watch.end()
    release.set()
    assert watch.values == []


@pytest.mark.parametrize(
    ("fn", "name"),
    [(double, "double"), (functools.partial(pow, 2), "partial"), (raising(ValueError()), "fail")],
)
def test_a_stage_is_named_after_its_function(fn: Callable[[Any], Any], name: str) -> None:
    """Without a name a stage has its function's, or its function's type's."""
    names: list[str] = []
    recover: Callable[[Failure[Any]], None] = lambda failure: names.append(failure.stage)  # noqa: E731
    collect(from_iterable(["x"]).pipe(stage(fn, recover=recover)))
    assert names in ([name], [])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"concurrency": 0}, "concurrency must be a whole number of at least 1, not 0"),
        ({"concurrency": 2.5}, "concurrency must be a whole number of at least 1, not 2.5"),
        ({"concurrency": math.nan}, "concurrency must be a whole number of at least 1, not nan"),
        ({"concurrency": math.inf}, "concurrency must be a whole number of at least 1, not inf"),
        ({"queue_size": -1}, "queue_size must be a whole number of at least 0, not -1"),
        ({"timeout": 0}, "timeout must be above 0, not 0"),
        ({"timeout": float("nan")}, "timeout must be above 0, not nan"),
        ({"max_abandoned": -1}, "max_abandoned must be a whole number of at least 0, not -1"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], text: str) -> None:
    """An impossible option is an error when the operator is made, which says what is allowed."""
    with pytest.raises(ValueError, match=text):
        stage(double, **options)


def test_two_subscriptions_share_nothing() -> None:
    """One operator serves several sequences at once: each has its own queue, slots and end."""
    operator = stage(double, concurrency=2)
    first, second = Subject[int](), Subject[int]()
    watches = [Watch[int]().to(operator(source)) for source in (first, second)]
    first.on_error(ValueError())
    second.on_next(4)
    second.on_completed()
    assert watches[1].end() == [8]
    assert isinstance(watches[0].error, ValueError)


@pytest.mark.parametrize("error", [ValueError("observer"), SystemExit()])
def test_an_observer_that_raises_ends_the_sequence(error: BaseException) -> None:
    """What `on_next` raises comes back by `on_error`, once; no call is made again for it."""
    calls = Gauge()

    def fn(value: int) -> int:
        with calls:
            return value

    watch = Watch[int](raising(error))
    watch.to(from_iterable(range(100)).pipe(stage(fn, queue_size=1, retry=AT_ONCE)))
    assert watch.ended.wait(20)
    assert watch.error is error or (watch.error is not None and watch.error.__cause__ is error)
    assert watch.values == [0]
    assert watch.broken == []
    assert calls.total <= 3


def test_an_operator_downstream_that_raises_ends_the_sequence() -> None:
    """A failure of `map` after a stage arrives by `on_error`, and the stage is not called again for it."""
    calls = Gauge()

    def fn(value: int) -> int:
        with calls:
            return value

    with pytest.raises(LookupError):
        collect(from_iterable([1]).pipe(stage(fn, retry=AT_ONCE), rx_ops.map(raising(LookupError()))))
    assert calls.total == 1


def _no_on_error(chain: Observable[int]) -> None:
    chain.subscribe(lambda value: None)


def _on_error_raises(chain: Observable[int]) -> None:
    chain.subscribe(lambda value: None, raising(ValueError("lost?")))


def _on_completed_raises(chain: Observable[int]) -> None:
    chain.subscribe(None, None, functools.partial(raising(ValueError("lost?")), None))


@pytest.mark.parametrize(
    ("subscribe", "fn"),
    [
        (_no_on_error, raising(ValueError("lost?"))),
        (_on_error_raises, raising(KeyError())),
        (_on_completed_raises, double),
    ],
)
def test_an_error_that_nobody_takes_is_shown(
    subscribe: Callable[[Observable[int]], None], fn: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no `on_error`, or it raises, the error is reported as one that ends a thread is."""
    shown: list[str] = []
    came = threading.Event()

    def hook(args: threading.ExceptHookArgs) -> None:
        shown.append(str(args.exc_value))
        came.set()

    monkeypatch.setattr(threading, "excepthook", hook)
    subscribe(from_iterable([1]).pipe(stage(fn)))
    assert came.wait(20)
    assert shown == ["lost?"]


def test_a_source_that_ignores_backpressure_is_told_of_once() -> None:
    """Items from such a source queue without bound, all are handled, and one warning names the stage."""
    with capture_logs() as logs:
        assert len(collect(rx.from_iterable(range(50)).pipe(stage(double, concurrency=2, queue_size=3)))) == 50
    assert [(log["log_level"], log["stage"]) for log in logs] == [("warning", "double")]


def test_a_source_that_heeds_backpressure_is_not_warned_of() -> None:
    """Any number of items from a source that waits causes no warning, through `map` and `filter` as well."""
    source = from_iterable(range(50)).pipe(rx_ops.map(double), rx_ops.filter(of_three))
    with capture_logs() as logs:
        assert len(collect(source.pipe(stage(double), stage(double, queue_size=0)))) == 17
    assert logs == []


def test_stages_in_a_row_run_at_the_same_time() -> None:
    """An item is in the second stage while the next one is in the first."""
    both = threading.Barrier(2)

    def meet(value: int, who: int) -> int:
        if value == who:
            both.wait(20)
        return value

    first: Callable[[int], int] = lambda value: meet(value, 2)  # noqa: E731
    second: Callable[[int], int] = lambda value: meet(value, 1)  # noqa: E731
    assert collect(from_iterable([1, 2]).pipe(stage(first), stage(second))) == [1, 2]


def test_a_function_runs_at_once_on_the_immediate_scheduler() -> None:
    """On a scheduler that does not queue, everything happens in the subscriber's call."""
    watch = Watch[int]().to(from_iterable(range(5)).pipe(stage(double, scheduler=ImmediateScheduler())))
    assert watch.result() == [0, 2, 4, 6, 8]
