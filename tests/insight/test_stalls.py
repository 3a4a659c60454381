"""What stands still, and what it waits for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rxpipe.insight.snapshot import LimiterSnapshot, SinkSnapshot, Snapshot, StageSnapshot
from rxpipe.insight.stalls import Stall, spoken, stalls_of

from .snapshots import durations


def stage(name: str = "answering", **other: Any) -> StageSnapshot:
    usual = durations(1_000, 2.0, 0.1)
    counts: dict[str, Any] = {"concurrency": 4, "most": 4, "calls": 1_000, "done": 1_000, "seconds": usual}
    return StageSnapshot(name=name, **{**counts, **other})


def stalls(*stages: StageSnapshot, before: Snapshot | None = None, **other: Any) -> tuple[Stall, ...]:
    last = Snapshot(at=1e9, elapsed=500.0, stages=stages, **other)
    return stalls_of([last] if before is None else [before, last])


def test_a_call_that_does_not_end_stalls_its_stage() -> None:
    (stall,) = stalls(stage(running=4, oldest=95.0, last_end=94.0))
    assert stall.waits_for == "call"
    assert stall.usual == pytest.approx(2.6, abs=0.3)
    assert stall.sentence.startswith("answering has ended no call for 94 s, though 99.9% of its calls take less than ")
    assert stall.sentence.endswith(": its oldest call has been running for 95 s")


@pytest.mark.parametrize(
    "other",
    [
        {"running": 4, "oldest": 9.0, "last_end": 9.0},  # not long
        {"running": 4, "oldest": 1.0, "last_end": 94.0},  # it has just begun
        {"last_end": 94.0},  # nothing to do
        {"running": 4, "oldest": 45.0, "last_end": None, "seconds": durations(0, 1.0)},  # the first ones
        {"running": 4, "oldest": 80.0, "last_end": 80.0, "seconds": durations(1_000, 60.0)},  # always slow
    ],
)
def test_what_may_well_go_on_is_no_stall(other: dict[str, Any]) -> None:
    assert stalls(stage(**other)) == ()


def test_the_first_calls_may_take_a_minute() -> None:
    (stall,) = stalls(stage(running=4, oldest=61.0, last_end=None, seconds=durations(0, 1.0)))
    assert stall.sentence == "answering has ended no call for 61 s: its oldest call has been running for 61 s"


def test_results_wait_for_the_next_stage_or_for_the_database() -> None:
    blocked = stage(running=4, blocked_now=4, last_end=60.0)
    sink = SinkSnapshot(name="database")
    both = stalls(blocked, stage("grading", running=4, oldest=60.0, last_end=60.0), sink=sink)
    assert [each.waits_for for each in both] == ["room", "call"]
    assert both[0].sentence.endswith(": 4 results wait for room in grading")
    (found,) = stalls(replace(blocked, blocked_now=1, running=1), sink=sink)
    assert (found.waits_for, found.sentence.partition(": ")[2]) == ("database", "1 result waits for the database")
    (found,) = stalls(blocked)
    assert found.sentence.endswith(": 4 results wait for whoever takes the outcomes")


def test_items_wait_for_a_limit() -> None:
    limit = LimiterSnapshot(name="answering calls", unit="calls", rate=5.0)
    waiting = stage(waiting=7, last_end=60.0, limiters=("answering calls",), limited=100.0)
    before = Snapshot(at=1e9, elapsed=490.0, stages=(replace(waiting, limited=60.0),), limiters=(limit,))
    (found,) = stalls(waiting, before=before, limiters=(limit,))
    assert (found.waits_for, found.sentence.partition(": ")[2]) == (
        "limit",
        "7 items wait for the limit of answering calls",
    )


def test_items_wait_for_the_database() -> None:
    waiting = stage(waiting=7, last_end=60.0, held=100.0)
    before = Snapshot(at=1e9, elapsed=490.0, stages=(replace(waiting, held=60.0),))
    (found,) = stalls(waiting, before=before)
    assert (found.waits_for, found.sentence.partition(": ")[2]) == ("database", "7 items wait for the database")


def test_items_wait_for_their_next_attempt_or_a_slot() -> None:
    (found,) = stalls(stage(waiting=2, delayed=2, last_end=60.0))
    assert (found.waits_for, found.sentence.partition(": ")[2]) == (
        "retry",
        "2 items wait for the time of the next attempt",
    )
    (found,) = stalls(stage(waiting=3, last_end=60.0))
    assert found.waits_for == "slot"


def test_a_database_that_is_away_is_a_stall() -> None:
    (found,) = stalls(stage(), sink=SinkSnapshot(name="database", away=42.0, waiting=120))
    assert (found.stage, found.waits_for) == (None, "database")
    assert found.sentence == "the database has been away for 42 s; 120 outcomes wait for it"
    assert stalls(stage(), sink=SinkSnapshot(name="database", away=2.0)) == ()


def test_a_run_that_is_over_stands_still_for_good() -> None:
    assert stalls(stage(running=1, oldest=95.0, last_end=95.0), state="finished") == ()
    assert stalls_of([]) == ()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.04 s"), (12.3, "12 s"), (119, "119 s"), (600, "10 min"), (9_000, "2.5 h")]
)
def test_durations_are_spoken(seconds: float, text: str) -> None:
    assert spoken(seconds) == text
