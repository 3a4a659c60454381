"""The figures of a run as it goes."""

from __future__ import annotations

from typing import Any

import pytest

from rxpipe import Usage
from rxpipe.screen.figures import WINDOW, Figures, Meter
from rxpipe.screen.lines import progress_line

from .runs import MadeRun


def test_counts() -> None:
    """The run's counts are read, and what follows from them."""
    figures = MadeRun("a").figures(100, taken=50, written=30, failed=10)
    assert (figures.taken, figures.written, figures.failed, figures.in_flight) == (50, 30, 10, 10)
    assert (figures.rate, figures.fraction, figures.left) == (4.0, 0.4, 15.0)


def test_unknown_total() -> None:
    """Without a total nothing is said of how much is done and left."""
    figures = MadeRun("a").figures(None, written=30)
    assert (figures.rate, figures.fraction, figures.left) == (3.0, None, None)


def test_more_items_than_the_source_has() -> None:
    """Items that were submitted: nobody knows how many more there are, so no total and no time left are told."""
    made = MadeRun("a")
    made.run.before = (200, 0)
    figures = made.figures(200, taken=164, written=132)
    assert (figures.total, figures.fraction, figures.left) == (None, None, None)
    assert progress_line(figures).startswith("0:10  132 written, 0 failed, 32 in flight, ")
    assert "left" not in progress_line(figures)
    made.run.before = (36, 0)
    assert made.figures(200, taken=164, written=132).total == 200


@pytest.mark.parametrize("taken", [0, 9])
def test_nothing_has_ended(taken: int) -> None:
    """While nothing has ended, nobody knows when all will have."""
    assert MadeRun("a").figures(100, taken=taken).left is None


def test_rate_is_of_late() -> None:
    """What happened longer ago than the window does not count."""
    made = MadeRun("a")
    meter = Meter(made.run.snapshot, total=None)
    made.set(written=1000)
    made.seconds = 10.0
    assert meter.read().rate == 100.0
    for _ in range(int(WINDOW)):
        made.seconds += 1.0
        made.run.written += 2
        meter.read()
    assert meter.read().rate == 2.0


def test_rate_of_a_moment_is_unknown() -> None:
    """Too little time makes no rate."""
    assert MadeRun("a").figures(written=5, after=0.01).rate is None


def test_stage() -> None:
    """A stage's waiting and running calls, its rate and its mean latency."""
    made = MadeRun("a", "b")
    stage = made.stages[0]
    stage.taken, stage.started, stage.done, stage.failed, stage.retried = 20, 14, 9, 1, 2
    stage.times.seconds.add(0.5, 12)
    figures, other = made.figures().stages
    assert (figures.name, figures.waiting, figures.running, figures.slots) == ("a", 8, 2, 3)
    assert (figures.done, figures.failed, figures.retried) == (9, 1, 2)
    assert (figures.latency, other.latency) == (0.5, None)


def test_rate_of_a_stage() -> None:
    """A stage's rate is of the items that it finished or that failed there."""
    made = MadeRun("a")
    meter = Meter(made.run.snapshot, total=None)
    made.seconds = 5.0
    made.stages[0].done, made.stages[0].failed = 8, 2
    assert meter.read().stages[0].rate == 2.0


def test_counts_that_do_not_fit_yet() -> None:
    """Counts that change while they are read never give less than nothing, nor more than there are slots."""
    made = MadeRun("a")
    stage = made.stages[0]
    stage.taken, stage.started, stage.done = 1, 9, 2
    assert (made.figures().stages[0].waiting, made.figures().stages[0].running) == (0, 3)
    stage.started, stage.done = 1, 2
    assert made.figures().stages[0].running == 0


@pytest.mark.parametrize(
    ("first", "second", "fraction", "left"),
    [
        ({"done": 50}, {}, 0.25, 30.0),
        ({"done": 100}, {"done": 50}, 0.75, 10 / 3),
        ({"done": 90, "failed": 10}, {"done": 90}, 1.0, 0.0),
    ],
)
def test_staged(first: dict[str, Any], second: dict[str, Any], fraction: float, left: float) -> None:
    """Staged runs write nothing until the end: their progress is that of the calls; failed items skip the rest."""
    made = MadeRun("a", "b")
    for stage, counts in zip(made.stages, (first, second), strict=True):
        for name, count in counts.items():
            setattr(stage, name, count)
    figures = made.figures(100, staged=True, taken=100)
    assert figures.fraction == fraction
    assert figures.left == pytest.approx(left)


def test_usage() -> None:
    """What was used before counts too; what the end will have used follows from the items that have ended."""
    made = MadeRun("a", "b")
    made.run.before = (3, 1)
    made.run.usage_before = Usage(prompt_tokens=400, cost=4.0)
    made.stages[0].usage = Usage(prompt_tokens=300, completion_tokens=60)
    made.stages[1].usage = Usage(cost=2.0)
    figures = made.figures(60, written=1, failed=1)
    assert figures.usage == Usage(prompt_tokens=700, completion_tokens=60, cost=6.0)
    assert figures.projected == Usage(prompt_tokens=7000, completion_tokens=600, cost=60.0)
    assert [stage.usage for stage in figures.stages] == [stage.usage for stage in made.stages]


@pytest.mark.parametrize(("total", "written"), [(None, 50), (100, 4), (50, 50), (20, 50)])
def test_no_projection(total: int | None, written: int) -> None:
    """Where there is no total, or nothing to go by yet, or nothing more to come."""
    made = MadeRun("a")
    made.stages[0].usage = Usage(cost=1.0)
    assert made.figures(total, written=written).projected is None


def test_fewer_slots_than_before() -> None:
    """Calls that began before run on, beyond the bound of now."""
    made = MadeRun("a", concurrency=10)
    meter = Meter(made.run.snapshot, total=None)
    (stage,) = made.stages
    stage.taken = stage.started = 10
    meter.read()
    stage.concurrency = 8
    (figures,) = meter.read().stages
    assert (figures.running, figures.slots) == (10, 8)


def test_pushed_back() -> None:
    """Calls that a server refused for now are counted by themselves, and have ended."""
    made = MadeRun("a")
    stage = made.stages[0]
    stage.taken, stage.started, stage.pushed_back = 5, 7, 4
    (figures,) = made.figures().stages
    assert (figures.pushed_back, figures.running, figures.waiting, figures.retried) == (4, 3, 2, 0)


def test_dropped_items_have_ended() -> None:
    """They count for the rate and the progress, as failed ones do."""
    figures = MadeRun("a").figures(100, taken=50, written=20, failed=10, dropped=10)
    assert (figures.rate, figures.fraction, figures.left, figures.in_flight) == (4.0, 0.4, 15.0, 10)


def test_a_stage_that_drops_and_sends_back() -> None:
    """Its calls with these items are over, and are part of its rate."""
    made = MadeRun("a")
    meter = Meter(made.run.snapshot, total=None)
    stage = made.stages[0]
    stage.taken = stage.started = 10
    stage.done, stage.dropped, stage.sent_back = 3, 4, 2
    made.seconds = 9.0
    (figures,) = meter.read().stages
    assert (figures.dropped, figures.sent_back, figures.running, figures.rate) == (4, 2, 1, 1.0)


def test_staged_items_that_are_dropped_skip_the_rest() -> None:
    """As failed ones do."""
    made = MadeRun("a", "b")
    made.stages[0].done, made.stages[0].dropped, made.stages[1].done = 90, 10, 90
    assert made.figures(100, staged=True, taken=100).fraction == 1.0


def with_children(total: int | None = 100, **counts: Any) -> Figures:
    """The figures of a run whose items have children."""
    made = MadeRun("a")
    made.stages[0].usage = Usage(cost=1.0)
    made.run.before = counts.pop("before", (0, 0))
    meter = Meter(made.run.snapshot, total=total, expands=True)
    made.set(**counts)
    made.seconds += 10.0
    return meter.read()


def test_progress_with_children() -> None:
    """How many items there will be is unknown: the progress is that of the source, and no end is foreseen."""
    figures = with_children(taken=25, spawned=500, written=300, expanded=10, collected=50)
    assert (figures.fraction, figures.left, figures.projected) == (0.25, None, None)
    assert (figures.rate, figures.in_flight) == (36.0, 165)
    assert with_children(total=None, taken=25).fraction is None


def test_progress_with_children_of_a_run_that_goes_on() -> None:
    """How many of those that ended before were children is unknown, so nothing is said."""
    assert with_children(taken=25, before=(10, 0)).fraction is None
