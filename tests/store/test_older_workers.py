"""A newer rxpipe arrives while workers of an older one are at work."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest
from pipeline_helpers import Block, finish, until
from sqlalchemy import Connection, create_engine, insert, select, text, update
from sqlalchemy.pool import NullPool
from structlog.testing import capture_logs

from rxpipe import DatabaseSink, Pipeline, Report, RunStore, Stage
from rxpipe.errors import StoreError
from rxpipe.store import older_workers
from rxpipe.store.items.process_identity import this_process
from rxpipe.store.older_workers import bring_up_to_date
from rxpipe.store.schema import migrations
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.migrations import newest_version, schema_version, take_turns
from rxpipe.store.schema.tables import VERSION, WORKERS, db_now

from .bank import rows, states
from .older import make_older

OLD = newest_version()


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this is a newer rxpipe, whose stores have a column more."""

    def add(connection: Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE rxpipe_items ADD COLUMN mood TEXT")

    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, add))
    monkeypatch.setattr(older_workers, "_REST", 0.01)


def store_with_worker(url: str, *, silent_for: float = 0.0, process: str | None = None) -> None:
    """A store of the older rxpipe, and a worker in it."""
    with create_engine(url, poolclass=NullPool).begin() as connection:
        migrations.migrate(connection)
        connection.execute(update(VERSION).values(version=OLD))
        row = {"id": "x", "run_id": 1, "host": "far", "pid": 17, "process": process, "lease": 60.0, "started_at": 0.0}
        connection.execute(insert(WORKERS).values(**row, heartbeat_at=db_now() - silent_for))


def arrive(url: str) -> int:
    """Start in it as a worker of today does, and say which version the store has then."""
    database = Database(url)
    try:
        database.first(partial(bring_up_to_date, database))
        return database.first(schema_version)
    finally:
        database.close()


def asked(url: str) -> str | None:
    with create_engine(url, poolclass=NullPool).begin() as connection:
        found: str | None = connection.execute(select(WORKERS.c.asked)).scalar_one()
        return found


@pytest.mark.slow
def test_older_workers_finish_what_they_have(postgres_url: str, request: pytest.FixtureRequest) -> None:
    """No call is made again; and of two newer ones that arrive at once, one changes the store, and both work."""
    block, calls = Block([1, 2]), list[int]()

    def call(value: int) -> int:
        calls.append(value)
        return value

    def pipeline() -> Pipeline:
        stages = Stage("a", call), Stage("b", block, concurrency=2)
        store = RunStore(heartbeat=0.04, lease=30)
        return Pipeline(*stages, sink=DatabaseSink(postgres_url, table="bank"), store=store, name="x")

    with ThreadPoolExecutor(2) as pool, capture_logs() as logs:
        old = pipeline().start(range(1, 80))
        block.wait_for(2)
        request.getfixturevalue("newer")
        new: list[Future[Report]] = [pool.submit(pipeline().run, range(1, 80)) for _ in range(2)]
        until(lambda: old.state == "stopping")
        assert not any(one.done() for one in new)
        assert version(postgres_url) == OLD
        block.may_return.set()
        with pytest.raises(StoreError, match="has finished what it had"):
            finish(old)
        reports = [one.result(20) for one in new]
    assert sum(report.written for report in reports) > 0
    assert any(report.finished for report in reports)
    assert version(postgres_url) == OLD + 1
    assert set(states(postgres_url).values()) == {"written"}
    assert sorted(calls) == list(range(1, 80))
    assert sum(log["event"].startswith("waiting for workers of an older rxpipe") for log in logs) == 1


def version(url: str) -> int:
    with create_engine(url, poolclass=NullPool).begin() as connection:
        return schema_version(connection)


def test_one_that_does_not_end(postgres_url: str, newer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer one gives up, with the store as it was; once the older one has ended, it may be started again."""
    monkeypatch.setattr(older_workers, "_PATIENCE", 0.05)
    store_with_worker(postgres_url)
    with pytest.raises(
        StoreError, match=r"still at work after 0.05 s \(process 17 on far\), so the run store was left"
    ):
        arrive(postgres_url)
    assert (version(postgres_url), asked(postgres_url)) == (OLD, "upgrade")
    with create_engine(postgres_url, poolclass=NullPool).begin() as connection:
        connection.execute(update(WORKERS).values(ended_at=db_now()))
    assert arrive(postgres_url) == OLD + 1


def test_none_starts_meanwhile(postgres_url: str, newer: None) -> None:
    """Or others would come up again and again while one of them ends, as their supervisors start them."""
    store_with_worker(postgres_url)
    engine = create_engine(postgres_url, poolclass=NullPool)
    with ThreadPoolExecutor(2) as pool:
        arriving = pool.submit(arrive, postgres_url)
        until(lambda: arriving.done() or asked(postgres_url) == "upgrade")
        started = threading.Event()

        def start() -> int:
            with engine.begin() as connection:
                take_turns(connection)
                started.set()
                return schema_version(connection)

        starting = pool.submit(start)
        assert not started.wait(0.1)
        with engine.begin() as connection:
            connection.execute(update(WORKERS).values(ended_at=db_now()))
        assert (arriving.result(10), starting.result(10)) == (OLD + 1, OLD + 1)


def test_who_is_not_waited_for(postgres_url: str, newer: None) -> None:
    """A worker whose lease is over, as it was stopped; it finds out before it writes."""
    store_with_worker(postgres_url, silent_for=61.0)
    assert arrive(postgres_url) == OLD + 1
    assert rows(postgres_url, WORKERS)[0].asked is None


def test_a_killed_worker_is_not_waited_for(postgres_url: str, newer: None) -> None:
    """On this machine its process is known to have ended."""
    place = (this_process() or "x 1 1").rsplit(" ", 2)[0]
    store_with_worker(postgres_url, process=f"{place} 4194304 1")
    assert arrive(postgres_url) == OLD + 1


def test_workers_that_cannot_be_asked(postgres_url: str) -> None:
    """Those of the first versions look for nothing. They find out before they write."""
    store_with_worker(postgres_url)
    with create_engine(postgres_url, poolclass=NullPool).begin() as connection:
        make_older(connection, 5)
        assert connection.execute(text("SELECT count(*) FROM rxpipe_workers WHERE ended_at IS NULL")).scalar() == 1
    assert arrive(postgres_url) == OLD
