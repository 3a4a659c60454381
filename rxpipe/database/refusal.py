"""Whose fault an error is: the database's for now, a row's, or nobody's that waiting could help.

The classes of the DB-API do not tell: ``OperationalError`` is a lost connection, a full disk, a missing table
and, in MySQL, a row that breaks a CHECK. So the codes decide where a driver gives one.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Literal

from sqlalchemy import exc

from rxpipe.database.encoding import one_line
from rxpipe.errors import RxPipeError, SinkError

Verdict = Literal["transient", "refused", "fatal"]


class RowRefused(RxPipeError):
    """A row could not be made, or the database would not take it; ``__cause__`` is the error, if any."""


# https://www.postgresql.org/docs/current/errcodes-appendix.html; a class is the first two characters.
_STATES_TRANSIENT = frozenset({"08", "40", "53", "57", "58", "55P03", "55006", "25P03", "25P04"})
_STATES_FATAL = frozenset(
    # disk full, read only; no such table, column, schema or database; no matching unique key; no permission
    {"53100", "25006", "42P01", "42703", "3F000", "3D000", "42P10", "42501", "28000", "28P01"}
)

# https://mariadb.com/kb/en/mariadb-error-codes/; 2000 to 2999 are the client's: no connection, or lost.
_MYSQL_TRANSIENT = frozenset(
    {0, 1020, 1040, 1043, 1047, 1053, 1077, 1078, 1079, 1080, 1129, 1152, 1158, 1159, 1160, 1161, 1180, 1184}
    | {1203, 1205, 1206, 1213, 1317, 1927, 1969, 3024, 4031}
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
    """Whether the database is away or busy for now, so that the same batch can be written again later.

    True for a connection that cannot be made or was lost, a server that is starting or shutting down, locks,
    deadlocks, serialization failures and a pool that is used up. False for a row that was refused, and for
    what waiting does not cure: a full disk, a read-only database, a missing table, ``SinkError``.
    """
    return judge(error) == "transient"


def judge(error: BaseException) -> Verdict:
    """Whose fault an error from a write is.

    Returns:
        ``transient`` if the database is away or busy, ``fatal`` if it will not take any row however long one
        waits, and ``refused`` if the rows are to blame (a bind processor of the user's may raise anything at
        all).
    """
    if getattr(error, "connection_invalidated", False):
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
    kinds = {kind.__name__ for kind in type(orig).__mro__}  # each driver has classes of its own, by these names
    return "transient" if kinds & {"OperationalError", "InterfaceError"} else "refused"


def refusal(error: BaseException) -> RowRefused:
    """What to report of a row that the database, or its driver, refused."""
    cause: BaseException = getattr(error, "orig", None) or error
    refused = RowRefused(one_line(cause))
    refused.__cause__ = cause
    # An outcome may be kept for the rest of the run: without this its error's frames would keep the batch.
    link: BaseException | None = cause
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return refused


def _judge_sqlite(orig: sqlite3.Error) -> Verdict:
    code = getattr(orig, "sqlite_errorcode", 0) & 0xFF  # the rest is the extended code
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
    if state in _STATES_FATAL:
        # A policy refuses single rows, with the code of a missing permission.
        return "refused" if "row-level security" in str(orig) else "fatal"
    return "transient" if state in _STATES_TRANSIENT or state[:2] in _STATES_TRANSIENT else "refused"
