"""Limits that calls share: spaced evenly, exact in sum, and a pause only when nearly all is refused."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpipe.llm import Limits

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
