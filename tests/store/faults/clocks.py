"""Databases whose clock can be set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from servers import execute
from sqlalchemy import Engine, event, make_url

from .places import Place, text_of, with_search_path
from .points import say_nothing


class Clock(Protocol):
    """A clock that can be set."""

    def shift(self, seconds: float) -> None:
        """Let it be so much ahead of the true one."""
        ...


class PostgresClock:
    """PostgreSQL's ``clock_timestamp``, hidden behind one of the same name that goes by a table.

    Attributes:
        place: Where sessions see it.
    """

    def __init__(self, place: Place, schema: str) -> None:
        """Make it, in the schema of a place."""
        self._table = f"{schema}.clock"
        self._url = place.url
        execute(
            place.url,
            f"CREATE TABLE {self._table} AS SELECT 0.0 AS seconds",
            f"CREATE FUNCTION {schema}.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
            f"'SELECT pg_catalog.clock_timestamp() + make_interval(secs => seconds) FROM {self._table}'",
        )
        shown = with_search_path(make_url(place.url), f"{schema},pg_catalog")
        self.place = Place(text_of(shown), place.directory)

    def shift(self, seconds: float) -> None:
        """Let it be so much ahead of the true one."""
        execute(self._url, f"UPDATE {self._table} SET seconds = {seconds}")


@dataclass(frozen=True)
class SqliteClock:
    """SQLite's ``julianday``, of the connections of a process that arranges for it.

    Attributes:
        path: A file with the seconds by which it is ahead of the true one.
    """

    path: str

    def shift(self, seconds: float) -> None:
        """Let it be so much ahead of the true one."""
        new = Path(f"{self.path}.new")
        new.write_text(str(seconds))
        new.replace(self.path)  # at once, for those that read it

    def arrange(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """Let all connections that this process makes go by it."""

        def julianday(_when: str) -> float:
            return 2440587.5 + (time.time() + float(Path(self.path).read_text())) / 86400

        def connected(connection: Any, _record: Any) -> None:
            connection.create_function("julianday", 1, julianday)

        event.listen(Engine, "connect", connected)
        return say_nothing
