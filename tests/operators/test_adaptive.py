"""`AdaptiveConcurrency`: its options, and how the bound follows what calls say."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpipe.operators import AdaptiveConcurrency
from rxpipe.operators.stages.adaptive import Adapting


class Bound:
    """A bound that is told what calls say, and what it has been."""

    def __init__(self, least: int = 1, start: int = 10, most: int = 200, cool_down: float = 1.0) -> None:
        self.history: list[int] = []
        settings = AdaptiveConcurrency(least=least, start=start, most=most, cool_down=cool_down)
        self._adapting = Adapting(settings, self.history.append)

    @property
    def now(self) -> int:
        return self.history[-1]

    def succeed(self, count: int, at: float, *, began: float | None = None, running: int | None = None) -> None:
        for _ in range(count):
            self._adapting.succeeded(at, at if began is None else began, self.now if running is None else running)

    def push_back(self, count: int, at: float, *, began: float | None = None, retry_after: float = 0.0) -> None:
        for _ in range(count):
            self._adapting.pushed_back(at, at if began is None else began, retry_after)


def fallen(**options: Any) -> Bound:
    """One that has fallen for the first time, at 100."""
    bound = Bound(**options)
    bound.push_back(1, 100)
    return bound


def test_it_begins_where_it_is_told() -> None:
    """The first bound is `start`."""
    assert Bound(start=7).history == [7]


def test_it_doubles_with_each_round() -> None:
    """As many successes as the bound are a round, and double it."""
    bound = Bound(start=10)
    bound.succeed(9, 1)
    assert bound.now == 10
    bound.succeed(1, 1)
    assert bound.now == 20
    bound.succeed(20, 2)
    assert bound.history == [10, 20, 40]


def test_it_never_exceeds_the_most() -> None:
    """The last doubling is cut short."""
    bound = Bound(start=10, most=25)
    bound.succeed(1000, 1)
    assert bound.history == [10, 20, 25]


def test_the_first_push_back_takes_a_fifth() -> None:
    """One refusal is enough to end the doubling."""
    bound = Bound(start=100)
    bound.push_back(1, 50)
    assert bound.history == [100, 80]


def test_a_burst_counts_once() -> None:
    """What is refused together is one episode."""
    bound = Bound(start=100)
    bound.push_back(60, 50)
    assert bound.history == [100, 80]


def test_calls_from_before_do_not_count_again() -> None:
    """Calls that began before the bound fell tell nothing of the present one, however late they are refused."""
    bound = fallen(start=100)
    bound.push_back(50, 500, began=99.0)
    bound.succeed(500, 500, began=99.0)
    assert bound.history == [100, 80]


def test_calls_of_the_very_moment_do_not_count_again() -> None:
    """Without a cool-down, refusals at the moment of the fall are of the same episode."""
    bound = fallen(start=100, cool_down=0)
    bound.push_back(50, 100)
    assert bound.history == [100, 80]


def test_nothing_counts_in_the_cool_down() -> None:
    """Neither refusals nor successes of calls that began and ended in it."""
    bound = fallen(start=100, cool_down=5)
    bound.succeed(500, 104.9, began=101)
    bound.push_back(500, 104.9, began=101)
    assert bound.history == [100, 80]


def test_the_cool_down_has_an_end() -> None:
    """From then on both count."""
    bound = fallen(start=100, cool_down=5)
    bound.succeed(80, 105, began=101)
    assert bound.history == [100, 80, 84]


@pytest.mark.parametrize(("retry_after", "ends"), [(0.0, 105), (3.0, 105), (20.0, 120)])
def test_the_cool_down_lasts_as_long_as_the_server_asks(retry_after: float, ends: float) -> None:
    """But at least `cool_down`."""
    bound = Bound(start=100, cool_down=5)
    bound.push_back(1, 100, retry_after=retry_after)
    bound.push_back(99, ends - 0.1, began=101)
    assert bound.history == [100, 80]
    bound.push_back(9, ends, began=101)
    assert bound.history == [100, 80, 64]


def test_it_grows_by_a_twentieth_afterwards() -> None:
    """It doubles no more: a round adds a twentieth."""
    bound = fallen(start=100)
    bound.succeed(80, 200)
    bound.succeed(84, 200)
    assert bound.history == [100, 80, 84, 88]


def test_it_grows_by_one_at_least() -> None:
    """A twentieth of less than 20 would be nothing."""
    bound = fallen(start=10)
    bound.succeed(8 + 9 + 10, 200)
    assert bound.history == [10, 8, 9, 10, 11]


def test_it_grows_only_while_all_of_it_is_in_use() -> None:
    """Successes of a stage that does not use what it has say nothing of how much more the server would take."""
    bound = Bound(start=10)
    bound.succeed(1000, 1, running=9)
    assert bound.now == 10
    bound.succeed(10, 1, running=11)
    assert bound.now == 20


def test_a_few_refusals_are_no_episode() -> None:
    """Up to a tenth of a round may be refused, after the first time."""
    bound = fallen(start=100)
    for second in range(200, 204):
        bound.push_back(8, second)
        bound.succeed(72, second, running=1)
    assert bound.history == [100, 80]


def test_more_than_a_tenth_of_a_round_is_an_episode() -> None:
    """The refusal that makes it more takes a fifth of the bound."""
    bound = fallen(start=100)
    bound.succeed(30, 200)
    bound.push_back(8, 200)
    assert bound.history == [100, 80]
    bound.push_back(1, 200)
    assert bound.history == [100, 80, 64]


def test_a_small_bound_is_judged_by_fifty_calls() -> None:
    """One refusal of two or three calls would be a large part, and says little."""
    bound = fallen(start=5)
    bound.push_back(5, 200)
    assert bound.now == 4
    bound.push_back(1, 200)
    assert bound.now == 3


def test_old_refusals_are_forgotten() -> None:
    """After a round nothing is left of those in it."""
    bound = fallen(start=5)
    bound.push_back(5, 200)
    bound.succeed(45, 200, running=1)
    bound.push_back(5, 200)
    assert bound.now == 4
    bound.push_back(1, 200)
    assert bound.now == 3


def test_it_does_not_grow_while_many_are_refused() -> None:
    """A round that is used in full adds nothing as long as more than a tenth of the latest calls were refused."""
    bound = fallen(start=5)
    bound.push_back(1, 200)
    bound.succeed(8, 200)
    assert bound.now == 4
    bound.succeed(1, 200)
    assert bound.now == 5


def test_it_never_falls_below_the_least() -> None:
    """Not even when everything is refused."""
    bound = Bound(least=3, start=10)
    for second in range(100, 200, 2):
        bound.push_back(10, second)
    assert bound.history[:6] == [10, 8, 6, 4, 3, 3]
    assert bound.now == 3


def test_one_call_may_run_always() -> None:
    """A fifth of one is not taken."""
    bound = Bound(start=1)
    bound.push_back(100, 5)
    assert bound.now == 1


def test_equal_numbers_are_a_fixed_bound() -> None:
    """With `least=start=most` nothing changes it."""
    bound = Bound(least=5, start=5, most=5)
    bound.succeed(100, 1)
    bound.push_back(100, 2)
    bound.succeed(100, 9)
    assert set(bound.history) == {5}


@given(
    bounds=st.tuples(st.integers(1, 50), st.integers(0, 50), st.integers(0, 200)),
    cool_down=st.sampled_from([0.0, 1.0, 10.0]),
    steps=st.lists(st.tuples(st.booleans(), st.integers(1, 100), st.floats(0, 5), st.floats(0, 20)), max_size=60),
)
def test_whatever_happens_it_stays_within_its_limits(
    bounds: tuple[int, int, int], cool_down: float, steps: list[tuple[bool, int, float, float]]
) -> None:
    """Never below `least` nor above `most`, it falls by a fifth at most, and not within a cool-down."""
    least, start, most = bounds[0], bounds[0] + bounds[1], sum(bounds)
    bound = Bound(least=least, start=start, most=most, cool_down=cool_down)
    now, fell = 0.0, -math.inf
    for ok, count, passed, lasted in steps:
        now += passed
        before = bound.now
        if ok:
            bound.succeed(count, now, began=now - lasted)
            assert bound.now >= before
        else:
            bound.push_back(count, now, began=now - lasted)
            assert bound.now in (before, max(least, int(before * 0.8)))
        if bound.now != before:
            assert now - fell >= cool_down
        if bound.now < before:
            fell = now
    assert all(least <= limit <= most for limit in bound.history)


@pytest.mark.parametrize("text", ["5-20-100", "1-1-1", "007-8-9"])
def test_text_gives_least_start_and_most(text: str) -> None:
    """Three numbers in a row, and back again."""
    least, start, most = map(int, text.split("-"))
    adaptive = AdaptiveConcurrency.parse(text)
    assert adaptive == AdaptiveConcurrency(least=least, start=start, most=most)
    assert AdaptiveConcurrency.parse(str(adaptive)) == adaptive


def test_auto_is_the_default() -> None:
    """`auto` asks for no numbers."""
    assert AdaptiveConcurrency.parse("auto") == AdaptiveConcurrency()


@pytest.mark.parametrize(
    "text", ["", "10", "5-20", "5-20-100-1", "a-b-c", "-5-20-100", "Auto", "5 - 20 - 100", "5-20-4"]
)
def test_other_text_is_refused(text: str) -> None:
    """What is neither `auto` nor three numbers in order is a mistake."""
    with pytest.raises(ValueError, match=r"least|auto"):
        AdaptiveConcurrency.parse(text)


@pytest.mark.parametrize(
    "options",
    [
        {"least": 0},
        {"least": 11},
        {"start": 201},
        {"most": 9},
        {"start": 10.5},
        {"most": math.inf},
        {"most": math.nan},
        {"cool_down": -1},
        {"cool_down": math.nan},
    ],
)
def test_numbers_out_of_order_are_refused(options: dict[str, Any]) -> None:
    """Whole numbers, in order, and no negative time."""
    with pytest.raises(ValueError, match=r"least|cool_down"):
        AdaptiveConcurrency(**options)
