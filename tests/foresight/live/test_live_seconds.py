"""How long calls take, from a histogram and from calls that still run."""

from __future__ import annotations

import random
from statistics import mean

import pytest

from rxpipe.foresight.live.live_seconds import LiveSeconds
from rxpipe.operators.stages.durations import Durations


def histogram(*seconds: float) -> Durations:
    """A histogram of these."""
    found = Durations()
    for one in seconds:
        found.add(one)
    return found


def test_of_calls_that_have_ended() -> None:
    """Mean and scatter are those of the calls, to the bucket."""
    seconds = LiveSeconds(histogram(1.0, 2.0, 3.0, 6.0))
    assert seconds.mean == pytest.approx(3.0, rel=0.01)
    assert seconds.scatter == pytest.approx(3.5 / 9, rel=0.03)
    assert seconds.share_from(2.5) == pytest.approx(0.5, abs=0.01)


def test_calls_that_run_count() -> None:
    """With those that have not ended, an unbiased mean comes out where the ended ones alone are too short."""
    numbers = random.Random(1)
    ended, ages = Durations(), list[float]()
    for _ in range(20_000):
        takes, began = numbers.expovariate(1.0), numbers.uniform(0, 2)
        if began + takes <= 2:
            ended.add(takes)
        else:
            ages.append(2 - began)
    alone, both = LiveSeconds(ended).mean, LiveSeconds(ended, ages).mean
    assert alone < 0.65
    assert both == pytest.approx(1.0, rel=0.12)


def test_the_rest_of_a_call() -> None:
    """It depends on how long the call has been running."""
    seconds, numbers = LiveSeconds(histogram(*[1.0] * 90, *[10.0] * 10)), random.Random(1)
    fresh = mean(seconds.rest(0.0, numbers) for _ in range(2_000))
    assert fresh == pytest.approx(1.9, rel=0.15)
    assert {round(seconds.rest(4.0, numbers), 1) for _ in range(50)} == {6.0}
    assert seconds.rest(20.0, numbers) > 0
