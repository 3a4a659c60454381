"""Opens an existing run store, to look at it or to mend it. Never makes one."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, exc, select

from rxpipe.database.engine import BUSY_SECONDS, begin, failed_to_open, file_of, open_engine, shown
from rxpipe.errors import ConfigError, SinkError, StoreError
from rxpipe.store.schema.migrations import newest_version, schema_version
from rxpipe.store.schema.tables import VERSION


@contextmanager
def opened(database: str) -> Generator[Engine]:
    """Gives a store's engine, for ``snapshot`` and ``change``. Its connections are closed at the end.

    Args:
        database: SQLite (a file) or PostgreSQL, as an SQLAlchemy URL.

    Raises:
        StoreError: There is no store in the database, or a store of another version of rxpipe.
        SinkError: The database cannot be opened.
        ConfigError: The database cannot hold a store.
    """
    engine = checked_engine(database)
    try:
        yield engine
    finally:
        engine.dispose()


def checked_engine(database: str | URL | Engine) -> Engine:
    """Returns a store's engine, which the caller closes; see ``opened``. A given engine stays its owner's."""
    engine = database if isinstance(database, Engine) else _engine(database)
    try:
        with snapshot(engine) as connection:
            _check_version(schema_version(connection), shown(engine))
    except BaseException:
        if engine is not database:
            engine.dispose()
        raise
    return engine


@contextmanager
def snapshot(engine: Engine) -> Generator[Connection]:
    """A transaction that sees one moment of the store, and changes nothing.

    It holds no run up, except on SQLite without WAL mode: there the run waits.

    Raises:
        SinkError: The database cannot be read.
    """
    with _errors_told(engine), engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection
        else:
            connection.exec_driver_sql("PRAGMA query_only = ON")
            connection.exec_driver_sql("BEGIN")  # sqlite3 does not begin a transaction for reading
            try:
                yield connection
            finally:
                connection.rollback()
                connection.exec_driver_sql("PRAGMA query_only = OFF")


@contextmanager
def change(engine: Engine) -> Generator[Connection]:
    """A transaction that may write. Commits at its end; rolls back after an error.

    Raises:
        StoreError: A newer rxpipe has changed the store since it was opened.
        SinkError: The database cannot be written to.
    """
    with _errors_told(engine), begin(engine) as connection:
        _check_version(connection.execute(select(VERSION.c.version)).scalar_one(), shown(engine))
        yield connection


@contextmanager
def _errors_told(engine: Engine) -> Generator[None]:
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise failed_to_open(engine, error) from getattr(error, "orig", None) or error


def _engine(database: str | URL) -> Engine:
    engine = open_engine(database)  # reports a wrong URL, and does not connect
    name = engine.dialect.name
    if name == "postgresql":
        return engine
    engine.dispose()
    if name != "sqlite":
        raise ConfigError(f"{shown(database)}: a run store is kept in SQLite or PostgreSQL, not in {name}")
    path = file_of(engine.url)
    if path is None:
        raise ConfigError(f"{shown(database)}: a run store is kept in a plain file")
    if not os.path.exists(path):
        where = "" if path == engine.url.database else f". SQLite paths start from the current directory, {os.getcwd()}"
        raise SinkError(f"{shown(database)}: there is no such file{where}")
    place = Path(path).as_uri()

    def connect() -> sqlite3.Connection:
        # Must not make the file if it is gone by now, nor change its journal mode, as the engine above would. "ro"
        # would leave files behind that the last connection should delete.
        return sqlite3.connect(f"{place}?mode=rw", uri=True, timeout=BUSY_SECONDS, check_same_thread=False)

    return create_engine(engine.url, creator=connect)


def _check_version(found: int, place: str) -> None:
    known = newest_version()
    if found == 0:
        raise StoreError(f"{place} has no run store: nothing has been run there with one yet")
    if found > known:
        raise StoreError(
            f"{place}: its run store has schema {found}, and this rxpipe knows {known} at most: "
            "it was made by a newer rxpipe; upgrade this one"
        )
    if found < known:
        raise StoreError(
            f"{place}: its run store is of an older rxpipe; the next run with it, or rxpipe migrate, "
            "brings it up to date"
        )
