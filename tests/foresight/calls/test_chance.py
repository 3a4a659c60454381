"""Random numbers, and intervals."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpipe.foresight import Interval
from rxpipe.foresight.calls.chance import number_of, share_of


def test_shares_are_uniform_and_depend_on_each_argument() -> None:
    """Also of small whole numbers that follow each other, as IDs and attempts do."""
    shares = [share_of(*what) for what in product(range(20), range(200), range(1, 4), range(2))]
    assert all(0 <= share < 1 for share in shares)
    assert len(set(shares)) == len(shares)
    for part in range(20):
        within = sum(part / 20 <= share < (part + 1) / 20 for share in shares)
        assert within == pytest.approx(len(shares) / 20, rel=0.1)
    following = [abs(share_of(1, place, 1, 0) - share_of(1, place + 1, 1, 0)) for place in range(5_000)]
    assert sum(following) / len(following) == pytest.approx(1 / 3, rel=0.03)


def test_they_are_the_same_everywhere() -> None:
    """Also those of texts."""
    assert (number_of(17), number_of("17/0")) == (17, 2083699468)
    assert share_of(1, 2, 3) == 0.49838519895849753


@given(st.lists(st.floats(0, 1e6), max_size=9), st.floats(0, 1e6))
def test_an_interval_is_around_its_middle(values: list[float], middle: float) -> None:
    """However the others spread."""
    found = Interval.of(values, middle)
    assert 0 <= found.low <= found.middle <= found.high
    assert found.middle == pytest.approx(middle, rel=1e-8)


def test_it_is_as_wide_as_others_spread() -> None:
    """In relation to the middle."""
    values = [float(each) for each in range(80, 121)]
    found = Interval.of(values, 50.0)
    assert [found.low, found.high] == pytest.approx([40.7, 61.4], abs=0.1)
    found = Interval.of([*values, 0.0], 50.0)
    assert [found.low, found.high] == pytest.approx([17.0, 83.0], abs=0.5)
