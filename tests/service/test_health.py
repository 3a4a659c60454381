"""Whether a run is alive, draining or stalled, by its numbers and a clock that is set by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pipeline_helpers import lasting, virtual

from rxpipe import Pipeline, Stage
from rxpipe.insight.snapshot import LimiterSnapshot, SinkSnapshot, Snapshot, StageSnapshot
from rxpipe.service.health import HealthWatch
from rxpipe.service.probes import probes

STAGE = StageSnapshot(name="work", concurrency=1, most=1, calls=1, running=1, oldest=0.0)
BUSY = Snapshot(at=0, elapsed=0, stages=(STAGE,), taken=1, in_flight=1, sink=SinkSnapshot(name="database"))


class Given:
    """A run that is as the test says, and the time."""

    def __init__(self, snapshot: Snapshot = BUSY, *, timeout: float | None = 10.0) -> None:
        self.seconds = 100.0
        self.now = snapshot
        self.watch = HealthWatch(now=lambda: self.seconds)
        self.watch.begin(self, [Stage("work", lambda value: value, timeout=timeout)])
        self.watch.look()

    def snapshot(self) -> Snapshot:
        return self.now

    def after(self, seconds: float, *, step: float = 1.0, **changes: Any) -> str:
        """How it is so many seconds later, looked at all the time."""
        self.now = replace(self.now, **changes)
        for _ in range(int(seconds / step)):
            self.seconds += step
            self.watch.look()
        return self.watch.look().status


def test_before_a_run_has_begun() -> None:
    """It is starting."""
    assert HealthWatch().look().status == "starting"


def test_a_run_is_stalled_when_nothing_happens() -> None:
    """After its patience, which is a minute at least; and alive again with the next thing that happens."""
    given = Given()
    assert given.after(60) == "alive"
    assert given.after(2) == "stalled"
    found = given.watch.look()
    assert found.reason.startswith("nothing has happened for 62 s: 1 calls of work run")
    assert given.after(0, stages=(replace(STAGE, calls=2),)) == "alive"


def test_a_run_that_has_nothing_to_do_is_alive() -> None:
    """However long."""
    assert Given(replace(BUSY, in_flight=0)).after(3_000, step=5) == "alive"


@pytest.mark.parametrize(("timeout", "patience"), [(100.0, 150), (None, 600)])
def test_patience_goes_by_timeouts(timeout: float | None, patience: int) -> None:
    """A stage without one may take ten minutes as long as nobody knows how long its calls take."""
    given = Given(timeout=timeout)
    assert given.after(patience - 5, step=5) == "alive"
    assert given.after(10, step=5) == "stalled"


def test_patience_goes_by_how_long_calls_take() -> None:
    """Three times as long as nearly all of them."""
    given = Given()
    for _ in range(10):
        STAGE.seconds.add(100.0)
    try:
        assert given.after(280, step=5) == "alive"
        assert given.after(40, step=5) == "stalled"
    finally:
        STAGE.seconds.buckets.clear()
        STAGE.seconds.count = 0


def test_a_slow_limit_is_no_stall() -> None:
    """One call in five minutes."""
    limit = LimiterSnapshot(name="the model", unit="calls", rate=1 / 300)
    given = Given(replace(BUSY, limiters=(limit,)))
    assert given.after(440, step=5) == "alive"
    assert given.after(20, step=5) == "stalled"


def test_a_pause_that_the_server_asked_for_is_no_stall() -> None:
    """Not even if something happens at its beginning; afterwards, the patience begins."""
    limit = LimiterSnapshot(name="the model", unit="calls", rate=10)
    given = Given(replace(BUSY, limiters=(limit,)))
    given.after(1, limiters=(replace(limit, paused=300.0),))
    given.after(1, taken=2)
    assert given.after(350, step=5) == "alive"
    assert given.after(20, step=5) == "stalled"


def test_an_attempt_that_is_not_due_is_no_stall() -> None:
    """A server may have said to come again in an hour; a call beside it may hang all the same."""
    later = replace(STAGE, running=0, waiting=2, delayed=2, oldest=None)
    given = Given(replace(BUSY, stages=(later,), taken=2, in_flight=2))
    assert given.after(3_000, step=5) == "alive"
    assert given.after(70, stages=(later, STAGE), in_flight=3) == "stalled"


def test_a_database_that_is_away_is_no_stall() -> None:
    """A restart would lose what waits for it; the run itself gives up at last."""
    given = Given(replace(BUSY, sink=SinkSnapshot(name="database", away=5.0, waiting=1)))
    assert given.after(300, step=5) == "alive"


@pytest.mark.parametrize("what", ["database", "file"])
def test_a_run_whose_database_takes_nothing_is_not_ready(what: str) -> None:
    """It is alive, and says why; the metric tells for how long."""
    given = Given()
    assert given.watch.commit_trouble == ""
    given.after(1, sink=SinkSnapshot(name=what, away=42.0, waiting=1))
    assert given.watch.commit_trouble == f"waiting for the {what} for 42 s: nothing is committed"
    assert given.watch.away == 42
    paths = probes(given.watch, lambda: "")
    assert paths["/livez"]("").status == 200
    ready = paths["/readyz"]("")
    assert (ready.status, json.loads(ready.body)["reason"]) == (503, given.watch.commit_trouble)
    given.after(1, sink=SinkSnapshot(name=what))
    assert given.watch.commit_trouble == ""


def test_a_process_that_was_stopped_is_not_stalled() -> None:
    """As a machine that slept: what went by meanwhile does not count."""
    given = Given()
    given.seconds += 10_000
    assert given.watch.look().status == "alive"
    assert given.watch.look().silence <= 5


def test_draining() -> None:
    """By a signal, or as somebody stops the run in its store; it can stall then, too."""
    given = Given()
    assert given.after(1, state="stopping") == "draining"
    given = Given()
    given.watch.drain()
    found = given.watch.look()
    assert (found.status, found.reason) == ("draining", "the run takes no more items, and finishes 1 that it has")
    assert given.after(70) == "stalled"


def test_a_run_that_has_ended() -> None:
    """It takes no items, and is not stalled."""
    assert Given(replace(BUSY, state="finished", in_flight=0)).watch.look().status == "ended"


def test_another_run_begins_anew() -> None:
    """The silence of the one before does not count."""
    given = Given()
    assert given.after(70) == "stalled"
    given.watch.begin(given, [Stage("work", lambda value: value, timeout=10.0)])
    assert given.watch.look().status == "alive"


def test_a_real_run_in_virtual_time() -> None:
    """A call that never ends stalls it; calls that end before do not."""
    pipeline = Pipeline(Stage("work", lambda number: lasting(50.0 if number else 1e6)(number), concurrency=1))
    run, scheduler = virtual(pipeline, [1, 2, 0])
    watch = HealthWatch(now=lambda: run.clock.now())
    watch.begin(run, [Stage("work", lambda value: value, timeout=10.0)])
    stalled: list[int] = []
    for second in range(4, 240, 4):
        scheduler.advance_to(float(second))
        if watch.look().status == "stalled":
            stalled.append(second)
    assert stalled == list(range(164, 240, 4))
    run.abort()
    scheduler.start()
    assert watch.look().status == "ended"
