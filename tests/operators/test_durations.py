"""A histogram of durations."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpipe.operators.stages.durations import Durations

SECONDS = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=200)


def of(*seconds: float) -> Durations:
    durations = Durations()
    for one in seconds:
        durations.add(one)
    return durations


@given(seconds=SECONDS, share=st.floats(0, 1))
def test_a_quantile_is_right_to_one_percent(seconds: list[float], share: float) -> None:
    """Whatever the durations are."""
    exact = sorted(seconds)[math.floor(share * (len(seconds) - 1))]
    assert of(*seconds).quantile(share) == pytest.approx(exact, rel=0.0102)


@given(some=SECONDS, others=SECONDS)
def test_sums_and_differences(some: list[float], others: list[float]) -> None:
    """Those of two stages are added up; those of an earlier moment are taken away."""
    both = of(*some, *others)
    added = of(*some) + of(*others)
    assert (added.buckets, added.count, added.longest) == (both.buckets, both.count, both.longest)
    assert added.total == pytest.approx(both.total)
    later = both - of(*some)
    assert later.buckets == of(*others).buckets
    assert later.count == len(others)


def test_none() -> None:
    """Without durations there is neither a quantile nor a mean."""
    assert Durations().quantile(0.5) is None
    assert Durations().mean is None


def test_what_is_too_short_shares_a_bucket() -> None:
    """Zero is a duration, too."""
    durations = of(0.0, 1e-9, 1e-7)
    assert len(durations.buckets) == 1
    assert durations.quantile(0.5) == pytest.approx(0.0, abs=1e-6)


def test_memory_is_bounded() -> None:
    """A million different durations fit into as many buckets as a thousand of them do."""
    rng = random.Random(1)
    durations = Durations()
    for _ in range(20_000):
        durations.add(math.exp(rng.uniform(math.log(1e-7), math.log(1e6))), 50)
    assert durations.count == 1_000_000
    assert len(durations.buckets) <= 1_400


def test_a_copy_stays_as_it_was() -> None:
    """A snapshot is a value."""
    durations = of(1.0)
    copy = durations.copy()
    durations.add(2.0)
    assert copy == of(1.0)
