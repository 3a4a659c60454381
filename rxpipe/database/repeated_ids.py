"""Warns of IDs that come more than once in a run without a store. Of their rows, the last one counts.

This keeps no IDs in memory: it asks the table which of a batch's rows were written since the writer was made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

import structlog
from sqlalchemy import Connection, Table, func, select

_CHUNK = 500  # keys in one statement

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class RepeatedIds:
    """Counts rows of the default table that replaced earlier rows of the same writer."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._first: datetime | None = None  # when the first batch was made
        self._keys: list[str] = []
        self._found = self._count = 0
        self._example: str | None = None
        self._is_again = self._is_any = False

    def of(self, keys: Iterable[str], at: datetime) -> RepeatedIds:
        """Begin with a batch of rows, which have these keys and were made at this time."""
        self._first = self._first or at
        self._is_again, self._found = bool(self._keys), 0  # a failed batch may have been committed
        self._keys = list(keys)
        return self

    def look(self, connection: Connection) -> None:
        """Count the rows of the batch that exist already."""
        times = Counter(self._keys)
        self._found = len(self._keys) - len(times)
        example = times.most_common(1)[0][0] if self._found else None
        unique, key, at = list(times), self._table.c.id, self._table.c.updated_at
        for first in range(0, len(unique), _CHUNK) if self._is_any else ():
            some = unique[first : first + _CHUNK]
            query = select(func.count(), func.min(key)).where(key.in_(some), at >= self._first)
            count, there = connection.execute(query).one()
            self._found, example = self._found + count, example or there
        self._example = self._example or example

    def committed(self) -> None:
        """The batch is committed."""
        if not self._is_again:
            self._count += self._found
        self._keys, self._is_any = [], True

    def tell(self) -> None:
        """Log how many rows were replaced."""
        if self._count:
            _log.warning(
                "IDs came more than once: each was worked on again, and of their rows the last one was kept",
                rows=self._count,
                id=self._example,
                hint="give each item an ID of its own; with a run store an ID is worked on once",
            )
        self._count, self._first, self._example, self._is_any = 0, None, None, False
