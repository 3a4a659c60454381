"""Workers that others take for dead, and dead ones that still hold locks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from pipeline_helpers import Block, finish, until
from sqlalchemy import Engine, create_engine, event, insert, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool
from structlog.testing import capture_logs

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.operators.core.clock import TIMER_THREAD
from rxpipe.store.items.lease import Lease
from rxpipe.store.items.process_identity import this_process
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.tables import ITEMS, RUNS, WORKERS, db_now

from .bank import Bank, states


def abandoned(url: str) -> None:
    """A run with an item that a worker of an ended process has."""
    Bank(url).pipeline().run([1])
    place = (this_process() or "x 1 1").rsplit(" ", 2)[0]
    row = {"id": "x", "run_id": 1, "host": "h", "pid": 1, "process": f"{place} 4194304 1", "lease": 60.0}
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(insert(WORKERS).values(**row, started_at=db_now(), heartbeat_at=db_now()))
        connection.execute(update(ITEMS).values(state="running", owner="x"))


@pytest.mark.slow
@pytest.mark.parametrize("table", [ITEMS, WORKERS, RUNS], ids=["items", "workers", "runs"])
def test_starting_while_a_dead_peer_holds_locks(postgres_url: str, table: Any) -> None:
    """As one whose machine has gone: the start does not fail, and its items are taken once the server lets go."""
    abandoned(postgres_url)
    bank = Bank(postgres_url)
    started = threading.Event()
    reports: list[Any] = []

    def run() -> None:
        pipeline = bank.pipeline(RunStore(lease=0.4, heartbeat=0.1))
        reports.append(finish(pipeline.start([1, 2])))
        started.set()

    engine = create_engine(postgres_url, poolclass=NullPool)
    with engine.connect() as peer:
        peer.execute(select(table).with_for_update())
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        threading.Event().wait(0.7)  # more than the start waits for a lock at a time
        peer.rollback()
    assert started.wait(20)
    assert reports[0].finished
    assert states(postgres_url) == {"1": "written", "2": "written"}


def test_a_worker_whose_items_others_took_says_so(postgres_url: str) -> None:
    """At its end, with what became of the run."""
    block = Block([1])
    pipeline = Pipeline(Stage("a", block), sink=DatabaseSink(postgres_url), store=RunStore())
    run = pipeline.start([1, 2])
    block.wait_for(1)
    until(lambda: run.written == 1)
    with create_engine(postgres_url, poolclass=NullPool).begin() as connection:
        connection.execute(update(WORKERS).values(ended_at=db_now(), ended_as="lost"))
        connection.execute(update(ITEMS).where(ITEMS.c.item_key == "1").values(state="written", owner="x", fence=9))
    with capture_logs() as logs:
        block.may_return.set()
        assert finish(run).cancelled == 1
    (told,) = [log for log in logs if log["event"].startswith("other workers took items over")]
    assert (told["items"], told["run_is_finished"], told["log_level"]) == (1, True, "warning")


def test_missed_heartbeats_are_told(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of them as a warning, and that they are kept again; not each one."""
    Bank(sqlite_url).pipeline().run([1])
    database = Database(sqlite_url)
    beats = iter(range(1000))
    is_back = threading.Event()

    def beat(self: Lease, connection: Any) -> None:
        number = next(beats)
        if number < 3:
            raise ConnectionError("no route to host")
        if number > 3:
            is_back.set()

    monkeypatch.setattr(Lease, "beat", beat)
    lease = Lease(database, 1, seconds=0.4, heartbeat=0.02)
    with capture_logs() as logs:
        lease.start()
        assert is_back.wait(20)
        lease.stop()
    told = [(log["event"], log["log_level"], log["missed"]) for log in logs if "heartbeat" in log["event"]]
    assert told == [
        ("heartbeat missed", "warning", 1),
        ("heartbeat missed", "debug", 2),
        ("heartbeat missed", "debug", 3),
        ("heartbeats are kept again", "info", 3),
    ]
    database.close()


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """An engine of the user's, with connections of others."""
    engine = create_engine(postgres_url)
    yield engine
    engine.dispose()


def is_cut(database: Database) -> bool:
    """Whether a transaction that gets no answer ends with an error that means that the database is away."""
    with closing(database), pytest.raises(OperationalError) as cut, database.transaction() as connection:
        connection.execute(text("SELECT pg_sleep(20)"))
    return cut.value.connection_invalidated


def test_a_silent_transaction_is_cut(postgres_url: str, engine: Engine) -> None:
    """Connections of others are left alone."""
    with engine.connect() as others:
        for given in (postgres_url, engine):
            assert is_cut(Database(given, silent_after=0.1))
        assert others.execute(text("SELECT 1")).scalar_one() == 1


def test_a_silent_transaction_is_cut_whose_connection_was_late(postgres_url: str, engine: Engine) -> None:
    """Its time is up before there is a connection: this one is cut as soon as it is made."""
    for given in (postgres_url, engine):
        database = Database(given, silent_after=0.02)

        def be_late(*_: Any) -> None:
            """Return when a timer has gone off that was set after the one of the transaction."""
            later = threading.Event()
            TIMER_THREAD.call_later(0.02, later.set)
            assert later.wait(20)

        event.listen(database.engine, "do_connect", be_late)
        assert is_cut(database)
