"""Limits that calls share: spaced evenly, exact in sum, and a pause only when nearly all is refused."""

from __future__ import annotations

import random
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from pipeline_helpers import lasting
from reactivex import operators as rx_ops
from reactivex.testing import TestScheduler

from rxpipe import from_iterable
from rxpipe import operators as ops
from rxpipe.llm import Limits
from rxpipe.operators.core.running_call import running_call

FIRST = 500.0  # tokens that a call is thought to take at first
PER_TOKEN = 60 / 1000  # seconds, at 1000 a minute


def test_requests_are_spaced_evenly() -> None:
    """Whether they come at once or late."""
    limits = Limits(requests_per_minute=120)
    assert [limits.reserve(0) for _ in range(4)] == pytest.approx([0, 0.5, 1, 1.5])
    assert limits.reserve(1.8) == pytest.approx(0.2)
    assert limits.reserve(100) == 0


def test_without_limits_nothing_waits() -> None:
    """Only the counts of refusals are kept."""
    limits = Limits()
    assert [limits.reserve(0) for _ in range(1000)] == [0] * 1000
    assert not limits.counts_tokens


@pytest.mark.parametrize("limit", [0, -1])
@pytest.mark.parametrize("name", ["requests_per_minute", "tokens_per_minute"])
def test_a_limit_below_one_is_refused(name: str, limit: int) -> None:
    """Nothing could ever be called."""
    with pytest.raises(ValueError, match="need limit >= 1"):
        Limits(**{name: limit})


def test_tokens_are_taken_by_estimate_and_given_back() -> None:
    """A call that took less than thought lets the next one begin earlier."""
    limits = Limits(tokens_per_minute=1000)
    assert limits.reserve(0) == 0
    assert limits.reserve(0) == pytest.approx(FIRST * PER_TOKEN)
    for used in (100, 100):
        limits.answered(limits.begin(), used)
    assert limits.reserve(0) == pytest.approx(200 * PER_TOKEN)


def test_the_estimate_follows_what_calls_take() -> None:
    """After a while, it is near."""
    limits = Limits(tokens_per_minute=1000)
    for _ in range(50):
        limits.reserve(0)
        limits.answered(limits.begin(), 80)
    before = limits.reserve(0)
    assert (limits.reserve(0) - before) / PER_TOKEN == pytest.approx(80, rel=0.05)


def test_a_failed_call_gives_all_back() -> None:
    """It has taken none."""
    limits = Limits(tokens_per_minute=1000)
    limits.reserve(0)
    limits.failed(limits.begin())
    assert limits.reserve(0) == 0


def test_a_call_without_a_place_is_counted() -> None:
    """Such as one by hand, or a second one of the same item."""
    limits = Limits(tokens_per_minute=1000)
    limits.reserve(0)
    limits.failed(limits.begin())
    assert limits.begin() == 0
    limits.answered(0, 100)
    assert limits.reserve(0) == pytest.approx(100 * PER_TOKEN)


def nothing_is_taken(limits: Limits) -> bool:
    """No tokens are kept for a call, whether it is on its way or not."""
    return limits.reserve(0) == 0 and limits.begin() > 0 and limits.begin() == 0


def test_calls_that_do_not_call_the_server_take_no_tokens() -> None:
    """Hundreds of them end in no time, and leave nothing."""
    limits, time = Limits(tokens_per_minute=1000), TestScheduler()
    chain = from_iterable(range(200)).pipe(ops.stage(lasting(0.0), rate_limit=limits, concurrency=3), rx_ops.count())
    counted: list[tuple[int, float]] = []
    chain.subscribe(lambda count: counted.append((count, time.clock)), scheduler=time)
    time.advance_to(200 * FIRST * PER_TOKEN)
    assert [count for count, _ in counted] == [200]
    assert counted[0][1] < 10 * FIRST * PER_TOKEN  # the estimate is down to nothing by then
    limits.reserve(1e6)
    assert limits.begin() < 1
    assert limits.begin() == 0


def test_a_place_that_no_call_uses_is_given_back() -> None:
    """As one that is on its way when the sequence is disposed, and that of a call in flight."""
    limits, time = Limits(tokens_per_minute=1000), TestScheduler()
    running = rx.never().pipe(rx_ops.start_with(1, 2, 3)).pipe(ops.stage(lasting(1e6), rate_limit=limits))
    subscription = running.subscribe(scheduler=time)
    time.advance_by(1.0)  # one is called, and the next one waits for its place
    subscription.dispose()
    assert nothing_is_taken(limits)


class Running:
    """The call of a stage, as far as limits look at it."""


def test_a_second_request_of_a_call_has_no_place_of_anothers() -> None:
    """What it uses is counted when it is known; and no call's end gives back what another one took."""
    limits = Limits(tokens_per_minute=1000)
    calls: list[Any] = [Running(), Running()]
    waits = [limits.reserve(0) for _ in calls]
    assert waits == pytest.approx([0, FIRST * PER_TOKEN])
    token = running_call.set(calls[0])
    try:
        assert [limits.begin(), limits.begin()] == [FIRST, 0]
    finally:
        running_call.reset(token)
    limits.call_ended(calls[0])
    assert limits.reserve(0) == pytest.approx(2 * FIRST * PER_TOKEN)
    limits.call_ended(calls[1])  # it never called the server
    assert limits.reserve(0) == pytest.approx(2 * FIRST * PER_TOKEN)


@given(st.data())
def test_what_is_taken_in_the_end_is_what_was_used(data: st.DataObject) -> None:
    """Over any sequence of calls, at one time."""
    limits = Limits(tokens_per_minute=1000)
    limits.reserve(0)
    limits.failed(limits.begin())  # from here on, the schedule counts from now
    reserved, running, used = 0, list[float](), 0
    for action in data.draw(st.lists(st.sampled_from(["reserve", "begin", "answered", "failed", "refused"]))):
        if action == "reserve":
            limits.reserve(0)
            reserved += 1
        elif action == "begin":
            running.append(limits.begin())
            reserved = max(0, reserved - 1)
        elif running:
            taken = running.pop(data.draw(st.integers(0, len(running) - 1)))
            if action == "answered":
                tokens = data.draw(st.integers(0, 100_000))
                used += tokens
                limits.answered(taken, tokens)
            elif action == "failed":
                limits.failed(taken)
            else:
                limits.refused(taken, 0.0)
    for _ in range(reserved):
        limits.failed(limits.begin())
    for taken in running:
        limits.failed(taken)
    wait = limits.reserve(0)
    paused = wait == 1 and used * PER_TOKEN < 1
    assert paused or wait == pytest.approx(used * PER_TOKEN, abs=1e-6)


def told(limits: Limits, refused: bool, retry_after: float = 0.0) -> None:
    """One call, and what came of it."""
    limits.reserve(0)
    if refused:
        limits.refused(limits.begin(), retry_after)
    else:
        limits.answered(limits.begin(), 10)


def test_a_few_refusals_pause_nothing() -> None:
    """Not before there is something to judge by."""
    limits = Limits()
    for _ in range(9):
        told(limits, True, 30)
    assert limits.reserve(0) == 0


def test_a_pause_comes_when_most_calls_are_refused() -> None:
    """For as long as the server asked, once."""
    limits = Limits()
    for _ in range(10):
        told(limits, True, 30)
    assert limits.reserve(5) == 30
    assert limits.reserve(15) == 20
    assert limits.reserve(35) == 0


def test_a_server_that_does_not_say_is_left_alone_for_a_second() -> None:
    """It is little, and comes again."""
    limits = Limits()
    for _ in range(10):
        told(limits, True)
    assert limits.reserve(0) == 1


def test_half_of_the_calls_refused_pause_nothing() -> None:
    """Most means more."""
    limits = Limits()
    for number in range(40):
        told(limits, number % 2 == 1, 30)
    assert limits.reserve(0) == 0


@pytest.mark.parametrize("seed", range(20))
def test_refusals_at_random_pause_nothing(seed: int) -> None:
    """At 5 in 100, over many calls."""
    chance, limits = random.Random(seed), Limits()
    for _ in range(2000):
        told(limits, chance.random() < 0.05, 30)
        assert limits.reserve(0) == 0


def test_old_refusals_are_forgotten() -> None:
    """The last 20 replies count."""
    limits = Limits()
    for _ in range(9):
        told(limits, True, 30)
    for _ in range(20):
        told(limits, False)
    for _ in range(10):
        told(limits, True, 30)
    assert limits.reserve(0) == 0
    told(limits, True, 30)
    assert limits.reserve(0) == 30
