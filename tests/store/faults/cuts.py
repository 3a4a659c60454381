"""Commits that are cut off: a process does it to its own connections."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy.engine import make_url
from sqlalchemy.engine.default import DefaultDialect

from .points import say_nothing, wrap_commits

PATIENCE = 10.0


@dataclass(frozen=True, kw_only=True)
class CutAtCommit:
    """The connection is gone at the n-th commit: its server process is ended, or SQLite cannot write.

    Attributes:
        url: The database.
        number: At which commit.
        after: Whether it was committed, and only the answer is lost.
    """

    url: str
    number: int
    after: bool

    def arrange(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """Wrap the commits of this process from now on; its calls are left alone."""
        numbers = itertools.count(1)

        def wrapped(commit: Callable[[], None], dialect: DefaultDialect, connection: Any) -> None:
            is_cut = next(numbers) == self.number
            if is_cut:
                say(f"reached {'after' if self.after else 'before'} COMMIT {self.number}")
            if is_cut and not self.after:
                self._cut(dialect, connection)
            commit()
            if is_cut and self.after:
                self._cut(dialect, connection)
                connection.cursor().execute("SELECT 1")  # finds out

        wrap_commits(wrapped)
        return say_nothing

    def _cut(self, dialect: DefaultDialect, connection: Any) -> None:
        if dialect.name == "sqlite":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        end_backend(self.url, connection.driver_connection.info.backend_pid)


def end_backend(url: str, pid: int) -> None:
    """End a server process of PostgreSQL, and wait until it has."""
    deadline = time.monotonic() + PATIENCE
    with psycopg.connect(plain(url), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", [pid])
        while connection.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone() is not None:
            assert time.monotonic() < deadline, f"server process {pid} does not end"
            time.sleep(0.002)


def plain(url: str) -> str:
    """A URL as PostgreSQL's own library takes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
