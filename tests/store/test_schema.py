"""Stores of other versions."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine, inspect, update

from rxpipe.errors import StoreError
from rxpipe.store import schema
from rxpipe.store.database import Database
from rxpipe.store.schema import VERSION, migrate, schema_version

from .bank import Bank


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    database = Database(store_url)
    yield database
    database.close()


def test_a_new_store(database: Database) -> None:
    """It has today's version, and making it twice changes nothing."""
    for _ in range(2):
        with database.transaction() as connection:
            migrate(connection)
            assert schema_version(connection) == len(schema.MIGRATIONS)


def test_an_older_store_is_brought_up_to_date(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """By each migration that it lacks, once."""
    with database.transaction() as connection:
        migrate(connection)
    done: list[int] = []

    def second(connection: Connection) -> None:
        done.append(2)
        connection.exec_driver_sql("CREATE TABLE added (id INTEGER)")

    def third(connection: Connection) -> None:
        done.append(3)

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, second, third))
    for _ in range(2):
        with database.transaction() as connection:
            migrate(connection)
    assert done == [2, 3]
    with database.transaction() as connection:
        assert schema_version(connection) == 3


def test_a_migration_that_fails_leaves_the_store_as_it_was(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is one transaction."""
    with database.transaction() as connection:
        migrate(connection)

    def second(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE added (id INTEGER)")
        raise ZeroDivisionError

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, second))
    with pytest.raises(ZeroDivisionError), database.transaction() as connection:
        migrate(connection)
    with database.transaction() as connection:
        assert schema_version(connection) == 1
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
