"""One process for an SQLite file, and a file that only its owner reads."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import suppress

_SUFFIX = "-rxpipe-lock"

_held: dict[str, int] = {}  # paths that are locked here, and the process, as a forked one inherits this
_lock = threading.Lock()


class InUse(Exception):
    """Somebody has the lock."""


class FileLock:
    """Keeps other processes from an SQLite file.

    It is an exclusive transaction on an empty file beside it: SQLite's own lock, which ends with the process however
    that ends. It fails where the file is deleted, or opened and closed by this process, as locks are like that in
    POSIX. So whoever has it must also look for an owner in the store.
    """

    def __init__(self, database: str) -> None:
        """Describe the lock of a database's file."""
        self._database = os.path.realpath(database)
        self.path = self._database + _SUFFIX
        self._connection: sqlite3.Connection | None = None

    def acquire(self) -> None:
        """Take it; nothing if this one has it.

        Raises:
            InUse: Another process has it, or another run of this one.
            sqlite3.Error: The lock's file cannot be used.
        """
        if self._connection is not None:
            return
        with _lock:
            if _held.get(self._database) == os.getpid():
                raise InUse
            self._connection = self._locked()
            _held[self._database] = os.getpid()

    def release(self) -> None:
        """Let go of it, if it is held."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with _lock:
                _held.pop(self._database, None)
            connection.close()

    def _locked(self) -> sqlite3.Connection:
        with suppress(OSError):
            make(self.path, os.stat(self._database).st_mode & 0o777)
        connection = sqlite3.connect(self.path, timeout=0.2, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=MEMORY")  # no file of its own is left when it is killed
            connection.execute("BEGIN EXCLUSIVE")
        except BaseException as error:
            connection.close()
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise InUse from error
            raise
        return connection


def make(path: str, mode: int = 0o600) -> None:
    """Make an empty file that only some may read, unless there is one: a store holds inputs, outputs and pickles.

    SQLite gives the files beside it the same permissions. One that cannot be made is left for SQLite to tell of.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
