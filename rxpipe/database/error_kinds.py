"""Finds the cause of an error: the database for now, a row, or something that waiting does not cure.

The classes of the DB-API do not tell: ``OperationalError`` is a lost connection, a full disk, a missing table and, in
MySQL, a row that breaks a CHECK. So the codes decide where a driver gives one.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Literal

from sqlalchemy import exc

from rxpipe.database.encoding import one_line
from rxpipe.errors import RxPipeError, SinkError

Verdict = Literal["transient", "refused", "fatal"]


class RowRefused(RxPipeError):
    """A row could not be made, or the database refused it. ``__cause__`` is the error, if any."""


class FileAway(RxPipeError):
    """A file takes nothing for now: its disk is full, or does not answer.

    Attributes:
        name: The file's name.
        orig: The error of the system.
    """

    def __init__(self, name: str, orig: OSError) -> None:
        super().__init__(f"{name} cannot be written: {one_line(orig)}")
        self.name = name
        self.orig = orig


# https://www.postgresql.org/docs/current/errcodes-appendix.html; a class is the first two characters. Codes that are
# not listed are errors of a row: its data (22, 23, 44, some of 42), and errors that the user's functions and triggers
# raise.
_STATES_TRANSIENT = frozenset(
    # the connection, the transaction, cursors, savepoints and prepared statements; conflicts, resources, operators
    {"08", "24", "25", "26", "34", "3B", "40", "42P03", "42P05", "53", "55", "57", "58", "72"}
)
_STATES_FATAL = frozenset(
    # features that the server lacks; authorization; catalogs and schemas; its configuration; read only; a full disk
    {"0A", "0L", "0P", "28", "2B", "2D", "3D", "3F", "F0", "25006", "53100", "55000", "XX001", "XX002"}
    # no permission; no such table, column or matching unique key; invalid or ambiguous statements
    | {"42501", "42P01", "42703", "42P10", "42601", "42602", "42702", "42P02", "42809", "42P17"}
)
# A prepared statement of a table that was altered since. The next transaction prepares a new statement.
_OUTDATED = "cached plan must not change result type"

# https://mariadb.com/kb/en/mariadb-error-codes/; 2000 to 2999 are errors of the client: no connection, or a lost one.
_MYSQL_TRANSIENT = frozenset(
    {0, 1020, 1040, 1043, 1047, 1053, 1077, 1078, 1079, 1080, 1129, 1152, 1158, 1159, 1160, 1161, 1180, 1184}
    | {1203, 1205, 1206, 1213, 1243, 1317, 1461, 1615, 1927, 1969, 3024, 4031}
)
_MYSQL_FATAL = frozenset(
    # no disk; no such database, table or column; no permission; read only
    {3, 1021, 1026, 1030, 1114, 1044, 1045, 1049, 1054, 1142, 1143, 1146, 1227, 1290, 1792, 1836}
)

_SQLITE_TRANSIENT = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT}
    | {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_SCHEMA}
)
_SQLITE_FATAL = frozenset(
    {sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL}
    | {sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_NOTADB}
)
_SQLITE_FATAL_TEXTS = (
    "no such table",
    "no such column",
    "has no column named",
    "ON CONFLICT clause does not",
)


def is_transient(error: BaseException) -> bool:
    """Returns True if the database is away or busy for now, so that the same batch can be written again later.

    True for a connection that cannot be made or was lost, a server that is starting or shutting down, locks, deadlocks,
    serialization failures, an exhausted pool, and a file whose disk is full. False for a refused row, and for errors
    that waiting does not cure: a database's full disk, a read-only database, a missing table, ``SinkError``.
    """
    return judge(error) == "transient"


def may_pass(error: BaseException) -> bool:
    """Returns True if data should be kept for another try: ``is_transient``, or a disk is full."""
    return is_transient(error) or _is_full(error)


def _is_full(error: BaseException) -> bool:
    if isinstance(error, SinkError) and error.__cause__ is not None:
        return _is_full(error.__cause__)
    orig: Any = getattr(error, "orig", None) or error
    if isinstance(orig, sqlite3.Error):
        return getattr(orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return getattr(orig, "sqlstate", None) == "53100"


def judge(error: BaseException) -> Verdict:
    """Finds the cause of an error from a write.

    Returns:
        ``transient`` if the database is away or busy; ``fatal`` if it takes no rows, and waiting does not help;
        ``refused`` if the rows are to blame (a user's bind processor may raise any error).
    """
    if getattr(error, "connection_invalidated", False) or isinstance(error, FileAway):
        return "transient"
    if isinstance(error, (exc.TimeoutError, exc.PendingRollbackError, ConnectionError, TimeoutError)):
        return "transient"
    if isinstance(error, (SinkError, exc.SQLAlchemyError)) and not isinstance(error, exc.StatementError):
        return "fatal"
    orig: Any = getattr(error, "orig", None) or error
    driver = type(orig).__module__.partition(".")[0]
    number = orig.args[0] if orig.args else None
    if isinstance(orig, sqlite3.Error):
        return _judge_sqlite(orig)
    if driver in ("pymysql", "MySQLdb", "mysql", "mariadb", "asyncmy") and isinstance(number, int):
        return _judge_mysql(number)
    state = getattr(orig, "sqlstate", None) or getattr(orig, "pgcode", None)
    if isinstance(state, str):
        return _judge_state(state, orig)
    kinds = {kind.__name__ for kind in type(orig).__mro__}  # each driver has its own classes, with these names
    return "transient" if kinds & {"OperationalError", "InterfaceError", "InternalError"} else "refused"


def refusal(error: BaseException) -> RowRefused:
    """Returns the error to report for a row that the database, or its driver, refused."""
    cause: BaseException = getattr(error, "orig", None) or error
    refused = RowRefused(one_line(cause))
    refused.__cause__ = cause
    # An outcome may be kept for the rest of the run. Without this, its error's frames would keep the batch.
    link: BaseException | None = cause
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return refused


def _judge_sqlite(orig: sqlite3.Error) -> Verdict:
    code = getattr(orig, "sqlite_errorcode", 0) & 0xFF  # without the extended code
    if code in _SQLITE_TRANSIENT:
        return "transient"
    if code in _SQLITE_FATAL or (code == sqlite3.SQLITE_ERROR and any(t in str(orig) for t in _SQLITE_FATAL_TEXTS)):
        return "fatal"
    return "refused"


def _judge_mysql(number: int) -> Verdict:
    if number in _MYSQL_TRANSIENT or 2000 <= number < 3000:
        return "transient"
    return "fatal" if number in _MYSQL_FATAL else "refused"


def _judge_state(state: str, orig: BaseException) -> Verdict:
    if state == "42501" and "row-level security" in str(orig):
        return "refused"  # a policy refuses single rows, with the code of a missing permission
    if _OUTDATED in str(orig):
        return "transient"
    for code in (state, state[:2]):  # the code itself, then its class
        if code in _STATES_FATAL:
            return "fatal"
        if code in _STATES_TRANSIENT:
            return "transient"
    return "refused"
