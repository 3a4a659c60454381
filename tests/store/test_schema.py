"""Stores of other versions."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, create_engine, inspect, make_url, select, update
from sqlalchemy.pool import NullPool

from rxpipe.errors import StoreError
from rxpipe.store.schema import migrations
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.migrations import migrate, newest_version, schema_version
from rxpipe.store.schema.tables import RUNS, VERSION

from .bank import Bank
from .older import make_older


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    database = Database(store_url)
    yield database
    database.close()


@contextmanager
def sole(url: str) -> Generator[Connection]:
    """A transaction."""
    with create_engine(url, poolclass=NullPool).begin() as connection:
        yield connection


def described(connection: Connection) -> dict[str, object]:
    """All tables, with their columns and indexes."""
    look = inspect(connection)
    return {
        name: (
            [(column["name"], str(column["type"]), column["nullable"]) for column in look.get_columns(name)],
            look.get_pk_constraint(name)["constrained_columns"],
            sorted((str(index["name"]), tuple(index["column_names"])) for index in look.get_indexes(name)),
        )
        for name in look.get_table_names()
    }


def test_a_new_store(database: Database) -> None:
    """It has today's version, and making it twice changes nothing."""
    for _ in range(2):
        with database.transaction() as connection:
            migrate(connection)
            assert schema_version(connection) == newest_version()


def test_the_first_version(database: Database) -> None:
    """Has the tables that it always had, and goes on, though what is in them is older than what calls use."""
    with database.transaction() as connection:
        migrate(connection)
        make_older(connection, 1)
        names = {"schema", "runs", "workers", "items", "checkpoints", "failures"}
        assert set(inspect(connection).get_table_names()) == {f"rxpipe_{name}" for name in names}
        row = "INSERT INTO rxpipe_runs (id, name, generation, stages, created_at) VALUES (7, 'x', 1, '[]', 0)"
        connection.exec_driver_sql(row)
    with database.transaction() as connection:
        migrate(connection)
        assert schema_version(connection) == newest_version()
        assert [row.id for row in connection.execute(select(RUNS))] == [7]


@pytest.mark.parametrize("version", range(1, newest_version()))
def test_an_older_store_becomes_what_a_new_one_is(store_url: str, version: int) -> None:
    """The same tables, columns and indexes, whichever way it came about; and a run goes on in it."""
    bank = Bank(store_url)
    bank.pipeline().run(range(2))
    with sole(store_url) as connection:
        new = described(connection)
        make_older(connection, version)
    report = bank.pipeline().run(range(3))
    assert (report.written_before, report.written) == (2, 1)
    with sole(store_url) as connection:
        assert described(connection) == new


def test_an_older_store_is_brought_up_to_date(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """By each migration that it lacks, once."""
    with database.transaction() as connection:
        migrate(connection)
    done: list[int] = []

    def third(connection: Connection) -> None:
        done.append(3)
        connection.exec_driver_sql("CREATE TABLE added (id INTEGER)")

    def fourth(connection: Connection) -> None:
        done.append(4)

    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, third, fourth))
    for _ in range(2):
        with database.transaction() as connection:
            migrate(connection)
    assert done == [3, 4]
    with database.transaction() as connection:
        assert schema_version(connection) == newest_version()


def test_a_migration_that_fails_leaves_the_store_as_it_was(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is one transaction."""
    with database.transaction() as connection:
        migrate(connection)

    def third(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE added (id INTEGER)")
        raise ZeroDivisionError

    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, third))
    with pytest.raises(ZeroDivisionError), database.transaction() as connection:
        migrate(connection)
    with database.transaction() as connection:
        assert schema_version(connection) == newest_version() - 1
        assert not inspect(connection).has_table("added")


def test_a_newer_store_is_refused(store_url: str) -> None:
    """It is left as it is, and nothing is called."""
    bank = Bank(store_url)
    bank.pipeline().run(range(2))
    engine = create_engine(store_url)
    with engine.begin() as connection:
        connection.execute(update(VERSION).values(version=99))
    engine.dispose()
    with pytest.raises(StoreError, match="made by a newer rxpipe"):
        bank.pipeline().run(range(3))
    assert bank.calls["generation", 2] == 0


def test_two_processes_make_one_store(postgres_url: str) -> None:
    """They take turns."""
    databases = [Database(postgres_url) for _ in range(4)]
    together = threading.Barrier(len(databases))
    errors: list[BaseException] = []

    def make(database: Database) -> None:
        try:
            together.wait()
            with database.transaction() as connection:
                migrate(connection)
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=make, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for database in databases:
        database.close()
    assert errors == []


@pytest.mark.slow
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_first_starts_at_once(postgres_url: str, level: str) -> None:
    """All of them see an empty database, whatever it calls a transaction, and one makes the tables."""
    place = make_url(postgres_url)
    isolation = f"-cdefault_transaction_isolation={level}".replace(" ", "\\ ")
    url = place.update_query_dict({"options": f"{place.query['options']} {isolation}"})
    have_begun = threading.Barrier(5)
    versions: list[int] = []

    def start() -> None:
        database, waits = Database(url), [True]

        def act(connection: Connection) -> None:
            if waits.pop():
                have_begun.wait(10)
            waits.append(False)
            migrate(connection)

        database.first(act)
        versions.append(database.first(schema_version))
        database.close()

    with ThreadPoolExecutor(5) as pool:
        for started in [pool.submit(start) for _ in range(5)]:
            started.result()
    assert versions == [newest_version()] * 5
