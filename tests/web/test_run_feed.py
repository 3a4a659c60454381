"""What is told of a live run: all of its numbers are of one moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rxpipe import Usage
from rxpipe.insight.reading import RunRow
from rxpipe.web.json_values import Plain
from rxpipe.web.run_feed import RunFeed
from rxpipe.web.texts import Redactor

from .fake_figures import LIVE, snapshot_at
from .fake_runs import FakeRuns

PLAIN = Plain(Redactor())


def row_of_live() -> RunRow:
    row = FakeRuns(clock=lambda: 640.0).run(LIVE)
    assert row is not None
    return row


def test_counts_and_cost_are_those_of_the_newest_numbers() -> None:
    """The store has counted on since; once the run is over, it knows better."""
    now = snapshot_at(100.0)
    row = replace(row_of_live(), counts={"written": 10**6, "failed": 10**5, "ready": 3}, usage=Usage(cost=10.0**6))
    told = RunFeed(PLAIN, [snapshot_at(99.0), now]).message(row)["run"]
    assert told["counts"]["written"] == now.written_before + now.written
    assert told["counts"]["failed"] == now.failed_before + now.failed
    assert (told["counts"]["running"], told["counts"]["ready"]) == (now.in_flight, 3)
    assert told["usage"]["cost"] == pytest.approx(now.usage_before.cost + now.usage.cost)
    finished = replace(row, state="finished")
    assert RunFeed(PLAIN, [now]).message(finished)["run"]["counts"] == row.counts


def test_what_was_dropped_before_is_not_in_the_numbers_of_a_run_that_goes_on() -> None:
    """The store's count is: it stays."""
    row = replace(row_of_live(), counts={"dropped": 70})
    first, later = snapshot_at(100.0), replace(snapshot_at(100.0), written_before=5)
    assert RunFeed(PLAIN, [first]).message(row)["run"]["counts"]["dropped"] == first.dropped
    assert RunFeed(PLAIN, [later]).message(row)["run"]["counts"]["dropped"] == 70


def test_shares_of_a_moment_are_not_told() -> None:
    """A run that has just begun is not idle: nobody knows yet; one that is over lasted as long as it did."""
    row = row_of_live()
    just = replace(snapshot_at(100.0), elapsed=0.2)
    assert RunFeed(PLAIN, [just]).message(row)["window"] is None
    assert RunFeed(PLAIN, [just]).message(replace(row, state="finished"))["window"] is not None
    assert RunFeed(PLAIN, [just, snapshot_at(101.0)]).message(row)["window"] is not None
