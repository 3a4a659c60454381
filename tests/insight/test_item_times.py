"""Offsets and pauses of an item's calls, and where its work began anew."""

from __future__ import annotations

import pytest

from rxpipe.insight.item_times import lengths, timed
from rxpipe.insight.reading import CallRow


def call(stage: str, began: float | None, ended: str = "ok", *, seconds: float = 0.5, worker: str = "a") -> CallRow:
    return CallRow(
        stage=stage,
        attempt=1,
        began_at=began,
        waited=0.0,
        seconds=seconds,
        in_flight=1,
        ended=ended,
        worker=worker,
    )


def test_offsets_and_pauses() -> None:
    """Offsets count from the first call; a pause is between calls of one stage."""
    found = timed([call("write", 100.0), call("check", 101.0, "retried"), call("check", 103.5)])
    assert [(one.offset, one.pause, one.anew) for one in found] == [(0, None, None), (1, None, None), (3.5, 2, None)]
    assert lengths(found) == [(None, 4.0)]


def test_calls_without_a_time() -> None:
    """They have no offset, and nothing is counted from them."""
    found = timed([call("write", None), call("check", 101.0)])
    assert [one.offset for one in found] == [None, 0]
    assert lengths(found[:1]) == []


@pytest.mark.parametrize(
    ("before", "after", "anew"),
    [
        (call("check", 1.0, "failed"), call("check", 9.0, worker="b"), "requeued"),
        (call("check", 1.0, "failed"), call("check", 9.0), "requeued"),  # of a worker that stays
        (call("check", 1.0, "dropped"), call("write", 9.0, worker="b"), "requeued"),
        (call("check", 1.0, "retried"), call("check", 9.0, worker="b"), "another process"),
        (call("write", 1.0), call("check", 9.0, worker="b"), "another process"),
        (call("check", 1.0, "failed"), call("grade", 9.0), None),  # a stage that recovers
        (call("check", 1.0, "sent_back"), call("check", 9.0), None),
    ],
)
def test_work_that_begins_anew(before: CallRow, after: CallRow, anew: str | None) -> None:
    """Offsets begin again with it, and the time between is no pause."""
    last = timed([before, after])[1]
    assert (last.anew, last.offset) == (anew, 8 if anew is None else 0)
    assert lengths(timed([before, after])) == ([(None, 8.5)] if anew is None else [(None, 0.5), (anew, 0.5)])
