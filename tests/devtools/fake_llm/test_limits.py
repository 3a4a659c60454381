"""Token buckets, by a clock of the test's own."""

from __future__ import annotations

import pytest

from rxpipe.devtools.fake_llm import Behaviour, Rate
from rxpipe.devtools.fake_llm.limits import Bucket, Excess, Limits, duration, retry_headers


class Clock:
    """Seconds that pass when the test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_bucket_lets_its_count_through_at_once(clock: Clock) -> None:
    """And then nothing, until there is one again."""
    bucket = Bucket(Rate(3, 1), clock)
    for _ in range(3):
        assert bucket.wait(1) == 0
        bucket.take(1)
    assert bucket.wait(1) == pytest.approx(1 / 3, abs=1e-5)


def test_a_bucket_lets_no_more_through_than_its_rate(clock: Clock) -> None:
    """However often it is asked: its count at first, and then its rate."""
    bucket = Bucket(Rate(10, 1), clock)
    taken = 0
    for _ in range(1000):
        if bucket.wait(1) == 0:
            bucket.take(1)
            taken += 1
        clock.now += 0.01
    assert taken == 10 + 99


def test_what_was_waited_for_is_there(clock: Clock) -> None:
    """Exactly the time that was told is enough, whatever floats make of thirds."""
    bucket = Bucket(Rate(7, 3), clock)
    for _ in range(500):
        clock.now += bucket.wait(1)
        assert bucket.wait(1) <= 1e-6
        bucket.take(1)


def test_a_bucket_holds_no_more_than_its_count(clock: Clock) -> None:
    """A night without calls is no reserve."""
    bucket = Bucket(Rate(3, 1), clock)
    clock.now += 1e6
    assert (bucket.remaining, bucket.reset) == (3, 0)


def test_more_than_a_bucket_holds_is_let_through_when_it_is_full(clock: Clock) -> None:
    """And others wait for that."""
    bucket = Bucket(Rate(10, 1), clock)
    assert bucket.wait(25) == 0
    bucket.take(25)
    assert (bucket.wait(1), bucket.remaining, bucket.reset) == (1.6, 0, 2.5)


def test_a_call_that_is_not_let_in_takes_nothing(clock: Clock) -> None:
    """Requests are left, though tokens are not."""
    limits = Limits(Behaviour(rate_limit=Rate(10, 1), token_limit=Rate(100, 1)), clock)
    assert limits.enter(100) is None
    assert limits.enter(50) == Excess("tokens", 100, 0.5)
    assert limits.headers()["x-ratelimit-remaining-requests"] == "9"


def test_the_tokens_of_replies_count(clock: Clock) -> None:
    """They are taken when they are known."""
    limits = Limits(Behaviour(token_limit=Rate(60, 60)), clock)
    assert limits.enter(10) is None
    limits.spend(80)
    assert limits.enter(10) == Excess("tokens", 60, 40)


def test_the_longer_wait_is_told(clock: Clock) -> None:
    """If both limits are reached."""
    limits = Limits(Behaviour(rate_limit=Rate(1, 60), token_limit=Rate(100, 1)), clock)
    assert limits.enter(100) is None
    assert limits.enter(100) == Excess("requests", 1, 60)


def test_headers_tell_of_both_limits(clock: Clock) -> None:
    """In OpenAI's form."""
    limits = Limits(Behaviour(rate_limit=Rate(60, 60), token_limit=Rate(100, 3600)), clock)
    limits.enter(10)
    assert limits.headers() == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "90",
        "x-ratelimit-reset-tokens": "6m0s",
    }


def test_without_limits_there_are_no_headers(clock: Clock) -> None:
    """As there is nothing to tell."""
    assert Limits(Behaviour(), clock).headers() == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.016, "16ms"),
        (0.0001, "1ms"),
        (1, "1s"),
        (8.64, "8.64s"),
        (30, "30s"),
        (60, "1m0s"),
        (360, "6m0s"),
        (90.5, "1m30.5s"),
        (3600, "1h0m0s"),
        (59.9999, "1m0s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """As OpenAI writes them, rounded up to a millisecond."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "whole", "milliseconds"), [(0, "0", "0"), (0.05, "1", "50"), (1, "1", "1000"), (1.0001, "2", "1001")]
)
def test_waits_are_told_twice(seconds: float, whole: str, milliseconds: str) -> None:
    """In seconds and in milliseconds, both rounded up."""
    assert retry_headers(seconds) == {"Retry-After": whole, "retry-after-ms": milliseconds}
