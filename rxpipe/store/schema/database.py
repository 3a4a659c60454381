"""The store's database: one transaction at a time on SQLite, one per thread on PostgreSQL."""

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

# For this transaction only: the connection may be the user's. Each execution gets a plan of its own, as a plan that was
# made while the tables were nearly empty reads the whole run when they are full.
_LIMITS = text(
    "SELECT set_config('idle_in_transaction_session_timeout', :stuck, true), set_config('lock_timeout', :wait, true), "
    "set_config('plan_cache_mode', 'force_custom_plan', true)"
)
_SELECT_VERSION = f"SELECT version FROM {VERSION.name}"
# Also reads the store's version, without another question to the server.
_LIMITS_AND_VERSION = text(f"{_LIMITS.text}, ({_SELECT_VERSION})")
_JUST_MADE = ("42P07", "42701", "42710", "23505")  # a table, a column, another object, or its entry in a catalog
_LOCK_NOT_AVAILABLE = "55P03"
_WITHOUT = "to run without one, set database.durable: false (in code: no store)"


class Database:
    """Transactions for all threads of one process.

    On PostgreSQL, the server ends a transaction whose process has stopped in the middle of it, as its locks would hold
    up others. No transaction waits for a lock for ever.

    On SQLite, transactions take turns, so that none waits in SQLite's own busy loop. The file is locked for other
    processes by an exclusive transaction on an empty file beside it. The lock ends with the process, however the
    process dies.

    Attributes:
        engine: The engine.
        is_sqlite: True on SQLite.
        found_by: The options by which commands find the database.
        expected: The schema version that each transaction must find; None while the store may have another version.
    """

    def __init__(
        self, database: str | URL | Engine, *, stuck_after: float = 30.0, silent_after: float = SILENT_SECONDS
    ) -> None:
        """Make the engine; nothing is opened yet.

        Args:
            database: SQLite or PostgreSQL, as a URL or an engine.
            stuck_after: Seconds after which the server ends an idle transaction.
            silent_after: Seconds that a transaction may take; after that the server counts as away.

        Raises:
            SinkError: No engine can be made of it.
            ConfigError: A store cannot be kept in such a database.
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
        """A transaction. Commits at its end; rolls back after an error.

        Args:
            wait: Most seconds to wait for a lock. On SQLite, waiting for other threads counts.
            is_first: True for a transaction of the start, which may have much to do and has no time limit.

        Raises:
            StoreError: The database is closed or about to be; or the store has another version than expected.
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
        """Limit a transaction, and check the store's version, which then stays until the transaction ends."""
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
                    # All statements see what the first one saw. That must not be older than the end of a migration.
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
            ConfigError: ``action`` raised it.
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
        except ConfigError:  # from the action: nothing is wrong with the database
            raise
        except Exception as error:  # noqa: BLE001 - raised again as the error that it means
            raise failed_to_open(self.engine, error) from getattr(error, "orig", None) or error

    def _serialized(self, action: Callable[[Connection], T], attempts: int = 10) -> T:
        """Run ``action`` in a transaction, and again after a conflict with another transaction.

        Conflicts are:

        - a serialization failure (SERIALIZABLE) or a deadlock;
        - a table that another transaction has just made, and that this one does not see yet (REPEATABLE READ);
        - a lock of a worker that was stopped, or lost its network, in a transaction. The server ends that transaction
          as late as this one gives up waiting.
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
        """Run ``action`` in a transaction, again and again while the database is away.

        Returns None if ``over`` is set first.

        Args:
            action: The action.
            retry: How long to try.
            over: Set when the action is no longer wanted.
            again: Called before the action, in the same transaction, if an earlier try may have been committed.

        Raises:
            SinkError: The database stayed away for too long, or another error came.
            ConfigError: ``action`` raised it.
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
        """Keep other processes away from an SQLite file. Does nothing on PostgreSQL.

        Args:
            holder: Returns who has the file, as far as the store tells.

        Raises:
            StoreError: Another process has the file.
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
        """Returns the error for an SQLite file that another process has."""
        return StoreError(
            f"{shown(self.engine)} is in use by {who}: SQLite takes one process at a time; for several workers "
            "use PostgreSQL, such as postgresql://user@host/name"
        )

    def end_within(self, seconds: float) -> None:
        """End all transactions within ``seconds``, even if the server does not answer. Blocks nobody."""
        self._transaction_limit.end_within(seconds)

    def closes(self, close: Callable[[], object]) -> None:
        """Close something together with the database, once no transaction uses it any more."""
        self._beside.callback(close)

    def close(self) -> None:
        """Let transactions end, close the connections unless the engine is its owner's, and release the lock."""
        with self._changed:
            self._is_closed = True
            self._changed.wait_for(lambda: self._active == 0, self._stuck_after)
        with self._beside:
            if self._is_ours:
                self.engine.dispose()
            if self._lock is not None:
                self._lock.release()


def _execute_many(cursor: Any, statement: str, parameters: Any, _context: Any) -> bool:
    """Execute many statements, and then an empty one, so that the server begins to measure idle time.

    After a pipeline, which psycopg uses to execute many, the server does not measure it.
    """
    cursor.executemany(statement, parameters)
    cursor.connection.execute("")
    return True


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
