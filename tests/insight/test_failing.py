"""Whether all items of a stage fail alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rxpipe.insight.failing import all_failing, failing_text
from rxpipe.insight.snapshot import CountedError, Snapshot, StageSnapshot


def failed(count: int, error: CountedError, **others: Any) -> Snapshot:
    """A run of two stages, of which the second fails."""
    stages = [StageSnapshot(name=name, concurrency=1, most=1, done=40) for name in ("a", "b")]
    failing = replace(stages[1], done=0, failed=count)
    return Snapshot(at=0, elapsed=9, stages=(stages[0], replace(failing, **others)), errors=(error,))


ERROR = CountedError(stage="b", text="KeyError: 'x'", count=20)


def test_it_is_told_with_its_error() -> None:
    """And what ends such a run."""
    found = all_failing(failed(20, ERROR))
    assert found == ERROR
    assert failing_text(ERROR) == (
        "all 20 items so far have failed in b: KeyError: 'x'; --max-failures 20 ends such a run early"
    )


@pytest.mark.parametrize(
    "others", [{"done": 1}, {"dropped": 1}, {"cached": 1}, {"sent_back": 1}], ids=lambda others: next(iter(others))
)
def test_not_if_one_got_through(others: dict[str, int]) -> None:
    """However it did."""
    assert all_failing(failed(20, ERROR, **others)) is None


def test_not_of_fewer_or_elsewhere() -> None:
    """19 may be chance; rows that the database refuses are of no stage."""
    assert all_failing(failed(19, replace(ERROR, count=19))) is None
    assert all_failing(failed(20, replace(ERROR, stage="database"))) is None
