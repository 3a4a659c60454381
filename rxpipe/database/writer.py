"""The writer: outcomes in, committed rows out, one batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeAlias

from sqlalchemy import URL, Connection, Engine, Table

from rxpipe.database.commit import Committer, Entry, Replace
from rxpipe.database.encoding import is_interrupt, one_line
from rxpipe.database.engine import begin, failed_to_open, open_engine
from rxpipe.database.mapping import ColumnMapping, RowFunction, function_row, table_of
from rxpipe.database.prepare import prepare
from rxpipe.database.refusal import RowRefused
from rxpipe.database.rows import Row, outcome_row, refused_row, statement_bytes
from rxpipe.database.table import default_table
from rxpipe.database.upsert import Upserts
from rxpipe.errors import ConfigError, SinkError
from rxpipe.outcome import Outcome

Make: TypeAlias = Callable[[Outcome[Any], datetime], Row | None]
Commit: TypeAlias = Callable[[Sequence[Entry], Replace], dict[int, RowRefused]]


class Writer:
    """Writes batches of outcomes into one table, each batch in one transaction.

    Writing the same outcomes again leaves the table as it is, so a batch whose commit was not answered is
    simply written again. The exception are tables without a primary key, and rows that leave theirs to the
    database: those are inserted once more.

    Not thread-safe: one thread at a time, though not always the same one.

    Args:
        database: An SQLAlchemy URL, or an engine, which stays open when the writer is closed. The driver is a
            synchronous one.
        table: A name, for the default table of that name (see ``default_table``); or a ``Table`` or a
            declarative class of the user's own. It is created if it is not there.
        row: Makes an outcome's row: a mapping by column names (of a class, also its attributes' names), or
            None to write nothing for this one, which counts as written. If not given, a table of the user's
            is filled by the names of its columns (see ``ColumnMapping``). Column defaults apply to columns
            that a row leaves out; ``onupdate`` does not apply: a row that is written again changes the
            columns that it has, no others.

    Raises:
        ConfigError: ``table`` or ``row`` is none of these. Nothing else is looked at before ``open``.
    """

    def __init__(
        self,
        database: str | URL | Engine,
        *,
        table: str | Table | type[Any] = "questions",
        row: RowFunction | None = None,
    ) -> None:
        if row is not None and not callable(row):
            raise ConfigError(f"row: a function of an outcome, not {row!r}")
        if isinstance(table, str) and not table.strip():
            raise ConfigError("table: a name, not an empty one")
        self._database = database
        self._is_default = isinstance(table, str)
        self._table, names = table_of(default_table(table) if isinstance(table, str) else table)
        self._make = self._maker(row, names)
        self._engine: Engine | None = None
        self._committer: Committer | None = None
        self._largest: int | None = None

    @property
    def table(self) -> Table:
        """The table written to."""
        return self._table

    @property
    def engine(self) -> Engine:
        """The engine, to read what was written.

        Raises:
            SinkError: The writer is not open.
        """
        if self._engine is None:
            raise SinkError("the writer is not open")
        return self._engine

    def open(self) -> None:
        """Connect, and see that the table is there and takes the rows; nothing if the writer is open already.

        Raises:
            SinkError: One of these cannot be, with the URL (no password) and the reason. Nothing was created.
        """
        if self._engine is not None:
            return
        engine = open_engine(self._database)
        try:
            prepared = prepare(engine, self._table, is_default=self._is_default)
        except BaseException as error:
            self._dispose(engine)
            if isinstance(error, SinkError) or not isinstance(error, Exception):
                raise
            raise failed_to_open(engine, error) from getattr(error, "orig", None) or error
        keys = [column.key for column in self._table.primary_key]
        upserts = Upserts(self._table, engine.dialect.name, portable=prepared.portable)
        self._committer = Committer(upserts, self._transaction, keys)
        self._engine, self._largest = engine, prepared.largest

    def write(self, batch: Sequence[Outcome[Any]]) -> list[RowRefused | None]:
        """Commit a batch.

        A row that cannot be made, or that the database refuses, is left out alone. In the default table a row
        without the value takes its place, failed, with the reason as its error, if that one can be written.

        Args:
            batch: The outcomes. Of two with the same ID the last one counts; both are committed.

        Returns:
            For each outcome None if its row is committed, else why it is not.

        Raises:
            SinkError: The writer is not open, or the database will not take any row however long one waits (a
                full disk, a read-only database, a table that is gone).
            Exception: ``is_transient`` of it is true, and nothing was committed (in the rare case of a
                constraint that is checked at the commit, part of the batch may be): write the batch again.
        """
        return self._write(batch, self._open_committer().commit)

    def write_in(self, connection: Connection, batch: Sequence[Outcome[Any]]) -> list[RowRefused | None]:
        """The same in a transaction of the caller's, on this writer's database, which commits it; see ``write``."""
        committer = self._open_committer()
        return self._write(batch, lambda entries, replace: committer.write_in(connection, entries, replace))

    def _open_committer(self) -> Committer:
        if self._committer is None:
            raise SinkError("the writer is not open")
        return self._committer

    def _write(self, batch: Sequence[Outcome[Any]], commit: Commit) -> list[RowRefused | None]:
        now = datetime.now(UTC)
        entries, unmade = self._entries(batch, now)
        unwritten = commit(entries, lambda index, reason: self._replacement(batch[index], reason, now))
        reasons = unwritten | unmade  # of a row in place of one that could not be made, the first reason counts
        return [reasons.get(index) for index in range(len(batch))]

    def close(self) -> None:
        """Close the connections, unless the engine was the user's; nothing if the writer is closed."""
        engine, self._engine, self._committer = self._engine, None, None
        if engine is not None:
            self._dispose(engine)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _maker(self, row: RowFunction | None, names: dict[str, str]) -> Make:
        if row is not None:
            return lambda outcome, _now: function_row(row, names, outcome)
        return outcome_row if self._is_default else ColumnMapping(self._table, names).row

    def _entries(self, batch: Sequence[Outcome[Any]], now: datetime) -> tuple[list[Entry], dict[int, RowRefused]]:
        """The rows to write, and why others cannot be made."""
        entries: list[Entry] = []
        refused: dict[int, RowRefused] = {}
        for index, outcome in enumerate(batch):
            try:
                row = self._make(outcome, now)
                if row is not None and self._largest is not None and statement_bytes(row) > self._largest:
                    raise RowRefused(f"the row has more than the {self._largest} bytes that the server takes")
            except BaseException as error:
                if is_interrupt(error):
                    raise
                refused[index] = reason = _as_refused(error)
                row = self._replacement(outcome, reason, now)
            if row is not None:
                entries.append((index, row))
        return entries, refused

    def _replacement(self, outcome: Outcome[Any], reason: RowRefused, now: datetime) -> Row | None:
        """The row in place of a refused one, in the default table."""
        if not self._is_default:
            return None
        try:
            return refused_row(outcome, reason, now)
        except BaseException as error:
            if is_interrupt(error):
                raise
            return None  # the ID itself is what cannot be written

    @contextmanager
    def _transaction(self) -> Generator[Connection]:
        with begin(self.engine) as connection:
            yield connection

    def _dispose(self, engine: Engine) -> None:
        if engine is not self._database:
            engine.dispose()


def _as_refused(error: BaseException) -> RowRefused:
    if isinstance(error, RowRefused):
        return error
    refused = RowRefused(f"the value cannot be written: {one_line(error)}")
    refused.__cause__ = error
    return refused
