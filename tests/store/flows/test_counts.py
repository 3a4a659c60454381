"""A report and what the store tells of its run say the same."""

from __future__ import annotations

from typing import Any

import pytest

from rxpipe import Drop, Record, Report
from rxpipe.store.queries.details import details
from rxpipe.store.queries.history import RunInfo, run
from store.stores import looking

from .runs import Runs, stage


def told(runs: Runs) -> RunInfo:
    """What the store tells of the run."""
    with looking(runs.url) as connection:
        return run(connection)


def ends(report: Report | RunInfo) -> list[int]:
    """How many items ended how."""
    return [report.written, report.failed, report.dropped, report.expanded, report.collected]


def split(value: int) -> list[int]:
    """Children and grandchildren."""
    return [value] * 3


def choose(value: int) -> int | Drop:
    """Some fail, some are dropped."""
    if value % 5 == 1:
        raise ValueError("no")
    return Drop("no") if value % 5 == 2 else value


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_until(runs: Runs, scheduler: Any) -> None:
    """Items whose children are not needed any more wait for these; the run is finished all the same."""
    stages = (
        stage("a", split, expand=True),
        stage("b", split, expand=True, concurrency=4),
        stage("choose", choose, concurrency=4),
    )
    report = runs.pipeline(*stages, scheduler=scheduler).run(range(1_000), until=40)
    found = told(runs)
    assert ends(found) == ends(report)
    assert (found.state, report.finished, report.missing, report.written) == ("finished", True, 0, 40)
    assert found.ready + found.waiting >= report.cancelled
    with looking(runs.url) as connection:
        parents = details(connection, found).parents
    assert all(parent.unfinished or parent.children for parent in parents)
    assert bool(parents) == bool(found.waiting)
    runs.pipeline(*stages).run(range(1_000), until=40)
    assert told(runs).state == "finished"


def test_a_run_that_goes_on_is_unfinished(runs: Runs) -> None:
    """If it dies after ``until`` was reached, and more was wanted."""
    first = [True]

    def work(value: int) -> int:
        if not first[0] and value > 4:
            runs.cut_when(lambda states: True)
        return value

    runs.pipeline(stage("work", work), concurrency=1).run(range(9), until=3)
    assert told(runs).state == "finished"
    first[0] = False
    runs.die(runs.pipeline(stage("work", work), concurrency=1), range(9))
    assert told(runs).state == "unfinished"


def test_items_that_are_handed_over_to_the_store(runs: Runs) -> None:
    """They are taken again, and counted once."""
    first = [True]

    def many(value: int) -> Any:
        yield from range(3)
        if first[0]:
            runs.cut_when(lambda states: len(states) == 4)
        yield 3

    stages = stage("many", many, expand=True), stage("merge", lambda children: len(children.values), collect=True)
    runs.die(runs.pipeline(*stages), [Record("a", 1)])
    first[0] = False
    report = runs.pipeline(*stages).run([])
    assert runs.written() == {"a": 4}
    assert ends(told(runs)) == [1, 0, 0, 0, 4]
    assert ends(report) == [1, 0, 0, 0, 1]  # three were collected before
    assert (report.taken, report.spawned, report.cancelled) == (1, 1, 0)
