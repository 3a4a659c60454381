"""An SQLite file that is deleted or moved while it is in use."""

from __future__ import annotations

import os

from sqlalchemy import Engine

from rxpipe.database.engine import file_of, shown
from rxpipe.errors import SinkError


class OpenFile:
    """Notices that the path of a database leads to another file, or to none.

    SQLite itself goes on silently, in a file that nobody can find.
    """

    def __init__(self, engine: Engine) -> None:
        """Remember no file yet. If the database is no plain file, never remember one."""
        self._path = file_of(engine.url)
        self._shown = shown(engine)
        self._known: tuple[int, int] | None = None

    def check(self) -> None:
        """Remember the file at the first call. Later, check that it is the same file.

        Raises:
            SinkError: The path leads to another file, or to none.
        """
        if self._path is None:
            return
        found = _identity(self._path)
        if self._known is None:
            self._known = found
        elif found != self._known:
            raise SinkError(f"{self._shown} was deleted or moved while it was in use: nothing more is written to it")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
