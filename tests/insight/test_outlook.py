"""What is told of a run between two estimates."""

from __future__ import annotations

import math

import pytest

from rxpipe.insight.interval import Interval
from rxpipe.insight.outlook import Outlook


def around(middle: float, spread: float) -> Interval:
    """As simulations tell it: as far up as down, in proportion."""
    return Interval(middle=middle, low=middle / math.exp(spread), high=middle * math.exp(spread))


def test_it_counts_down() -> None:
    """As long as all that was said is still possible, the seconds that have gone by are left out."""
    later = Outlook(elapsed=20.0, seconds=around(100.0, 0.1)).later(50.0)
    assert later is not None
    assert later.elapsed == 50.0
    assert later.seconds.middle == pytest.approx(70.0)
    assert later.seconds.high == pytest.approx(100 * math.exp(0.1) - 30)


def test_something_is_left_until_nothing_can_be() -> None:
    """Of what is not refuted yet, half is more than the middle."""
    outlook = Outlook(elapsed=0.0, seconds=around(10.0, 0.5))
    seen = [outlook.later(float(elapsed)) for elapsed in range(17)]
    middles = [one.seconds.middle for one in seen if one is not None]
    assert len(middles) == 17
    assert all(one is not None and 0 < one.seconds.low < one.seconds.middle < one.seconds.high for one in seen)
    assert middles == sorted(middles, reverse=True)
    assert outlook.later(17.0) is None


def test_what_was_said_exactly() -> None:
    """It is over then."""
    outlook = Outlook(elapsed=0.0, seconds=around(10.0, 0.0))
    later = outlook.later(4.0)
    assert later is not None
    assert (later.seconds.low, later.seconds.middle, later.seconds.high) == pytest.approx((6.0, 6.0, 6.0))
    assert outlook.later(10.5) is None


def test_no_total_is_below_what_is_spent() -> None:
    """When more is spent than was to be at most, nobody knows the total."""
    outlook = Outlook(elapsed=0.0, seconds=around(100.0, 0.1), cost=around(4.0, 0.2), spent=1.0)
    assert outlook.later(1.0) is not None
    for spent in (1.0, 2.0, 3.0, 4.0, 4.5, 4.8):
        later = outlook.later(10.0, spent)
        assert later is not None
        assert later.cost is not None
        assert spent <= later.cost.low <= later.cost.middle <= later.cost.high
    later = outlook.later(10.0, 5.0)
    assert later is not None
    assert later.cost is None


def test_it_is_told_twice() -> None:
    """Nothing changes while nothing goes by."""
    outlook = Outlook(elapsed=0.0, seconds=around(100.0, 0.4), cost=around(4.0, 0.2), spent=1.0)
    first = outlook.later(10.0, 1.5)
    assert first is not None
    again = first.later(10.0, 1.5)
    assert again == first
