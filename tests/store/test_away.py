"""The database takes no rows, nothing at all, or does not answer: what has returned is kept, and ends have limits."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import Block, finish, until
from proxy import Proxy, proxied
from servers import execute
from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from rxpipe import DatabaseSink, JsonLinesSink, Pipeline, Retry, RunStore, Stage
from rxpipe.database import abort_deadline
from rxpipe.database.column_paths import columns_object, columns_row, columns_table
from rxpipe.database.outage import AWAY
from rxpipe.database.writer import Writer
from rxpipe.errors import SinkError
from rxpipe.pipeline.run.run import Run
from rxpipe.store.commits.backlog import Backlog
from rxpipe.store.commits.commits import Commits
from rxpipe.store.commits.outage_limit import OutageLimit
from rxpipe.store.schema.tables import CHECKPOINTS, ITEMS, WORKERS

from .bank import STAGES, Bank, nothing, rows, states

QUICK = Retry(max_attempts=3, initial=0.001, jitter=0)
SCHEDULERS = ["threads", "asyncio"]


def workers(url: str) -> set[tuple[str, bool]]:
    """How each worker ended, and whether it has."""
    return {(row.ended_as, row.ended_at is not None) for row in rows(url, WORKERS)}


def full() -> OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return OperationalError("INSERT", {}, error)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_table_of_rows_is_dropped(store_url: str, scheduler: Any) -> None:
    """What the stages returned is kept, the items wait with it, and the next run writes their rows without a call."""
    dropped = threading.Event()

    def drop(stage: str, item_id: Any) -> None:
        if stage == "answering" and item_id == 5 and not dropped.is_set():
            execute(store_url, "DROP TABLE results")
            dropped.set()

    bank = Bank(store_url, drop)
    with pytest.raises(SinkError, match="takes no rows"):
        bank.pipeline(scheduler=scheduler).run(range(60))
    found = rows(store_url, ITEMS)
    assert {row.state for row in found} <= {"written", "ready"}
    assert all(row.crashes == 0 for row in found)
    assert len(rows(store_url, CHECKPOINTS)) == sum(bank.calls.values())
    assert workers(store_url) == {("stopped", True)}
    report = bank.pipeline(scheduler=scheduler).run(range(60))
    assert report.finished
    assert set(bank.calls.values()) == {1}
    assert len(bank.calls) == 60 * len(STAGES)


@pytest.mark.parametrize("place", ["table", "file"])
def test_a_column_of_a_field_that_no_value_has(sqlite_url: str, tmp_path: Path, place: str) -> None:
    """What the stages returned is kept, and the mended columns have their rows without another call."""

    def sink(columns: dict[str, str]) -> Any:
        if place == "file":
            return JsonLinesSink(tmp_path / "bank.jsonl", row=columns_object(columns))
        return DatabaseSink(sqlite_url, table=columns_table("bank", columns), row=columns_row(columns))

    columns = {"id": "id", "score": "score", "created_at": "created_at"}
    bank = Bank(sqlite_url)
    store = None if place == "table" else RunStore(database=sqlite_url)
    with pytest.raises(SinkError, match=r"columns: a dict has no field 'created_at'.* no call is made twice"):
        bank.pipeline(store, sink=sink(columns)).run(range(20))
    assert set(states(sqlite_url).values()) == {"ready"}
    assert len(rows(sqlite_url, CHECKPOINTS)) == sum(bank.calls.values()) >= 3
    assert bank.pipeline(store, sink=sink({"id": "id", "score": "score"})).run(range(20)).written == 20
    assert set(bank.calls.values()) == {1}


@pytest.mark.slow
def test_started_again_and_again_while_no_row_can_be_written(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a supervisor: no call is made twice, however often."""
    write = Writer.write_in

    def refuse(self: Writer, connection: Connection, batch: Any) -> Any:
        raise SinkError("the database takes no rows: permission denied")

    bank = Bank(store_url)
    monkeypatch.setattr(Writer, "write_in", refuse)
    for _ in range(4):
        with pytest.raises(SinkError, match="permission denied"):
            bank.pipeline().run(range(200))
    monkeypatch.setattr(Writer, "write_in", write)
    assert bank.pipeline().run(range(200)).finished
    assert set(bank.calls.values()) == {1}


def test_a_full_disk(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has returned is kept in hand until there is room, and no call begins meanwhile."""
    locked, attempts = Commits._locked, iter(range(1000))  # pyright: ignore[reportPrivateUsage]

    def fill(self: Commits, *given: Any) -> Any:
        if next(attempts) < 5:
            raise full()
        return locked(self, *given)

    monkeypatch.setattr(Commits, "_locked", fill)
    bank = Bank(sqlite_url)
    sink = DatabaseSink(sqlite_url, retry=Retry(max_attempts=10, initial=0.001, jitter=0))
    with capture_logs() as logs:
        assert bank.pipeline(sink=sink).run(range(20)).written == 20
    assert set(bank.calls.values()) == {1}
    events = [log["event"] for log in logs]
    assert events == ["waiting for the database, no calls begin", "the database is back"]
    assert logs[0]["results_in_hand"] > 0


def test_what_is_lost_is_said(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time is up: how many results were in hand; and the items are given back all the same."""
    add, are_three = Backlog.add, threading.Event()

    def count(self: Backlog, *, is_result: bool) -> None:
        add(self, is_result=is_result)
        if self.results == len(STAGES):
            are_three.set()

    def fail(self: Commits, *given: Any) -> Any:
        assert are_three.wait(10)  # as no call begins once a commit has failed
        raise full()

    monkeypatch.setattr(Backlog, "add", count)
    monkeypatch.setattr(Commits, "_locked", fail)
    bank = Bank(sqlite_url)
    with pytest.raises(SinkError, match=r"disk is full.*; 3 results in hand are lost"):
        bank.pipeline(sink=DatabaseSink(sqlite_url, retry=QUICK)).run([1])
    assert set(states(sqlite_url).values()) == {"ready"}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_items_are_given_back_before_the_run_has_failed(
    store_url: str, monkeypatch: pytest.MonkeyPatch, scheduler: Any
) -> None:
    """By nothing that the program's end would cut off: no mark is left, and nothing runs any more."""

    def fail(self: Commits, *given: Any) -> Any:
        raise SinkError("broken")

    monkeypatch.setattr(Commits, "_locked", fail)
    found: list[Any] = []

    def run() -> None:
        with pytest.raises(SinkError, match="broken"):
            Bank(store_url).pipeline(scheduler=scheduler).run(range(10))
        found.extend([threading.enumerate(), set(states(store_url).values()), workers(store_url)])

    thread = threading.Thread(target=run, daemon=True)  # as everything that it starts is a daemon then
    thread.start()
    thread.join(20)
    threads, items, ended = found
    assert (items, ended) == ({"ready"}, {("stopped", True)})
    assert "rxpipe-release" not in {thread.name for thread in threads}


def test_the_programs_end_waits_for_a_release(sqlite_url: str) -> None:
    """Where nobody else does: also if it is a daemon thread that disposes of the run."""
    block = Block()
    run = Pipeline(Stage("a", block), sink=DatabaseSink(sqlite_url), store=RunStore()).start([1, 2])
    block.wait_for(1)
    other = sqlite3.connect(str(make_url(sqlite_url).database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # keeps the release from being over at once
    disposing = threading.Thread(target=run.subscription.dispose, daemon=True)
    disposing.start()
    disposing.join()
    (release,) = [thread for thread in threading.enumerate() if thread.name == "rxpipe-release"]
    assert not release.daemon
    other.close()
    block.may_return.set()
    release.join(20)
    assert set(states(sqlite_url).values()) == {"ready"}


def test_a_minute_or_ten() -> None:
    """How long it is tried depends on whether something would be lost, unless the sink says something else."""
    results = 0
    policy = OutageLimit(AWAY, lambda: results)
    assert policy.applies(OSError(), AWAY.max_attempts - 1)
    assert not policy.applies(OSError(), AWAY.max_attempts)
    results = 1
    assert policy.applies(OSError(), AWAY.max_attempts + 100)
    assert not policy.applies(OSError(), AWAY.max_attempts + 120)
    assert not OutageLimit(QUICK, lambda: results).applies(OSError(), QUICK.max_attempts)


@pytest.fixture
def through(postgres_database: URL, postgres_url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy before the server, and the URL of an empty schema through it."""
    with proxied(make_url(postgres_url)) as (proxy, url):
        yield proxy, url.render_as_string(hide_password=False)


@contextmanager
def under_way(url: str) -> Generator[tuple[Run, Bank, threading.Event]]:
    """A run of many items that has written some, whose calls wait at last."""
    may_return = threading.Event()
    waiting = threading.Semaphore(0)

    def hold(stage: str, item_id: Any) -> None:
        if stage == "answering" and item_id > 20:
            waiting.release()
            may_return.wait(30)

    bank = Bank(url, hold)
    run = bank.pipeline(RunStore(lease=2, heartbeat=0.2)).start(range(1000))
    for _ in range(3):
        assert waiting.acquire(timeout=20)
    until(lambda: run.written >= 20)
    try:
        yield run, bank, may_return
    finally:
        may_return.set()


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["silent", "refused"])
def test_an_end_without_the_database(
    through: tuple[Proxy, str], postgres_url: str, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Has its time, whether the server is silent or refuses connections; and says what is lost."""
    monkeypatch.setattr(abort_deadline, "SECONDS", 0.3)
    proxy, url = through
    with under_way(url) as (run, _, may_return):
        proxy.fall_silent() if fault == "silent" else proxy.close()
        may_return.set()
        run.stop()
        threading.Event().wait(0.3)  # the grace
        run.abort()
        with pytest.raises(SinkError, match="results in hand are lost"):
            finish(run)
    until(lambda: not any(thread.name == "rxpipe-release" for thread in threading.enumerate()))
    if fault == "silent":
        proxy.answer()


@pytest.mark.slow
def test_a_silent_server_that_answers_again(through: tuple[Proxy, str], postgres_url: str) -> None:
    """No call begins meanwhile, and none is made again."""
    proxy, url = through
    with under_way(url) as (run, bank, may_return):
        proxy.fall_silent()
        may_return.set()
        threading.Event().wait(2.5)  # more than the lease
        before = sum(bank.calls.values())
        threading.Event().wait(0.5)
        assert sum(bank.calls.values()) == before
        proxy.answer()
        bank.act = nothing
        run.stop()
        report = finish(run)
    assert report.failed == 0
    assert max(bank.calls.values()) <= 2  # items of a worker that was silent for its lease may be taken by others
