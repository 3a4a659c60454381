"""A stage's live counts."""

from __future__ import annotations

from rxpipe.operators.stages.settings import StageStats


def test_slots_that_do_not_change_count_for_the_whole_time() -> None:
    """However long that is."""
    assert StageStats(concurrency=3).slot_seconds(10, 14) == 12


def test_slots_count_for_as_long_as_there_are_so_many() -> None:
    """Two seconds of four, one of eight, three of six."""
    stats = StageStats()
    for slots, now in ((4, 10), (8, 12), (6, 13)):
        stats.resize(slots, now)
    assert stats.concurrency == 6
    assert stats.slot_seconds(10, 16) == 2 * 4 + 1 * 8 + 3 * 6
