"""Calls that were made are kept in groups, with the checkpoints that came of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from pipeline_helpers import Block, until
from sqlalchemy import create_engine, func, select
from sqlalchemy.exc import DataError
from sqlalchemy.pool import NullPool

from rxpipe import DatabaseSink, Drop, Pipeline, Retry, RunStore, Stage, Usage, record_usage
from rxpipe.operators.stages.times import CallTime
from rxpipe.store.commits.call_groups import KeptCall, recorded_calls
from rxpipe.store.commits.records import MadeCall, Record, failed_call
from rxpipe.store.schema.tables import CALLS, CHECKPOINTS, ITEMS

from .kept import RUN, Away, Kept, checkpoint, ended

NOTHING = Usage()


def made(number: int, stage: int = 0, *, usage: Usage | None = None, **changes: Any) -> MadeCall:
    """A call that took a quarter of a second."""
    time = CallTime(attempt=1, began=10.0 + number, waited=0.5, seconds=0.25, in_flight=3, ended="ok")
    return MadeCall(stage, time._replace(**changes), usage)


def calls(kept: Kept) -> list[KeptCall]:
    """What is kept of calls."""
    with kept.database.transaction() as connection:
        return list(recorded_calls(connection, RUN))


def batch(kept: Kept) -> list[Record]:
    """A checkpoint and an end, with three calls."""
    (claim,) = kept.claim(1)
    used = Usage(prompt_tokens=7, completion_tokens=2, cost=0.25)
    first, last = checkpoint(claim), ended(claim)
    first.calls = [made(0, attempt=1, ended="retried"), made(1, attempt=2, usage=used)]
    attempt, began, waited, seconds, in_flight, end = made(2).time
    last.calls = (1, attempt, began, waited, seconds, in_flight, end)
    return [first, last]


def test_calls_are_kept_as_they_were(kept: Kept) -> None:
    """In one row, with the time of the checkpoint that was committed with them."""
    kept.commit(batch(kept))
    used = Usage(prompt_tokens=7, completion_tokens=2, cost=0.25)
    assert calls(kept) == [
        KeptCall("1", 0, 1, 10.0, 0.5, 0.25, 3, "retried", NOTHING),
        KeptCall("1", 0, 2, 11.0, 0.5, 0.25, 3, "ok", used),
        KeptCall("1", 1, 1, 12.0, 0.5, 0.25, 3, "ok", NOTHING),
    ]
    (row,) = kept.all(CALLS)
    assert (row.number, row.count, row.from_at, row.to_at) == (0, 3, 10.0, 12.25)
    assert {row.at} == {one.at for one in kept.all(CHECKPOINTS)} == {one.ended_at for one in kept.all(ITEMS)}


def test_calls_are_kept_with_what_came_of_them_or_not_at_all(kept: Kept) -> None:
    """A commit that fails leaves neither, and both can be committed later."""
    records = batch(kept)

    def cut() -> None:
        raise Away

    kept.rows.then = cut
    with pytest.raises(Away):
        kept.commit(records)
    assert calls(kept) == []
    kept.rows.then = lambda: None
    kept.commit(records)
    assert len(calls(kept)) == 3


def test_calls_of_a_commit_whose_answer_was_lost_are_kept_once(kept: Kept) -> None:
    """However often it is repeated, also if it moves nothing."""
    (claim,) = kept.claim(1)
    failure = failed_call(claim, stage="generation", attempt=1, error=ValueError("no"), value=1, final=False)
    failure.calls = [made(0, ended="retried")]
    for records in ([failure], batch_of(claim)):
        for _ in range(2):
            kept.commit(records)
            claim.stage = 0
    assert [call.ended for call in calls(kept)] == ["retried", "ok"]


def batch_of(claim: Any) -> list[Record]:
    """A checkpoint with its call."""
    one = checkpoint(claim)
    one.calls = [made(1)]
    return [one]


def test_a_batch_in_parts_keeps_its_calls_once(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the commit of all of it is refused, each half has a commit of its own."""
    claims = kept.claim(1, 2, 3)
    records = [checkpoint(claim) for claim in claims]
    for number, record in enumerate(records):
        record.calls = [made(number)]
    move: Any = kept.commits._move  # pyright: ignore[reportPrivateUsage] - nothing else refuses all of a batch

    def refuse(connection: Any, moves: Any, group: Any) -> Any:
        found = move(connection, moves, group)
        if len(moves) > 1:
            raise DataError("x", {}, ValueError("no"))
        return found

    monkeypatch.setattr(kept.commits, "_move", refuse)
    kept.commit(records)
    assert sorted(call.item for call in calls(kept)) == ["1", "2", "3"]


def kept_of_run(url: str) -> list[KeptCall]:
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return list(recorded_calls(connection, 1))


def test_calls_of_a_run(store_url: str) -> None:
    """Each, with how it ended and what it used; their times are the database's."""

    def first(number: int) -> int:
        record_usage(Usage(prompt_tokens=number))
        if number == 2:
            raise ValueError("no 2")
        return number

    def second(number: int) -> int:
        if number == 3:
            raise Drop("no 3")
        return number

    before = time.time()
    Pipeline(
        Stage("first", first, retry=Retry(max_attempts=2, initial=0.001, max_delay=0.001)),
        Stage("second", second),
        sink=DatabaseSink(store_url, table="rows"),
        store=RunStore(),
    ).run([1, 2, 3])
    found = kept_of_run(store_url)
    told = sorted((one.item, one.stage, one.attempt, one.ended, one.usage.prompt_tokens) for one in found)
    assert told == [
        ("1", 0, 1, "ok", 1),
        ("1", 1, 1, "ok", 0),
        ("2", 0, 1, "retried", 2),
        ("2", 0, 2, "failed", 2),
        ("3", 0, 1, "ok", 3),
        ("3", 1, 1, "dropped", 0),
    ]
    assert all(before - 5 <= one.began <= time.time() + 5 for one in found)
    assert all(one.in_flight >= 1 and one.seconds >= 0 and one.waited >= 0 for one in found)


PROGRAM = """
import sys, time
from rxpipe import DatabaseSink, Pipeline, RunStore, Stage

def call(value):
    time.sleep(0.002)
    return value

url = sys.stdin.readline().strip()
stages = [Stage(name, call, concurrency=4) for name in ("a", "b", "c")]
Pipeline(*stages, sink=DatabaseSink(url, table="rows"), store=RunStore(), name="killed").run(range(100_000))
"""


@pytest.mark.slow
def test_a_killed_worker_leaves_a_call_for_each_checkpoint(store_url: str) -> None:
    """Each stage that has returned for an item, as the store knows, has its call there, and no other call has."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(store_url + "\n")
        process.stdin.flush()
        engine = create_engine(store_url, poolclass=NullPool)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            time.sleep(0.2)
            try:
                with engine.connect() as connection:
                    if connection.execute(select(func.count()).select_from(CHECKPOINTS)).scalar_one() > 300:
                        break
            except Exception:  # noqa: BLE001 - there are no tables yet
                continue
        os.kill(process.pid, signal.SIGKILL)
    with engine.connect() as connection:
        checkpoints = {(row.item_key, row.stage) for row in connection.execute(select(CHECKPOINTS))}
    assert len(checkpoints) > 300
    assert {(call.item, call.stage) for call in kept_of_run(store_url)} == checkpoints


def test_a_call_that_gives_a_list_is_kept_with_its_children(store_url: str) -> None:
    """Though these wait for room: what it cost is known as soon as they are."""

    def write(number: int) -> list[int]:
        record_usage(Usage(prompt_tokens=7, cost=0.25))
        return [number] * 40

    block = Block()
    stages = Stage("write", write, expand=True), Stage("answer", block, concurrency=1, queue_size=1)
    run = Pipeline(*stages, sink=DatabaseSink(store_url), store=RunStore()).start([1])
    block.wait_for(1)
    engine = create_engine(store_url, poolclass=NullPool)

    def of_stage() -> list[KeptCall]:
        with engine.connect() as connection:
            return [call for call in recorded_calls(connection, 1) if call.stage == 0]

    try:
        until(lambda: len(of_stage()) == 1)
        (call,) = of_stage()
        assert (call.item, call.ended, call.usage) == ("1", "ok", Usage(prompt_tokens=7, cost=0.25))
    finally:
        block.may_return.set()
        report = run.finished.result(60)
    assert (report.written, report.expanded, report.usage.cost) == (40, 1, 0.25)
    assert of_stage() == [call]
