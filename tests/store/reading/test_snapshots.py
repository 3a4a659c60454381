"""Snapshots that workers leave, and their sums."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from pipeline_helpers import Block, finish, same, until
from sqlalchemy import insert, select, update

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.insight.snapshot import SinkSnapshot, Snapshot, StageSnapshot
from rxpipe.operators.stages.durations import Durations
from rxpipe.store.items.snapshot_log import SnapshotLog, from_text, to_text
from rxpipe.store.reading.snapshot_history import SnapshotHistory
from rxpipe.store.schema.tables import RUNS, SNAPSHOTS, WORKERS
from store.kept import RUN, Kept
from store.stores import connected


def snapshot(written: int, *, stages: tuple[str, ...] = ("a",), **changes: Any) -> Snapshot:
    """A worker's, with one item in flight."""
    durations = Durations()
    durations.add(0.25, written + 1)
    of_stages = tuple(
        StageSnapshot(name=name, concurrency=4, most=4, calls=written + 1, done=written, running=1, seconds=durations)
        for name in stages
    )
    plain: dict[str, Any] = {
        "at": 1.0,
        "elapsed": 1.0,
        "taken": written + 1,
        "written": written,
        "in_flight": 1,
        **changes,
    }
    return Snapshot(stages=of_stages, sink=SinkSnapshot(name="database", outcomes=written), **plain)


def numbers(kept: Kept) -> list[int]:
    return sorted(row.number for row in kept.all(SNAPSHOTS))


def test_as_json_and_back() -> None:
    """Nothing is lost, whatever is in its texts; and the JSON is of plain characters."""
    one = snapshot(3, pipeline="回\0\U0001f600", elapsed=float("inf"))
    text = to_text(one)
    assert text.isascii()
    assert from_text(text) == one


def test_a_log_is_bounded_and_even(kept: Kept) -> None:
    """It has the first and the newest snapshot, and the others are evenly spaced."""
    log = SnapshotLog(RUN, most=10)
    for number in range(200):
        with kept.database.transaction() as connection:
            log.keep(connection, "w", to_text(snapshot(number)))
        found = numbers(kept)
        assert len(found) <= 10
        assert (found[0], found[-1]) == (0, number)
        assert number < 10 or len(found) >= 5
        assert len({later - earlier for earlier, later in pairwise(found[:-1])}) <= 1


def test_none_comes_behind_the_last_one(kept: Kept) -> None:
    """A heartbeat may have taken one before the run ended, and keep it later; the last one may be kept again."""
    log = SnapshotLog(RUN, most=10)
    for number, is_last in ((1, False), (2, True), (3, False), (2, True)):
        with kept.database.transaction() as connection:
            log.keep(connection, "w", to_text(snapshot(number)), is_last=is_last)
    assert [from_text(row.snapshot).written for row in kept.all(SNAPSHOTS)] == [1, 2, 2]


def test_a_snapshot_whose_commit_was_not_answered(kept: Kept) -> None:
    """The next one takes its place, or follows it."""
    for written in (1, 2):
        with kept.database.transaction() as connection:
            SnapshotLog(RUN).keep(connection, "w", to_text(snapshot(written)))
    (row,) = kept.all(SNAPSHOTS)
    assert (row.number, from_text(row.snapshot).written) == (0, 2)


def test_a_snapshot_that_cannot_be_taken_harms_nothing(kept: Kept) -> None:
    """The worker shows its signs of life all the same."""

    def fail() -> Snapshot:
        raise ZeroDivisionError

    kept.lease.snapshots.take = fail
    assert kept.lease.snapshots.taken() is None
    with kept.database.transaction() as connection:
        kept.lease.snapshots.keep(connection, "w", None)
    assert numbers(kept) == []


def add(kept: Kept, worker: str, at: float, one: Snapshot) -> None:
    """A snapshot that a worker has left."""
    number = int(at)
    with kept.database.transaction() as connection:
        row = {"run_id": RUN, "worker": worker, "number": number, "at": at}
        connection.execute(insert(SNAPSHOTS).values(**row, snapshot=to_text(replace(one, at=at))))


def add_worker(kept: Kept, worker: str, ended_as: str | None, began: float = 0.0, ended: float = 1.0) -> None:
    times = {"lease": 60.0, "started_at": began, "heartbeat_at": began, "ended_at": None if ended_as is None else ended}
    row = {"id": worker, "run_id": RUN, "host": "here", "pid": 1, "ended_as": ended_as, **times}
    with kept.database.transaction() as connection:
        connection.execute(insert(WORKERS).values(row))


def test_sums_over_workers(kept: Kept) -> None:
    """Those that have ended stay in the sum, with what they have done and nothing that they do."""
    with kept.database.transaction() as connection:
        connection.execute(update(RUNS).values(created_at=90.0))
    add_worker(kept, "one", "lost")
    add_worker(kept, "two", None)
    add(kept, "one", 100.0, snapshot(10, written_before=5))
    add(kept, "one", 110.0, snapshot(20, written_before=5))
    add(kept, "two", 120.0, snapshot(1, written_before=25))
    add(kept, "two", 140.0, snapshot(4, written_before=25))
    with kept.database.transaction() as connection:
        history = SnapshotHistory()
        found = history.all(connection, RUN, 100)
        assert history.all(connection, RUN, 100) == found
        latest = history.latest(connection, RUN)
    assert [(one.at, one.elapsed, one.written, one.in_flight) for one in found] == [
        (100.0, 10.0, 10, 1),
        (110.0, 20.0, 20, 1),
        (120.0, 30.0, 21, 2),
        (140.0, 50.0, 24, 1),
    ]
    assert [one.written_before for one in found] == [5] * 4  # what came later is in the sum
    assert [one.stages[0].concurrency for one in found] == [4, 4, 8, 4]
    assert [one.stages[0].seconds.count for one in found] == [11, 21, 23, 26]
    assert latest == found[-1]
    assert latest is not None
    assert latest.state == "running"


@pytest.mark.parametrize("ended_as", ["stopped", "lost"])
def test_a_worker_that_had_ended_before_the_next_began(kept: Kept, ended_as: str) -> None:
    """It has no slots from then on; a worker that worked beside the next one keeps them for some seconds."""
    ended = {"stopped": 101.0, "lost": 103.5}[ended_as]  # another worker notices later that it is lost
    add_worker(kept, "one", ended_as, began=95.0, ended=ended)
    add_worker(kept, "two", "stopped", began=103.0, ended=106.0)
    add_worker(kept, "three", "stopped", began=103.0, ended=106.1)
    add(kept, "one", 100.0, snapshot(10))
    add(kept, "two", 105.0, snapshot(1))
    add(kept, "three", 106.0, snapshot(1))
    with kept.database.transaction() as connection:
        found = SnapshotHistory().all(connection, RUN, 100)
    assert [one.stages[0].concurrency for one in found] == [4, 4, 8]
    assert found[-1].written == 12


def test_a_history_is_thinned_out(kept: Kept) -> None:
    """Evenly, with its beginning and its end; also where stages have changed since."""
    add_worker(kept, "one", None)
    add(kept, "one", 0.0, snapshot(0, stages=("a", "b")))
    for at in range(1, 100):
        add(kept, "one", float(at), snapshot(at))
    with kept.database.transaction() as connection:
        found = SnapshotHistory().all(connection, RUN, 21)
    assert 10 <= len(found) <= 21
    assert found[-1].written == 99


@pytest.mark.slow
def test_a_run_leaves_snapshots(store_url: str) -> None:
    """While it goes on, seen from elsewhere; and the last one says how it has ended."""
    block = Block([2])
    store = RunStore(store_url, heartbeat=0.2, lease=30.0)
    run = Pipeline(Stage("a", same), Stage("b", block), sink=DatabaseSink(store_url, table="rows"), store=store).start(
        [1, 2, 3]
    )
    block.wait_for(1)
    with store.reader() as reader:
        until(lambda: (one := reader.latest(1)) is not None and one.written == 2)
        latest = reader.latest(1)
        assert latest is not None
        assert (latest.state, latest.in_flight, latest.stages[1].running) == ("running", 1, 1)
        (row,) = reader.runs()
        assert (row.state, row.workers, row.counts["written"], row.counts["running"]) == ("running", 1, 2, 1)
        (worker,) = reader.workers(1)
        assert (worker.state, worker.held) == ("alive", 1)
    block.may_return.set()
    finish(run)
    last = store.snapshots(1)[-1]
    assert (last.state, last.written, last.in_flight) == ("finished", 3, 0)
    assert last.stages[1].seconds.count == 3


def test_the_last_snapshot_has_what_was_committed_last(store_url: str) -> None:
    """However short the run, and whatever became of its items."""

    def call(value: int) -> int:
        if value == 2:
            raise ValueError("no 2")
        return value

    before = time.time()
    store = RunStore(store_url)
    for _ in range(2):
        Pipeline(Stage("a", call), sink=DatabaseSink(store_url, table="rows"), store=store).run([1, 2, 3])
    with connected(store_url) as connection:
        rows = connection.execute(select(SNAPSHOTS).order_by(SNAPSHOTS.c.at)).all()
    assert [from_text(row.snapshot).written_before for row in rows] == [0, 2]
    last = store.snapshots(1)[-1]
    assert (last.state, last.written, last.failed, last.written_before) == ("finished", 2, 1, 0)
    assert before - 5 < last.at < time.time() + 5
