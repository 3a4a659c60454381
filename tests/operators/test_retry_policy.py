"""`Retry`: which errors are worth another call, and how long to wait before it."""

from __future__ import annotations

import asyncio
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpipe.operators import Retry
from rxpipe.operators.errors import StageTimeout
from rxpipe.operators.stages.retry_policy import kind_of

ERROR = ValueError("no")


class Asking(Exception):
    """An error that says when to come again, as a rate-limited API does."""

    def __init__(self, retry_after: Any) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


def is_rate_limit(error: BaseException) -> bool:
    return "429" in str(error)


def exactly(**options: Any) -> Retry:
    return Retry(jitter=0, **options)


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (exactly(), [1, 2, 4, 8, 16, 32, 60, 60]),
        (exactly(backoff_factor=1), [1, 1, 1]),
        (exactly(initial=0.5, backoff_factor=3, max_delay=5), [0.5, 1.5, 4.5, 5, 5]),
        (exactly(initial=7, max_delay=7), [7, 7]),
        (exactly(initial=0), [0, 0, 0]),
    ],
)
def test_delays(policy: Retry, delays: list[float]) -> None:
    """Each delay is the one before times the factor, up to the longest."""
    assert [policy.delay(attempt, ERROR) for attempt in range(1, len(delays) + 1)] == delays


@given(
    initial=st.floats(0, 100) | st.integers(0, 100),
    more=st.floats(0, 1000) | st.just(math.inf),
    factor=st.floats(1, 100) | st.integers(1, 100),
    jitter=st.floats(0, 1),
    attempt=st.integers(1, 10) | st.integers(1, 10_000) | st.integers(10**6, 10**12),
    seed=st.integers(),
)
def test_delays_are_within_their_limits(
    initial: float, more: float, factor: float, jitter: float, attempt: int, seed: int
) -> None:
    """Whatever the numbers are, a delay is from `initial` to `max_delay`."""
    random.seed(seed)
    policy = Retry(backoff_factor=factor, initial=initial, max_delay=initial + more, jitter=jitter)
    assert initial <= policy.delay(attempt, ERROR) <= initial + more


@given(
    initial=st.floats(0.001, 10),
    factor=st.floats(1, 4),
    jitter=st.floats(0, 1),
    attempt=st.integers(1, 20),
    seed=st.integers(),
)
def test_jitter_moves_a_delay_by_its_share(
    initial: float, factor: float, jitter: float, attempt: int, seed: int
) -> None:
    """A delay is at most that share of itself away from what it would be, before it is clamped."""
    random.seed(seed)
    policy = Retry(backoff_factor=factor, initial=initial, max_delay=1e9, jitter=jitter)
    delay = policy.delay(attempt, ERROR)
    exact = initial * factor ** (attempt - 1)
    least, most = exact * (1 - jitter) * 0.999999, exact * (1 + jitter) * 1.000001
    assert min(least, 1e9) <= delay <= max(most, initial)


def test_jitter_spreads_calls_out() -> None:
    """Delays of items that failed together differ, in both directions."""
    random.seed(17)
    policy = Retry(initial=1, max_delay=100, jitter=0.5)
    delays = [policy.delay(4, ERROR) for _ in range(200)]
    assert min(delays) < 5
    assert max(delays) > 11
    assert len(set(delays)) == 200


@pytest.mark.parametrize("factor", [2, 2.0, 1e308, math.inf])
def test_no_overflow_after_many_attempts(factor: float) -> None:
    """A delay too large for a float is the longest one, at once and whatever type the factor has."""
    assert exactly(initial=1, backoff_factor=factor, max_delay=60).delay(10**9, ERROR) == 60


def test_no_delay_stays_none_after_many_attempts() -> None:
    """Without a first delay there is none later, either."""
    assert exactly(initial=0).delay(10**6, ERROR) == 0


@pytest.mark.parametrize("seconds", [0, 0.25, 7, 3600])
def test_retry_after_decides(seconds: float) -> None:
    """An error that says when to come again is obeyed, also below `initial` and above `max_delay`."""
    assert Retry(initial=1, max_delay=60).delay(1, Asking(seconds)) == seconds


@pytest.mark.parametrize("nonsense", [None, -1, math.nan, math.inf, "5", object()])
def test_nonsense_as_retry_after_is_ignored(nonsense: object) -> None:
    """What is not a number of seconds decides nothing."""
    assert exactly(initial=2).delay(1, Asking(nonsense)) == 2


@pytest.mark.parametrize(("attempt", "again"), [(1, True), (2, True), (3, False), (4, False)])
def test_max_attempts_counts_the_first_call(attempt: int, again: bool) -> None:
    """Three attempts are two more calls after the first."""
    assert Retry(max_attempts=3).applies(ERROR, attempt) is again


@pytest.mark.parametrize(
    ("retry_on", "error", "again"),
    [
        (Exception, ValueError(), True),
        (Exception, asyncio.CancelledError(), False),
        (Exception, KeyboardInterrupt(), False),
        (OSError, ConnectionError(), True),
        (OSError, ValueError(), False),
        ((OSError, ValueError), ValueError(), True),
        ((), ValueError(), False),
        (OSError | ValueError, ValueError(), True),
        (is_rate_limit, ValueError("429"), True),
        (is_rate_limit, ValueError("500"), False),
    ],
)
def test_retry_on(retry_on: Any, error: BaseException, again: bool) -> None:
    """Types, or a function, say which errors are worth another call."""
    assert Retry(retry_on=retry_on).applies(error, 1) is again


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": math.nan}, "max_attempts"),
        ({"backoff_factor": 0.5}, "backoff_factor"),
        ({"backoff_factor": math.nan}, "backoff_factor"),
        ({"initial": -1}, "initial"),
        ({"initial": math.nan}, "initial"),
        ({"initial": 61}, "max_delay"),
        ({"max_delay": math.nan}, "max_delay"),
        ({"jitter": -0.1}, "jitter"),
        ({"jitter": 1.1}, "jitter"),
        ({"jitter": math.nan}, "jitter"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], named: str) -> None:
    """The message names the option."""
    with pytest.raises(ValueError, match=named):
        Retry(**options)


@pytest.mark.parametrize("retry_on", [[ValueError], "ValueError", None, (ValueError, "KeyError")])
def test_what_cannot_be_asked_is_refused(retry_on: Any) -> None:
    """A wrong `retry_on` is refused at once, not when the first call fails."""
    with pytest.raises(TypeError):
        Retry(retry_on=retry_on)


def test_it_is_a_value() -> None:
    """Equal options are an equal policy, and it cannot be changed."""
    assert Retry() == Retry(max_attempts=3, backoff_factor=2.0, initial=1.0, max_delay=60.0, jitter=0.5)
    with pytest.raises(AttributeError):
        setattr(Retry(), "initial", 2)  # noqa: B010 - the type checkers know that it is frozen


class Odd(Exception):
    """An error that says of what kind it is."""

    kind = "odd"


class Final(Exception):
    """One that is not worth another call."""

    is_permanent = True
    kind = "final"


class Pushed(Exception):
    """One that does not use up an attempt."""

    uses_attempt = False
    kind = "pushed"

    def __init__(self, retry_after: Any = None) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class Unkind(Exception):
    """One whose kind is no text."""

    kind = 7


class FinalOfItsKind(Odd):
    is_permanent = True


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Odd(), "odd"),
        (Unkind(), "error"),
        (ValueError(), "error"),
        (TimeoutError(), "transient"),
        (ConnectionResetError(), "transient"),
        (StageTimeout("a", 1), "transient"),
        (OSError(), "error"),
        (KeyboardInterrupt(), "error"),
    ],
)
def test_kinds_of_errors(error: BaseException, kind: str) -> None:
    """What it says itself; else timeouts and broken connections are transient."""
    assert kind_of(error) == kind


@pytest.mark.parametrize(
    ("retry_on", "error", "again"),
    [
        ("odd", Odd(), True),
        ("odd", ValueError(), False),
        ("transient", TimeoutError(), True),
        ("transient", Odd(), False),
        ("error", ValueError(), True),
        ("error", Odd(), False),
        (("odd", "transient"), ConnectionError(), True),
        (("odd", ValueError), ValueError(), True),
        (("odd", ValueError), Odd(), True),
        (("odd", ValueError), OSError(), False),
        ((Odd, "transient"), Odd(), True),
        (Exception, Final(), False),
        (Final, Final(), False),
        ("final", Final(), True),
        ((Exception, "odd"), FinalOfItsKind(), True),
        (Exception, FinalOfItsKind(), False),
    ],
)
def test_retry_on_may_name_kinds(retry_on: Any, error: BaseException, again: bool) -> None:
    """Alone or beside types; a permanent error is tried again only where its kind is named."""
    assert Retry(retry_on=retry_on).applies(error, 1) is again


@pytest.mark.parametrize("answer", [True, False])
def test_a_function_decides_alone(answer: bool) -> None:
    """Also about permanent errors, and those that use up no attempt."""

    def decide(error: BaseException) -> bool:
        return answer

    policy = Retry(retry_on=decide)
    assert [policy.applies(error, 1) for error in (Odd(), Final(), Pushed(), KeyboardInterrupt())] == [answer] * 4


@pytest.mark.parametrize("retry_on", [Exception, OSError, "transient", ("odd", OSError), ()])
def test_what_uses_no_attempt_is_tried_again_for_ever(retry_on: Any) -> None:
    """Whatever the policy names, and though its attempts are used up."""
    assert all(Retry(max_attempts=2, retry_on=retry_on).applies(Pushed(), attempt) for attempt in (1, 2, 3, 100))


def test_a_function_is_not_asked_when_the_attempts_are_used_up() -> None:
    """Unless the error uses up none."""
    asked: list[BaseException] = []

    def decide(error: BaseException) -> bool:
        asked.append(error)
        return True

    pushed = Pushed()
    policy = Retry(max_attempts=1, retry_on=decide)
    assert (policy.applies(ValueError(), 1), policy.applies(pushed, 1)) == (False, True)
    assert asked == [pushed]


@pytest.mark.parametrize("kind", ["Transient", "rate limited", "", "x-y", ("odd", "ODD")])
def test_what_is_no_kind_is_refused(kind: Any) -> None:
    """A kind is a word in lower case."""
    with pytest.raises(TypeError, match="a word in lower case"):
        Retry(retry_on=kind)


@pytest.mark.parametrize("asked", [0, -0.0, -1, math.nan, math.inf, None, "5"])
def test_a_push_back_without_a_time_backs_off(asked: Any) -> None:
    """At once is no answer, as calls that do not count would go on at once for ever."""
    policy = exactly(initial=2)
    assert [policy.delay(times, Pushed(asked)) for times in (1, 2, 3)] == [2, 4, 8]


@given(
    asked=st.none() | st.floats() | st.integers(-5, 5),
    initial=st.sampled_from([0, 0.5]),
    jitter=st.floats(0, 1),
    times=st.integers(1, 50),
)
def test_a_push_back_always_waits(asked: Any, initial: float, jitter: float, times: int) -> None:
    """Whatever the server says, and without a delay in the policy."""
    policy = Retry(initial=initial, max_delay=initial, jitter=jitter)
    assert policy.delay(times, Pushed(asked)) > 0


def test_a_push_back_waits_as_long_as_it_is_told() -> None:
    """Above 0 the server decides."""
    assert [exactly().delay(1, Pushed(asked)) for asked in (0.001, 7, 3600)] == [0.001, 7, 3600]


@given(
    kinds=st.lists(st.sampled_from(["odd", "transient", "error", "final", "pushed"]), max_size=3),
    types=st.lists(st.sampled_from([Exception, Odd, ValueError, OSError, Final]), max_size=3),
    error=st.sampled_from([Odd(), Final(), Pushed(), ValueError(), ConnectionError(), FinalOfItsKind()]),
    attempt=st.integers(1, 4),
)
def test_types_and_kinds_mix_in_any_order(
    kinds: list[str], types: list[type[Exception]], error: Exception, attempt: int
) -> None:
    """Any of them is enough, unless the error is permanent or the attempts are used up."""
    named = kind_of(error) in kinds
    pushed = isinstance(error, Pushed)
    typed = (isinstance(error, tuple(types)) or pushed) and not getattr(error, "is_permanent", False)
    expected = (named or typed) and (attempt < 3 or pushed)
    mixtures: list[Any] = [(*kinds, *types), (*types, *kinds)]
    for mixed in mixtures:
        assert Retry(max_attempts=3, retry_on=mixed).applies(error, attempt) is expected
