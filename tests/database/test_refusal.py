from __future__ import annotations

import importlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, create_engine, event, exc, text

from rxpipe.database.error_kinds import is_transient, judge, refusal
from rxpipe.database.writer import Writer
from rxpipe.errors import SinkError

from .sink_helpers import MakeWriter, outcome, stored

pymysql: Any = importlib.import_module("pymysql")  # it has no types


def at_connect(engine: Engine, act: Callable[[Any], object]) -> None:
    """Act on every connection from now on."""

    def connected(driver: Any, _record: Any) -> None:
        act(driver)

    event.listen(engine, "connect", connected)
    engine.dispose()


def during_the_insert(engine: Engine, act: Callable[[Connection], None]) -> None:
    """Act once, in the midst of a transaction, before its first INSERT."""
    done: list[bool] = []

    def before(connection: Connection, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("INSERT") and not done:
            done.append(True)
            act(connection)

    event.listen(engine, "before_cursor_execute", before)


def failure_of_write(writer: Writer) -> Exception:
    with pytest.raises(exc.SQLAlchemyError) as caught:
        writer.write([outcome(item_id) for item_id in range(20)])
    return caught.value


def test_a_terminated_backend_is_transient_and_the_batch_can_be_written_again(
    writers: MakeWriter, postgres: str
) -> None:
    """PostgreSQL's administrator ends the connection in mid-transaction."""
    writer = writers(database=postgres)
    other = create_engine(postgres)

    def terminate(connection: Connection) -> None:
        driver: Any = connection.connection.dbapi_connection
        with other.connect() as admin:
            admin.execute(text(f"SELECT pg_terminate_backend({driver.info.backend_pid})"))

    during_the_insert(writer.engine, terminate)
    assert is_transient(failure_of_write(writer))
    other.dispose()
    assert stored(writer) == {}
    assert writer.write([outcome(1)]) == [None]


def test_a_killed_connection_of_mysql_is_transient(writers: MakeWriter, mysql: str) -> None:
    """MariaDB's KILL ends the connection in mid-transaction."""
    writer = writers(database=mysql)
    other = create_engine(mysql)

    def kill(connection: Connection) -> None:
        driver: Any = connection.connection.dbapi_connection
        with other.connect() as admin:
            admin.execute(text(f"KILL CONNECTION {driver.thread_id()}"))

    during_the_insert(writer.engine, kill)
    assert is_transient(failure_of_write(writer))
    other.dispose()
    assert writer.write([outcome(1)]) == [None]


@pytest.mark.parametrize("url", ["postgresql+psycopg://u@127.0.0.1:1/d", "mysql+pymysql://u@127.0.0.1:1/d"])
def test_a_refused_connection_is_transient(url: str) -> None:
    """The server may be starting."""
    engine = create_engine(url)
    with pytest.raises(exc.OperationalError) as caught:
        engine.connect()
    assert is_transient(caught.value)


def test_a_locked_sqlite_file_is_transient(sqlite: str, tmp_path: Path) -> None:
    """Another program is writing, and takes longer than the timeout."""
    with Writer(f"{sqlite}?timeout=0.01") as writer:
        with closing(sqlite3.connect(tmp_path / "bank.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            error = failure_of_write(writer)
            other.execute("ROLLBACK")
        assert "database is locked" in str(error)
        assert is_transient(error)
        assert writer.write([outcome(1)]) == [None]


def test_a_pool_that_is_used_up_is_transient(tmp_path: Path) -> None:
    """A user's engine may be busy elsewhere."""
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}", pool_size=1, max_overflow=0, pool_timeout=0.01)
    with Writer(engine) as writer, engine.connect():
        assert is_transient(failure_of_write(writer))
    engine.dispose()


def test_a_serialization_failure_is_transient(writers: MakeWriter, postgres: str) -> None:
    """At that isolation level PostgreSQL gives up the later of two transactions."""
    writer = writers(database=postgres)
    writer.write([outcome(1)])
    with writer.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        connection.execute(text("SELECT 1")).close()
        writer.write([outcome(1)])
        with pytest.raises(exc.OperationalError) as caught:
            connection.execute(writer.table.update().values(attempts=0))
    assert is_transient(caught.value)


def test_a_lock_that_is_not_released_is_transient(writers: MakeWriter, mysql: str) -> None:
    """InnoDB waits for another transaction's row, and then gives up."""
    writer = writers(database=mysql)
    writer.write([outcome(1)])
    at_connect(writer.engine, lambda driver: driver.query("SET innodb_lock_wait_timeout=0"))
    with writer.engine.begin() as connection:
        connection.execute(writer.table.update().values(attempts=0))
        assert is_transient(failure_of_write(writer))


def test_a_read_only_sqlite_file_is_fatal(sqlite: str) -> None:
    """Waiting does not help, and no row is to blame."""
    with Writer(sqlite) as writer:
        writer.write([outcome(1)])
        at_connect(writer.engine, lambda driver: driver.execute("PRAGMA query_only=1"))
        with pytest.raises(SinkError, match="attempt to write a readonly database") as caught:
            writer.write([outcome(2)])
    assert not is_transient(caught.value)


def test_a_full_disk_is_fatal(sqlite: str) -> None:
    """The same; here SQLite's own limit of pages."""
    with Writer(sqlite) as writer:
        at_connect(writer.engine, lambda driver: driver.execute("PRAGMA max_page_count=3"))
        with pytest.raises(SinkError, match="full"):
            writer.write([outcome(1, {"answer": "x" * 100_000})])


def test_a_read_only_server_is_fatal(writers: MakeWriter, postgres: str) -> None:
    """A replica, say."""
    writer = writers(database=postgres)
    read_only = create_engine(postgres, connect_args={"options": "-c default_transaction_read_only=on"})
    with Writer(read_only, table=writer.table.name) as other, pytest.raises(SinkError, match="read-only"):
        other.write([outcome(1)])
    read_only.dispose()


def test_a_table_that_is_gone_is_fatal(make_writer: MakeWriter) -> None:
    """No row is to blame: not 500 refusals but one error."""
    writer = make_writer()
    writer.table.drop(writer.engine)
    with pytest.raises(SinkError, match="takes no rows"):
        writer.write([outcome(1), outcome(2)])


def test_an_error_of_the_rows_is_not_transient(make_writer: MakeWriter) -> None:
    """The same row would be refused again."""
    writer = make_writer()
    statement = writer.table.insert()
    for values in ({"id": "1", "status": None}, {"id": "1", "status": "written", "attempts": 2**70}):
        with writer.engine.connect() as connection, pytest.raises((exc.SQLAlchemyError, OverflowError)) as caught:
            connection.execute(statement, values)
        assert judge(caught.value) == "refused"


class _State(psycopg.Error):
    def __init__(self, state: str, words: str = "") -> None:
        super().__init__(words)
        self.sqlstate = state


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (_State("08006"), "transient"),
        (_State("40P01"), "transient"),
        (_State("53300"), "transient"),
        (_State("57P03"), "transient"),
        (_State("53100"), "fatal"),
        (_State("25006"), "fatal"),
        (_State("54000"), "refused"),
        (_State("26000", "prepared statement does not exist"), "transient"),
        (_State("42P05", "prepared statement already exists"), "transient"),
        (_State("0A000", "cached plan must not change result type"), "transient"),
        (_State("25P02", "current transaction is aborted"), "transient"),
        (_State("34000"), "transient"),
        (_State("3B001", "no such savepoint"), "transient"),
        (_State("55P03"), "transient"),
        (_State("72000"), "transient"),
        (_State("0A000", "cannot do that"), "fatal"),
        (_State("42601", "syntax error"), "fatal"),
        (_State("55000", "cannot insert into view"), "fatal"),
        (_State("XX001"), "fatal"),
        (_State("XX000", "invalid geometry"), "refused"),
        (_State("42804", "column is of type integer but expression is of type text"), "refused"),
        (_State("44000"), "refused"),
        (_State("P0001", "raised by a trigger"), "refused"),
        (_State("ZZ001", "raised by a trigger"), "refused"),
        (_State("23505"), "refused"),
        (_State("42501", "permission denied for table"), "fatal"),
        (_State("42501", "new row violates row-level security policy"), "refused"),
        (psycopg.OperationalError("connection failed"), "transient"),
        (psycopg.InterfaceError("the connection is closed"), "transient"),
        (psycopg.ProgrammingError("cannot adapt type"), "refused"),
        (pymysql.err.OperationalError(1213, "Deadlock found"), "transient"),
        (pymysql.err.OperationalError(1040, "Too many connections"), "transient"),
        (pymysql.err.OperationalError(2013, "Lost connection"), "transient"),
        (pymysql.err.InterfaceError(0, ""), "transient"),
        (pymysql.err.OperationalError(1615, "Prepared statement needs to be re-prepared"), "transient"),
        (pymysql.err.OperationalError(1290, "read-only"), "fatal"),
        (pymysql.err.OperationalError(1021, "Disk full"), "fatal"),
        (pymysql.err.OperationalError(4025, "CONSTRAINT failed"), "refused"),
        (pymysql.err.DataError(1406, "Data too long"), "refused"),
        (ConnectionResetError(), "transient"),
        (exc.TimeoutError(), "transient"),
        (exc.CompileError("no such type"), "fatal"),
        (SinkError("over"), "fatal"),
        (OverflowError("int too large"), "refused"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"), "refused"),
    ],
    ids=repr,
)
def test_the_codes_of_the_drivers_decide(error: Exception, verdict: str) -> None:
    """Not the classes: OperationalError is a lost connection, a full disk and a broken CHECK."""
    assert judge(error) == verdict


def test_a_refusal_keeps_its_cause_and_not_the_batch() -> None:
    """The frames of the error's traceback hold every row."""
    cause = sqlite3.IntegrityError("NOT NULL\nconstraint failed")
    try:
        raise exc.IntegrityError("INSERT", {}, cause) from cause
    except exc.IntegrityError as error:
        refused = refusal(error)
    assert str(refused) == "IntegrityError: NOT NULL constraint failed"
    assert refused.__cause__ is cause
    assert cause.__traceback__ is None
