"""Stores of earlier versions while runs are unfinished, and a newer one under a worker that runs."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, inspect, make_url, text
from sqlalchemy.pool import NullPool

from rxpipe import StopRun
from rxpipe.errors import StoreError
from rxpipe.store.queries.existing_store import change, opened
from rxpipe.store.schema import migrations
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.migrations import migrate, newest_version, schema_version

from .bank import STAGES, Bank
from .older import make_older

ITEMS = 12


@contextmanager
def transaction(url: str) -> Generator[Connection]:
    """A transaction of somebody else's."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        yield connection


def contents(connection: Connection) -> dict[str, list[str]]:
    """All rows of all tables."""
    names = inspect(connection).get_table_names()
    return {name: sorted(map(repr, connection.execute(text(f"SELECT * FROM {name}")))) for name in names}


def stop_at_7(stage: str, item_id: Any) -> None:
    """The run is stopped in the middle of the second stage."""
    if (stage, item_id) == ("answering", 7):
        raise StopRun("enough")


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this is a newer rxpipe, whose stores have a column more."""

    def add(connection: Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE rxpipe_items ADD COLUMN mood TEXT")

    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, add))


@pytest.mark.slow
@pytest.mark.parametrize("version", range(1, newest_version()))
def test_an_unfinished_run_of_an_older_store(store_url: str, version: int) -> None:
    """Workers that start at once finish it: one of them migrates, and no call that was kept is made again."""
    before = Bank(store_url, stop_at_7)
    with pytest.raises(StopRun):
        before.pipeline().run(range(ITEMS))
    with transaction(store_url) as connection:
        kept = connection.execute(text("SELECT item_key, stage FROM rxpipe_checkpoints")).all()
        make_older(connection, version)
    assert kept
    after = Bank(store_url)
    workers = 3 if store_url.startswith("postgresql") else 1
    together = threading.Barrier(workers)

    def work() -> int:
        together.wait(10)
        return after.pipeline().run(range(ITEMS)).written

    with ThreadPoolExecutor(workers) as pool:
        written = sum(one.result(30) for one in [pool.submit(work) for _ in range(workers)])
    with transaction(store_url) as connection:
        assert schema_version(connection) == newest_version()
        assert connection.execute(text("SELECT count(*) FROM results WHERE status = 'written'")).scalar() == ITEMS
    assert written <= ITEMS
    made = {(str(key), STAGES.index(stage)): count for (stage, key), count in after.calls.items()}
    assert {*made} == {(str(key), stage) for key in range(ITEMS) for stage in range(3)} - {tuple(one) for one in kept}
    assert set(made.values()) == {1}


def test_a_newer_store_under_a_worker(store_url: str, request: pytest.FixtureRequest) -> None:
    """The worker ends with one sentence, and has written nothing since."""
    found: list[dict[str, list[str]]] = []

    def upgrade(stage: str, item_id: Any) -> None:
        if (stage, item_id) == ("grading", 7):
            request.getfixturevalue("newer")
            with transaction(store_url) as connection:
                migrate(connection)
                found.append(contents(connection))

    bank = Bank(store_url, upgrade)
    known = newest_version()
    with pytest.raises(StoreError, match=f"from schema {known} to {known + 1} while this one was at work") as refused:
        bank.pipeline().run(range(1000))
    assert "\n" not in str(refused.value)
    with transaction(store_url) as connection:
        (then,), now = found, contents(connection)
    assert {name: then[name] for name in then if then[name] != now[name]} == {}


@pytest.mark.parametrize("level", ["read committed", "repeatable read"])
def test_a_migration_and_the_transactions_of_others(postgres_url: str, newer: None, level: str) -> None:
    """It waits for those that have begun; those that begin meanwhile wait for it, and are refused."""
    place = make_url(postgres_url)
    isolation = f"-cdefault_transaction_isolation={level}".replace(" ", "\\ ")
    url = place.update_query_dict({"options": f"{place.query['options']} {isolation}"})
    with transaction(postgres_url) as connection:
        migrate(connection)
        connection.execute(text("ALTER TABLE rxpipe_items DROP COLUMN IF EXISTS mood"))
        connection.execute(text("UPDATE rxpipe_schema SET version = version - 1"))
    database = Database(url)
    database.expected = newest_version() - 1
    migrated, has_migrated, go_on = threading.Event(), threading.Event(), threading.Event()

    def upgrade() -> None:
        with transaction(postgres_url) as connection:
            migrate(connection)
            migrated.set()
            assert go_on.wait(10)
        has_migrated.set()

    def write() -> None:
        with database.transaction() as connection:
            connection.execute(text("UPDATE rxpipe_runs SET name = 'x'"))

    with ThreadPoolExecutor(2) as pool:
        with database.transaction() as connection:
            upgrading: Future[None] = pool.submit(upgrade)
            assert not migrated.wait(0.1)
            connection.execute(text("INSERT INTO rxpipe_workers VALUES ('w', 1, 'here', 1, NULL, 9, 0, 0)"))
        assert migrated.wait(10)
        writing = pool.submit(write)
        assert not writing.done()
        go_on.set()
        upgrading.result(10)
        with pytest.raises(StoreError, match="has changed the run store"):
            writing.result(10)
    database.close()


def test_commands_of_an_older_version(store_url: str, request: pytest.FixtureRequest) -> None:
    """A page that has a store open changes nothing in it once that is newer."""
    Bank(store_url).pipeline().run(range(1))
    with opened(store_url) as engine:
        with change(engine):
            pass
        with transaction(store_url) as connection:
            connection.execute(text("UPDATE rxpipe_schema SET version = version + 1"))
        with pytest.raises(StoreError, match="made by a newer rxpipe"), change(engine):
            pass
