"""Admits one process to an SQLite file, and makes files that only their owner can read."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import suppress

_SUFFIX = "-rxpipe-lock"

_held: dict[str, int] = {}  # locked paths with their process, as a forked process inherits this
_lock = threading.Lock()


class InUse(Exception):
    """Another process or run has the lock."""


class FileLock:
    """Keeps other processes from an SQLite file.

    The lock is an exclusive transaction on an empty file beside it. This is SQLite's own lock, which ends with the
    process however that ends. It fails if the lock file is deleted, or if this process opens and closes it, as POSIX
    locks work that way. So a process that has the lock must also look for an owner in the store.
    """

    def __init__(self, database: str) -> None:
        """Describe the lock of a database's file."""
        self._database = os.path.realpath(database)
        self.path = self._database + _SUFFIX
        self._connection: sqlite3.Connection | None = None

    def acquire(self) -> None:
        """Take the lock. Does nothing if this object has it.

        Raises:
            InUse: Another process has the lock, or another run of this process.
            sqlite3.Error: The lock file cannot be used.
        """
        if self._connection is not None:
            return
        with _lock:
            if _held.get(self._database) == os.getpid():
                raise InUse
            self._connection = self._locked()
            _held[self._database] = os.getpid()

    def release(self) -> None:
        """Release the lock, if it is held."""
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
            connection.execute("PRAGMA journal_mode=MEMORY")  # a killed process leaves no journal file
            connection.execute("BEGIN EXCLUSIVE")
        except BaseException as error:
            connection.close()
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise InUse from error
            raise
        return connection


def make(path: str, mode: int = 0o600) -> None:
    """Make an empty file with restricted permissions, unless it exists: a store holds inputs, outputs and pickles.

    SQLite gives the files beside it the same permissions. If the file cannot be made, SQLite reports that later.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
