"""The store's database: one transaction at a time on SQLite, as many as there are threads on PostgreSQL."""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, TypeVar

import structlog
from sqlalchemy import URL, Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

from rxpipe.database.engine import (
    SILENT_SECONDS,
    begin,
    commits_by_itself,
    database_option,
    failed_to_open,
    open_engine,
    shown,
)
from rxpipe.database.error_kinds import may_pass
from rxpipe.database.outage import as_sink_error
from rxpipe.database.sqlite_file import OpenFile
from rxpipe.database.transaction_limit import TransactionLimit
from rxpipe.errors import ConfigError, SinkError, StoreError
from rxpipe.store.commits.outage_limit import Policy
from rxpipe.store.schema.file_lock import FileLock, InUse, make
from rxpipe.store.schema.tables import VERSION

T = TypeVar("T")

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

# For this transaction only: the connection may be the user's. A plan is made for each execution, as one that was made
# while the tables were nearly empty reads the whole run when they no longer are.
_LIMITS = text(
    "SELECT set_config('idle_in_transaction_session_timeout', :stuck, true), set_config('lock_timeout', :wait, true), "
    "set_config('plan_cache_mode', 'force_custom_plan', true)"
)
_SELECT_VERSION = f"SELECT version FROM {VERSION.name}"
# The same, and the store's version, with no further question to the server.
_LIMITS_AND_VERSION = text(f"{_LIMITS.text}, ({_SELECT_VERSION})")
_JUST_MADE = ("42P07", "42701", "42710", "23505")  # a table, a column, something else, or its entry in a catalog
_LOCK_NOT_AVAILABLE = "55P03"
_WITHOUT = "to run without one, set database.durable: false (in code: no store)"


class Database:
    """Transactions for all threads of one process.

    On PostgreSQL a transaction whose process stopped in the middle of it is ended by the server, as it would keep
    others from what it has locked; and none waits for a lock for ever.

    On SQLite they take turns, so that none waits in SQLite's own busy loop; and the file is locked for other
    processes, by an exclusive transaction on an empty file beside it, which ends with the process however it dies.

    Attributes:
        engine: Its engine.
        is_sqlite: Whether it is SQLite.
        found_by: The options by which commands find it.
        expected: The schema version that each transaction must find; None while the store may have another one.
    """

    def __init__(
        self, database: str | URL | Engine, *, stuck_after: float = 30.0, silent_after: float = SILENT_SECONDS
    ) -> None:
        """Make the engine; nothing is opened yet.

        Args:
            database: SQLite or PostgreSQL, as a URL or an engine.
            stuck_after: Seconds after which the server ends a transaction that does nothing.
            silent_after: Seconds that a transaction may take; then the server counts as away.

        Raises:
            SinkError: There can be no such engine.
            ConfigError: The store cannot be kept in such a database.
        """
        self.engine = open_engine(database)
        self.found_by = database_option(self.engine)
        self.expected: int | None = None
        self._is_ours = self.engine is not database
        self._stuck_after = stuck_after
        name = self.engine.dialect.name
        path = self.engine.url.database
        self.is_sqlite = name == "sqlite"
        if name not in ("sqlite", "postgresql"):
            raise ConfigError(f"{shown(self.engine)}: a run store needs SQLite or PostgreSQL, not {name}; {_WITHOUT}")
        if self.is_sqlite and (not path or ":memory:" in path or path.startswith("file:")):
            raise ConfigError(
                f"{shown(self.engine)}: a run store outlives its process, so it needs a plain file; {_WITHOUT}"
            )
        if self.engine.driver == "psycopg" and not event.contains(self.engine, "do_executemany", _execute_many):
            event.listen(self.engine, "do_executemany", _execute_many)
        self._lock = FileLock(str(path)) if self.is_sqlite else None
        self._turn = threading.Lock() if self.is_sqlite else nullcontext()
        self._silent_after = silent_after
        self._transaction_limit = TransactionLimit(self.engine, is_ours=self._is_ours)
        self._file = OpenFile(self.engine)
        self._changed = threading.Condition()
        self._active = 0
        self._is_closed = False
        self._beside = ExitStack()

    @contextmanager
    def transaction(self, *, wait: float | None = None, is_first: bool = False) -> Generator[Connection]:
        """A transaction, committed when left, rolled back when left by an error.

        Args:
            wait: Seconds for which it waits for a lock, at most; on SQLite its own waiting counts.
            is_first: Whether it is of the start, which may have much to do: then it takes as long as it takes.

        Raises:
            StoreError: It is closed, or about to be; or the store has another version than was expected.
            SinkError: The SQLite file was deleted or moved.
        """
        with self._changed:
            if self._is_closed:
                raise StoreError("the run store is closed")
            self._active += 1
        try:
            with (
                self._turn,
                self._transaction_limit.limited(math.inf if is_first else self._silent_after),
                begin(self.engine, self._file.check) as connection,
                self._transaction_limit.using(connection),
            ):
                self._begun(connection, wait)
                yield connection
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def _begun(self, connection: Connection, wait: float | None) -> None:
        """Limit a transaction, and see that it finds the expected version, which then lasts as long as it does."""
        expected, found = self.expected, None
        if self.is_sqlite:
            if expected is not None:
                found = connection.exec_driver_sql(_SELECT_VERSION).scalar()
        else:
            stuck = self._stuck_after
            limits = {"stuck": _milliseconds(stuck), "wait": _milliseconds(wait or stuck)}
            if expected is None:
                connection.execute(_LIMITS, limits)
            else:
                if connection.dialect.default_isolation_level != "READ COMMITTED":
                    # All statements see what the first one saw: that must not be from before a migration's end.
                    connection.exec_driver_sql(f"LOCK TABLE {VERSION.name} IN ACCESS SHARE MODE")
                found = connection.execute(_LIMITS_AND_VERSION, limits).one()[-1]
        if found != expected:
            raise StoreError(
                f"another rxpipe has changed the run store from schema {expected} to {found} while this one was at "
                "work, which writes nothing more: start it again with the other one's version"
            )

    def first(self, action: Callable[[Connection], T]) -> T:
        """Connect for the first time, and run ``action`` in a transaction.

        Raises:
            SinkError: The database cannot be opened.
            ConfigError: What ``action`` raises.
        """
        if self._lock is not None and self._is_ours:
            make(str(self.engine.url.database))
        try:
            with self.engine.connect() as connection:
                if commits_by_itself(connection):
                    raise SinkError(f"{shown(self.engine)}: its engine is in autocommit mode, and a store needs more")
            return self._serialized(action)
        except SinkError as error:
            place = shown(self.engine)
            raise error if place in str(error) else type(error)(f"{place}: {error}") from error.__cause__
        except ConfigError:  # of the action: nothing is wrong with the database
            raise
        except Exception as error:  # noqa: BLE001 - raised again as what it means
            raise failed_to_open(self.engine, error) from getattr(error, "orig", None) or error

    def _serialized(self, action: Callable[[Connection], T], attempts: int = 10) -> T:
        """Run ``action`` in a transaction, anew where it got in the way of another one's.

        That is a conflict (SERIALIZABLE), a deadlock, a table that another one has just made and that this one does not
        see yet (REPEATABLE READ), or a lock of a worker that was stopped, or whose network failed, in a transaction:
        its server ends that as late as this one gives up waiting.
        """
        for _ in range(attempts - 1):
            try:
                with self.transaction(is_first=True) as connection:
                    return action(connection)
            except DBAPIError as error:
                state = str(getattr(error.orig, "sqlstate", ""))
                if not (state.startswith("40") or state in (_LOCK_NOT_AVAILABLE, *_JUST_MADE)):
                    raise
                if state == _LOCK_NOT_AVAILABLE:
                    _log.warning("waiting for the locks of another worker", database=shown(self.engine))
        with self.transaction(is_first=True) as connection:
            return action(connection)

    def patiently(
        self,
        action: Callable[[Connection], T],
        retry: Policy,
        over: threading.Event,
        again: Callable[[Connection], object],
    ) -> T | None:
        """Run ``action`` in a transaction, again and again while the database is away; ``None`` if it is over first.

        Args:
            action: What to do.
            retry: How long to try.
            over: Set when it is not wanted any more.
            again: Called before it, in the same transaction, if one may have been committed whose answer was lost.

        Raises:
            SinkError: It stayed away for too long, or something else is wrong.
            ConfigError: What ``action`` raises.
        """
        attempt = 1
        while not over.is_set():
            try:
                with self.transaction() as connection:
                    if attempt > 1:
                        again(connection)
                    return action(connection)
            except Exception as error:
                if over.is_set():
                    break
                if isinstance(error, ConfigError):
                    raise
                if not may_pass(error) or not retry.applies(error, attempt):
                    raise as_sink_error(error) from error
                over.wait(retry.delay(attempt, error))
                attempt += 1
        return None

    def lock(self, holder: Callable[[Connection], str]) -> None:
        """Keep other processes away from an SQLite file; nothing on PostgreSQL.

        Args:
            holder: Says who has it, from what the store holds.

        Raises:
            StoreError: Another process has it.
        """
        if self._lock is None:
            return
        try:
            self._lock.acquire()
        except sqlite3.Error as error:
            path = self._lock.path
            raise StoreError(f"{shown(self.engine)}: its lock file {path} cannot be used: {error}") from error
        except InUse:
            with self.engine.connect() as connection:
                raise self.in_use_by(holder(connection)) from None

    def in_use_by(self, who: str) -> StoreError:
        """The error that says that another process has an SQLite file."""
        return StoreError(
            f"{shown(self.engine)} is in use by {who}: SQLite takes one process at a time; for several workers "
            "use PostgreSQL, such as postgresql://user@host/name"
        )

    def end_within(self, seconds: float) -> None:
        """Let all transactions end by then, whether the server answers or not; blocks nobody."""
        self._transaction_limit.end_within(seconds)

    def closes(self, close: Callable[[], object]) -> None:
        """Have something closed with it, once no transaction uses that any more."""
        self._beside.callback(close)

    def close(self) -> None:
        """Let transactions end, close the connections unless the engine is its owner's, and let go of the lock."""
        with self._changed:
            self._is_closed = True
            self._changed.wait_for(lambda: self._active == 0, self._stuck_after)
        with self._beside:
            if self._is_ours:
                self.engine.dispose()
            if self._lock is not None:
                self._lock.release()


def _execute_many(cursor: Any, statement: str, parameters: Any, _context: Any) -> bool:
    """Execute many, and then nothing, by which the server begins to count the time in which nothing is done.

    Behind a pipeline, in which psycopg executes many, it does not.
    """
    cursor.executemany(statement, parameters)
    cursor.connection.execute("")
    return True


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
