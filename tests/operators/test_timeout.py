"""`timeout`: a bound on the whole of a sequence."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
import reactivex as rx
from marbles import AtOnce, Basin, Pulled, on_completed, on_error, on_next, play, taking
from operator_helpers import Watch, run_on_loop
from reactivex import operators as rx_ops
from reactivex.testing import ReactiveTest, TestScheduler
from reactivex.testing.recorded import Recorded

from rxpipe.operators import from_iterable, timeout
from rxpipe.operators.errors import CompletionTimeout

ERROR = ValueError("no")
subscribe = ReactiveTest.subscribe


def is_late(messages: list[Recorded[Any]], tick: int, seconds: float) -> bool:
    """Whether the last thing that came is the error for that many seconds, at that tick."""
    notification: Any = messages[-1].value
    error = getattr(notification, "exception", None)
    return messages[-1].time == tick and isinstance(error, CompletionTimeout) and error.seconds == seconds


def test_in_time() -> None:
    """A sequence that completes in time passes as it is."""
    messages = play(timeout(100), on_next(210, "a"), on_next(250, "b"), on_completed(299))
    assert messages == [on_next(210, "a"), on_next(250, "b"), on_completed(299)]


def test_too_late() -> None:
    """It fails so many seconds after subscription, however lately an item came."""
    messages = play(timeout(100), on_next(210, "a"), on_next(299, "b"), on_completed(301))
    assert messages[:-1] == [on_next(210, "a"), on_next(299, "b")]
    assert is_late(messages, 300, 100)


def test_the_source_is_disposed_when_the_time_is_up() -> None:
    """What would run too long is stopped."""
    scheduler = TestScheduler()
    source = scheduler.create_hot_observable(on_completed(400))
    scheduler.start(lambda: source.pipe(timeout(100)))
    assert source.subscriptions == [subscribe(200, 300)]


def test_completion_that_comes_first_at_the_same_tick() -> None:
    """A hot source that completes at the very tick, ahead of the timer, is in time."""
    assert play(timeout(100), on_completed(300)) == [on_completed(300)]


def test_the_timer_that_comes_first_at_the_same_tick() -> None:
    """The time runs before the source is subscribed to, so it is up first."""
    scheduler = TestScheduler()
    source = scheduler.create_cold_observable(on_completed(100))
    assert is_late(scheduler.start(lambda: source.pipe(timeout(100))).messages, 300, 100)


def test_each_subscription_has_its_own_time() -> None:
    """Time runs from each subscription anew, and each has an error of its own."""
    scheduler = TestScheduler()
    late = rx.never().pipe(timeout(100))
    both = late.pipe(rx_ops.catch(lambda error, _: rx.of(error)), rx_ops.concat(late))
    messages = scheduler.start(lambda: both).messages
    assert [message.time for message in messages] == [300, 400]
    assert is_late(messages, 400, 100)
    assert getattr(messages[0].value, "value") is not getattr(messages[1].value, "exception")  # noqa: B009


def test_an_error_of_the_source_passes() -> None:
    """It comes at once, and the time does not matter any more."""
    assert play(timeout(100), on_next(210, "a"), on_error(220, ERROR)) == [on_next(210, "a"), on_error(220, ERROR)]


def test_disposal() -> None:
    """After that nothing comes."""
    assert play(timeout(100), on_next(210, "a"), disposed=250) == [on_next(210, "a")]


@pytest.mark.parametrize("seconds", [1e9 + 1, 1e300, math.inf])
def test_no_bound(seconds: float) -> None:
    """A time that nobody lives to see is none: also on the timer thread, which could not wait for it."""
    assert play(timeout(seconds), on_completed(900)) == [on_completed(900)]
    watch = Watch[int]().to(from_iterable([1]).pipe(timeout(seconds)))
    assert watch.end() == [1]


@pytest.mark.parametrize("seconds", [0, -1, math.nan])
def test_no_time_is_refused(seconds: float) -> None:
    """A bound has to be above 0."""
    with pytest.raises(ValueError, match="seconds must be above 0"):
        timeout(seconds)


def test_one_item_waits_for_room() -> None:
    """It holds one item while the gate downstream is closed, and the source is not asked for another."""
    pulled = Pulled(range(10))
    basin = Basin[int](1).fill_from(from_iterable(pulled).pipe(timeout(100)))
    assert (basin.messages, pulled.count) == ([0], 2)
    basin.drain()
    assert (basin.messages, pulled.count) == ([0, 1], 3)
    basin.dispose()
    basin.drain()
    assert (basin.messages, pulled.count) == ([0, 1], 3)


def test_items_go_before_the_source_s_error() -> None:
    """What has arrived, and waits for room, is not lost to an error."""
    messages = play(
        lambda source: source.pipe(timeout(500), taking(50)),
        *[on_next(210, "a"), on_next(211, "b"), on_next(212, "c"), on_error(213, ERROR)],
    )
    assert messages[:2] == [on_next(260, "a"), on_next(310, "b")]
    assert messages[-1] == on_error(310, ERROR)


def test_the_time_runs_on_while_items_wait() -> None:
    """A sequence that is held up downstream fails too, and what waits is discarded."""
    messages = play(
        lambda source: source.pipe(timeout(150), taking(100)),
        *[on_next(210, "a"), on_next(211, "b"), on_next(212, "c"), on_completed(213)],
    )
    assert messages[0] == on_next(310, "a")
    assert is_late(messages, 350, 150)
    assert len(messages) == 2


def test_a_timer_that_rings_at_once() -> None:
    """The time may be up before the source has been subscribed to."""
    scheduler = TestScheduler()
    source = scheduler.create_hot_observable(on_next(210, "a"))
    scheduler.advance_to(200)
    watch = Watch[str]().to(source.pipe(timeout(1, timer=AtOnce())))
    assert isinstance(watch.error, CompletionTimeout)
    assert source.subscriptions == [subscribe(200, 200)]


def test_on_a_loop() -> None:
    """On a loop its time counts, and the error comes there."""

    async def main() -> float:
        with pytest.raises(CompletionTimeout):
            await Watch[int]().to(rx.never().pipe(timeout(60))).end_on_loop()
        return asyncio.get_running_loop().time()

    assert run_on_loop(main) == 60


def test_on_the_timer_thread() -> None:
    """Off any loop, it fails all the same."""
    with pytest.raises(CompletionTimeout):
        Watch[int]().to(rx.never().pipe(timeout(0.001))).end()


def test_no_timer_is_left() -> None:
    """Completion ends the timer thread, which the fixture of all tests looks for, at once."""
    assert Watch[int]().to(from_iterable([1]).pipe(timeout(3600))).end() == [1]
