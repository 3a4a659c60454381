"""What a run would do with other settings, by its numbers and its calls alone."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rxpipe import RateLimiter, Retry
from rxpipe.errors import ConfigError
from rxpipe.foresight import CallRecorder
from rxpipe.foresight.what_if import Point, WhatIf
from rxpipe.insight.snapshot import Snapshot

from .virtual_runs import Watched, around


def times_3(value: int) -> list[int]:
    return [value] * 3


def is_odd(value: int) -> bool:
    return value % 2 > 0


def what_if(stages: list[Any], count: int = 400, **options: Any) -> WhatIf:
    """Of a run that has ended."""
    watched = Watched(stages, **options)
    recorder = CallRecorder(lambda: watched.time.seconds)
    watched.pipeline.listeners = (recorder,)
    watched.start(range(count))
    watched.time.run()
    calls = [  # those that give many values end when these have gone on; a store leaves that time out
        call._replace(seconds=min(call.seconds, 1.0)) if watched.pipeline.stages[0].expand else call
        for call in recorder.record().calls
    ]
    return WhatIf(watched.run.snapshot(), calls)


def at(points: list[Point], value: float) -> float:
    return next(point.times.middle for point in points if point.value == pytest.approx(value))


def test_slots_of_what_holds_it_up() -> None:
    """More of them help until something else holds it up; the others do nothing."""
    made = what_if([({"concurrency": 4}, around(1.0)), ({"concurrency": 12}, around(1.0, 1))])
    assert [(one.name, one.kind, one.now, one.least, one.most) for one in made.settings] == [
        ("s0", "slots", 4, 1, 16),
        ("s1", "slots", 12, 3, 48),
    ]
    points = made.curve("s0")
    assert at(points, 4) == pytest.approx(1.0)
    assert at(points, 2) == pytest.approx(0.5, rel=0.05)
    assert at(points, 8) == pytest.approx(2.0, rel=0.05)
    assert at(points, 16) == pytest.approx(3.0, rel=0.05)
    assert at(made.curve("s1"), 48) == pytest.approx(1.0, rel=0.03)
    assert at(made.curve("s0", {"s1": 24}), 16) == pytest.approx(4.0, rel=0.06)
    assert all(point.times.low <= point.times.middle <= point.times.high for point in points)


def test_a_limit() -> None:
    """As for slots: until these hold it up."""
    made = what_if([({"concurrency": 10, "rate_limit": RateLimiter(5)}, around(1.0))])
    (slots, limit) = made.settings
    assert (limit.name, limit.kind, limit.unit, limit.now) == ("s0 calls", "limit", "calls", 5.0)
    points = made.curve("s0 calls")
    assert at(points, 2.5) == pytest.approx(0.5, rel=0.03)
    assert at(points, 20.0) == pytest.approx(2.0, rel=0.1)
    assert at(made.curve(slots.name), 40) == pytest.approx(1.0, rel=0.03)


def test_items_at_once() -> None:
    """With strategy per_item that is what there is to set."""
    made = what_if([({}, around(1.0)), ({}, around(1.0, 1))], strategy="per_item", concurrency=6)
    assert [(one.name, one.kind) for one in made.settings] == [("items at once", "items")]
    assert at(made.curve("items at once"), 12) == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize(
    "stages",
    [
        [
            ({"call": times_3, "expand": True, "concurrency": 8}, around(1.0)),
            ({"concurrency": 4}, around(1.0, 1)),
        ],
        [
            ({"call": times_3, "expand": True, "concurrency": 8}, around(0.2)),
            ({"concurrency": 4}, around(1.0, 1)),
            ({"call": len, "collect": True, "concurrency": 8}, around(0.2, 2)),
        ],
        [({"concurrency": 8}, around(0.2)), ({"when": is_odd, "concurrency": 4}, around(1.0, 1))],
    ],
    ids=["children", "collected children", "a stage for some"],
)
def test_of_what_a_stage_can_do(stages: list[Any]) -> None:
    """The second stage holds the run up: the stand-in is like the pipeline in that."""
    made = what_if(stages, count=200)
    points = made.curve("s1")
    assert at(points, 2) == pytest.approx(0.5, rel=0.1)
    assert at(points, 6) == pytest.approx(1.5, rel=0.1)


def test_retries() -> None:
    """They are made again after delays like those that were seen."""
    failed: set[int] = set()

    def call(value: int) -> int:
        if value % 3 == 0 and value not in failed:
            failed.add(value)
            raise ValueError
        return value

    made = what_if([({"call": call, "concurrency": 4, "retry": Retry(initial=2.0, jitter=0.0)}, around(1.0))])
    assert at(made.curve("s0"), 8) == pytest.approx(2.0, rel=0.1)


def test_what_makes_no_sense() -> None:
    """A setting that is not there, a value out of range, and a run without calls."""
    made = what_if([({"concurrency": 4}, around(1.0))])
    with pytest.raises(ConfigError, match="no setting 's7'"):
        made.curve("s7")
    with pytest.raises(ConfigError, match="no setting 's7'"):
        made.curve("s0", {"s7": 1.0})
    both = what_if([({"concurrency": 4}, around(1.0)), ({"concurrency": 4}, around(1.0, 1))])
    with pytest.raises(ConfigError, match="s1 must be from 1 to 16"):
        both.curve("s0", {"s1": 1_000.0})
    snapshot: Snapshot = Watched([({}, around(1.0))]).start(range(3)).snapshot()
    with pytest.raises(ConfigError, match="no recorded calls"):
        WhatIf(snapshot, [])


def test_how_sure_that_is() -> None:
    """An interval says something: it does not go from a third of the rate to three times as much."""
    numbers = random.Random(8)
    calls = [({"concurrency": 4}, lambda: numbers.lognormvariate(-0.3, 0.5)) for _ in range(2)]
    points = what_if(calls).curve("s0", {"s1": 5})
    assert max(point.times.high / point.times.low for point in points) < 1.6
