"""What happened between two snapshots, and which are looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rxpipe.insight.checks import checks_of
from rxpipe.insight.snapshot import SourceSnapshot, StageSnapshot
from rxpipe.insight.window import History, between, settled, whole

from .snapshots import Made, Other, durations, made

STAGE = Made(name="a", slots=4, seconds=1.0)


def test_sums_are_those_of_the_window_and_the_rest_is_as_at_its_end() -> None:
    snapshots = made(STAGE, rate=3, every=10, sink=(5, 0.5), source_waited=0.1)
    window = between(snapshots[2], snapshots[6])
    assert window is not None
    stage, sink = window.counts.stages[0], window.counts.sink
    assert (window.seconds, window.items, window.rate) == (40, 120, 3)
    assert (stage.calls, stage.done, stage.busy, stage.slot_seconds) == (120, 120, 120, 160)
    assert stage.seconds.count == 120
    assert stage.concurrency == 4
    assert sink is not None
    assert (sink.outcomes, sink.commits, sink.busy) == (120, 24, 20)
    assert window.counts.source.waited == pytest.approx(4)
    assert window.end is snapshots[6]


def test_there_is_no_window_of_no_time_or_where_a_count_fell_or_workers_changed() -> None:
    early, late = made(STAGE, rate=3, looks=2)
    assert between(late, late) is None
    assert between(late, early) is None
    assert between(replace(early, taken=1_000), late) is None
    assert between(early, replace(late, workers=2)) is None
    assert between(early, replace(late, stages=())) is None
    assert whole(replace(early, elapsed=0.0)) is None


def test_what_went_on_while_the_run_filled_up_is_left_out() -> None:
    snapshots = made(STAGE, rate=3, every=10)
    filling = [replace(each, written=0, in_flight=100) for each in snapshots[:2]]
    window = settled([*filling, replace(snapshots[2], in_flight=100), *snapshots[3:]])
    assert window is not None
    assert window.seconds == 80


def test_a_run_that_never_has_as_few_on_their_way_as_have_ended_counts_as_full_in_time() -> None:
    snapshots = [replace(each, in_flight=1_000_000) for each in made(STAGE, rate=3, every=10)]
    snapshots[0] = replace(snapshots[0], written=0)
    window = settled(snapshots)
    assert window is not None
    assert window.end.elapsed - window.seconds == 60  # three times as late as the first end was seen


def test_what_went_on_when_the_source_was_over_is_left_out() -> None:
    snapshots = made(STAGE, rate=3, every=10)
    over = [replace(each, source=SourceSnapshot(is_over=True)) for each in snapshots[8:]]
    window = settled([*snapshots[:8], *over])
    assert window is not None
    assert window.end.elapsed == 80


def test_a_window_is_no_longer_than_it_has_to_be() -> None:
    window = settled(made(STAGE, rate=400, every=1, looks=100))
    assert window is not None
    assert window.seconds == 10
    window = settled(made(STAGE, rate=100, every=1, looks=100))
    assert window is not None
    assert window.seconds == 30  # 3,000 items


def test_a_window_does_not_reach_back_to_when_the_run_went_otherwise() -> None:
    slow, fast = made(STAGE, rate=20, every=10), made(STAGE, rate=40, every=10)
    later = [
        replace(each, elapsed=each.elapsed + 120, taken=each.taken + 2_400, written=each.written + 2_400)
        for each in fast
    ]
    stages = [replace(each.stages[0], **_and_before(each.stages[0], slow[-1].stages[0])) for each in later]
    window = settled([*slow, *(replace(each, stages=(stage,)) for each, stage in zip(later, stages, strict=True))])
    assert window is not None
    assert window.end.elapsed == 240
    assert 70 <= window.seconds <= 120
    assert window.rate == pytest.approx(40)


def _and_before(stage: StageSnapshot, before: StageSnapshot) -> dict[str, Any]:
    return {name: getattr(stage, name) + getattr(before, name) for name in ("calls", "done", "busy", "slot_seconds")}


def test_a_window_ends_where_a_worker_came() -> None:
    snapshots = made(STAGE, rate=3, every=10)
    window = settled([*snapshots[:5], *(replace(each, workers=2) for each in snapshots[5:])])
    assert window is not None
    assert window.seconds == 60


def test_a_history_has_the_first_snapshot_and_the_latest_in_constant_memory() -> None:
    history, all_of_them = History(20), made(STAGE, rate=3, looks=1_000, every=1)
    for snapshot in all_of_them:
        assert len(history.add(snapshot)) <= 20
    kept = history.snapshots
    assert kept[0] is all_of_them[0]
    assert kept[-8:] == tuple(all_of_them[-8:])
    assert [each.elapsed for each in kept] == sorted(each.elapsed for each in kept)


def test_a_history_forgets_an_earlier_run() -> None:
    history, snapshots = History(), made(STAGE, rate=3)
    for snapshot in snapshots:
        history.add(snapshot)
    assert history.add(snapshots[0]) == (snapshots[0],)


def test_the_laws_hold_where_everything_is_counted_and_are_shown_where_it_is_not() -> None:
    waiting: tuple[Other, ...] = (("waiting", 6), ("waits", lambda items, elapsed: durations(round(items), 2.0)))
    good = made(replace(STAGE, other=waiting), rate=3)
    window = settled(good)
    assert window is not None
    assert [(each.law, each.holds) for each in checks_of(window, good)] == [("utilization", True), ("little", True)]
    wrong: tuple[Other, ...] = (("busy", lambda items, elapsed: 2 * elapsed), ("waiting", 20))
    bad = made(replace(STAGE, other=wrong), rate=3)
    window = settled(bad)
    assert window is not None
    utilization, little = checks_of(window, bad)
    assert (utilization.holds, little.holds) == (False, False)
    assert (utilization.measured, utilization.expected) == pytest.approx((0.5, 0.75))
    assert (little.measured, little.expected) == pytest.approx((20.0, 0.0))
