"""For how long a database is away, as those are told who watch a run."""

from __future__ import annotations

import pytest

from rxpipe.pipeline.commit_counts import CommitCounts


class Given:
    """Counts, and the time."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.counts = CommitCounts(now=lambda: self.seconds)

    def commit(self, seconds: float, error: Exception | None = None) -> float | None:
        """For how long it seems to be away just before the end of a commit that takes so long."""
        with self.counts.committing(1):
            self.seconds += seconds
            away = self.counts.away
            if error is not None:
                raise error
            return away


def test_a_commit_that_takes_its_time() -> None:
    """It is no outage, unless it takes very long: as where another session has locked the table."""
    given = Given()
    assert given.commit(9) is None
    assert given.commit(25) == 25
    assert given.counts.away is None
    assert given.counts.commits == 2


def test_an_outage_lasts_from_the_first_commit_that_failed() -> None:
    """And until one succeeds."""
    given = Given()
    with pytest.raises(TimeoutError):
        given.commit(30, TimeoutError())
    assert given.counts.away is None  # nobody knows yet whether it is worth another try
    given.counts.failed(30)
    assert given.counts.away == 30
    with pytest.raises(TimeoutError):
        given.commit(30, TimeoutError())
    given.counts.failed(60)
    assert given.counts.away == 60
    assert given.commit(1) == 61
    assert given.counts.away is None
