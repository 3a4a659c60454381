"""What is read from a timeline."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpipe.devtools.compare.timeline import Call, StageTimeline, Timeline, averages, changes

CALLS = (Call(1, 0.0, 2.0, True), Call(2, 1.0, 3.0, True), Call(1, 3.0, 4.0, False))


def test_changes_count_what_runs() -> None:
    """The number goes up when a call begins and down when one ends, downs first."""
    assert changes(CALLS) == [(0.0, 1), (1.0, 2), (2.0, 1), (3.0, 0), (3.0, 1), (4.0, 0)]


def test_averages_of_parts() -> None:
    """Each part has the mean of its time."""
    assert averages(CALLS, 4.0, 2) == [(0.0, 1.5), (2.0, 1.0)]


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)).map(sorted), max_size=30),
    st.integers(1, 50),
)
def test_averages_keep_the_calls_time(spans: list[list[float]], parts: int) -> None:
    """However coarse the parts, the area is the calls' time."""
    calls = [Call(0, began, ended, True) for began, ended in spans]
    area = sum(mean for _, mean in averages(calls, 10.0, parts)) * 10.0 / parts
    assert area == pytest.approx(sum(ended - began for began, ended in spans))


def test_the_journey_of_an_item() -> None:
    """The calls made for it, in their order, with the stages' numbers."""
    stages = [StageTimeline(name=name, slots=2, calls=CALLS) for name in ("one", "two")]
    line = Timeline(seconds=4.0, stages=tuple(stages), commits=())
    assert line.journey(1) == [(0, CALLS[0]), (1, CALLS[0]), (0, CALLS[2]), (1, CALLS[2])]
    assert stages[0].busy_seconds == 5.0
