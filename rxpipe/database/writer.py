"""The writer: takes outcomes and commits their rows, one batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias

from sqlalchemy import URL, Connection, Engine, Select, Table, delete, func, select
from sqlalchemy.exc import SQLAlchemyError

from rxpipe.database.commit_batch import Committer, Entry, Replace
from rxpipe.database.encoding import is_interrupt, one_line
from rxpipe.database.engine import SILENT_SECONDS, begin, failed_to_open, open_engine
from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.field_names import NoSuchField
from rxpipe.database.mapping import ColumnMapping, RowFunction, function_row, table_of
from rxpipe.database.prepare_table import prepare
from rxpipe.database.repeated_ids import RepeatedIds
from rxpipe.database.rows import Row, outcome_row, refused_row, removal, statement_bytes
from rxpipe.database.sqlite_file import OpenFile
from rxpipe.database.table import default_table
from rxpipe.database.table_owner import Owner, claim, make_owners, owner_of
from rxpipe.database.transaction_limit import TransactionLimit
from rxpipe.database.upsert import Upserts
from rxpipe.errors import ConfigError, SinkError
from rxpipe.identity import Identity
from rxpipe.pipeline.outcome import Outcome, Status

ROWS: tuple[Status, ...] = ("written", "failed", "cancelled")
Make: TypeAlias = Callable[[Outcome[Any], datetime], Row | None]
Commit: TypeAlias = Callable[[Sequence[Entry], Replace], dict[int, RowRefused]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A made row of an outcome.

    Attributes:
        outcome: The outcome.
        row: The row, as its writer takes it; a ``Removal`` to delete it; None to write nothing.
        refused: Why no row could be made of the outcome. ``row`` then replaces it, if there is one.
        at: When the row was made.
    """

    outcome: Outcome[Any]
    row: Any
    refused: RowRefused | None
    at: datetime


class Writer:
    """Writes batches of outcomes into one table, each batch in one transaction.

    Writing the same outcomes again leaves the table as it is. So a batch whose commit got no answer is simply written
    again. There are two exceptions, whose rows are inserted once more: tables without a primary key, and rows whose key
    the database makes.

    Not thread-safe: one thread at a time, though not always the same thread.

    Args:
        database: An SQLAlchemy URL with a synchronous driver, or an engine. An engine stays open when the writer is
            closed.
        table: A name, for the default table of that name (see ``default_table``); or the user's own ``Table`` or
            declarative class. It is created if it does not exist.
        row: Makes an outcome's row: a mapping by column names (for a class, attribute names work, too), or None to
            write nothing, which counts as written. Without it, a user's table is filled by the names of its columns
            (see ``ColumnMapping``). Defaults apply to columns that a row leaves out. ``onupdate`` does not apply: a row
            that is written again only changes the columns that it has.
        rows: The statuses of outcomes that have a row. In the default table, the earlier row of an item that ends
            otherwise is deleted.

    Raises:
        ConfigError: ``table`` or ``row`` is none of these. Everything else is checked by ``open``.
    """

    def __init__(
        self,
        database: str | URL | Engine,
        *,
        table: str | Table | type[Any] = "results",
        row: RowFunction | None = None,
        rows: Collection[Status] = ROWS,
    ) -> None:
        self._rows = frozenset(rows)
        if row is not None and not callable(row):
            raise ConfigError(f"row: a function of an outcome, not {row!r}")
        if isinstance(table, str) and not table.strip():
            raise ConfigError("table: a name, not an empty one")
        self._database = database
        self._is_default = isinstance(table, str)
        self._may_write_nothing = row is not None
        # Otherwise a row may exist before rxpipe fills some of its columns, and its key is not known.
        self._is_ours = self._is_default and row is None
        self._table, names = table_of(default_table(table) if isinstance(table, str) else table)
        self._make = self._maker(row, names)
        self._repeated = RepeatedIds(self._table)
        self._engine: Engine | None = None
        self._committer: Committer | None = None
        self._largest: int | None = None
        self._check: Callable[[], object] = lambda: None
        self._has_owners = False
        self._stale: Owner | None = None
        self._transaction_limit: TransactionLimit | None = None

    @property
    def table(self) -> Table:
        """The table that the writer fills."""
        return self._table

    @property
    def place(self) -> str:
        """The table's name."""
        return str(self._table.fullname)

    @property
    def engine(self) -> Engine:
        """The engine, to read what was written.

        Raises:
            SinkError: The writer is not open.
        """
        if self._engine is None:
            raise SinkError("the writer is not open")
        return self._engine

    def open(self, *, owned: bool = False) -> None:
        """Connect, and make or check the table. Does nothing if the writer is open.

        Args:
            owned: True if a pipeline will ``claim`` the table.

        Raises:
            SinkError: The connection or the table failed, with the URL (without password) and the reason. Nothing was
                created.
        """
        if self._engine is not None:
            return
        engine = open_engine(self._database)
        limit = TransactionLimit(engine, is_ours=engine is not self._database)  # before the first connection
        try:
            prepared = prepare(engine, self._table, is_default=self._is_default)
            self._has_owners = prepared.has_owners or (owned and make_owners(engine))
        except BaseException as error:
            self._dispose(engine)
            if isinstance(error, SinkError) or not isinstance(error, Exception):
                raise
            raise failed_to_open(engine, error) from getattr(error, "orig", None) or error
        keys = [column.key for column in self._table.primary_key]
        upserts = Upserts(self._table, engine.dialect.name, portable=prepared.portable, is_plain=self._is_ours)
        self._committer = Committer(upserts, self._transaction, keys)
        self._engine, self._transaction_limit = engine, limit
        self._largest, self._stale = prepared.largest, prepared.stale
        self._check = OpenFile(engine).check
        self._check()

    def claim(self, connection: Connection, pipeline: Identity | None, *, replace: bool, by_name: bool = False) -> None:
        """Give the table to a pipeline, in the caller's transaction; see ``table_owner.claim``.

        Raises:
            OtherPipeline: The table belongs to another pipeline.
        """
        if self._has_owners:
            table = self._table.fullname
            claim(connection, table, pipeline, replace=replace, by_name=by_name, stale=self._stale)

    def owner(self, connection: Connection) -> Owner | None:
        """Returns the pipeline that the table belongs to, if it is known."""
        return owner_of(connection, self._table.fullname) if self._has_owners else None

    def claim_alone(self, pipeline: Identity | None, *, replace: bool) -> None:
        """Give the table to a pipeline in a transaction of its own. If nothing changes, it waits for no lock.

        Raises:
            OtherPipeline: The table belongs to another pipeline.
            SinkError: The database cannot be read or written.
        """
        engine = self.engine
        try:
            with engine.connect() as connection:
                if pipeline is None:
                    self.claim(connection, pipeline, replace=replace)
                    return
                if self.owner(connection) == Owner.of(pipeline):
                    return
            with begin(engine) as connection:
                self.claim(connection, pipeline, replace=replace)
        except SQLAlchemyError as error:
            raise failed_to_open(engine, error) from getattr(error, "orig", None) or error

    def write(self, batch: Sequence[Outcome[Any]]) -> list[RowRefused | None]:
        """Commit a batch.

        A row that cannot be made, or that the database refuses, is left out alone. In the default table, a failed row
        without the value replaces it, with the reason as its error, if that row can be written.

        Args:
            batch: The outcomes. Of two with the same ID the last one counts; both are committed.

        Returns:
            For each outcome None if its row is committed, otherwise the reason why not.

        Raises:
            SinkError: The writer is not open, or the database takes no rows and waiting does not help (a full disk, a
                read-only database, a table that is gone).
            Exception: ``is_transient`` of it is true, and nothing was committed: write the batch again. In the rare
                case of a constraint that is checked at the commit, part of the batch may be committed.
        """
        made, committer = self.make(batch), self._open_committer()
        if not self._is_ours or not made:
            return self._write(made, committer.commit)
        keys = [one.row["id"] for one in made if one.row is not None]
        repeated = self._repeated.of(keys, made[0].at)
        refused = self._write(made, partial(committer.commit, look=repeated.look))
        repeated.committed()
        return refused

    def count_missing(self, connection: Connection, written: int) -> int:
        """Returns how many rows are missing at least, if ``written`` items were written.

        A row function may write fewer.
        """
        there = connection.execute(select(func.count()).select_from(self._table)).scalar_one()
        return max(0, written - there) if there == 0 or not self._may_write_nothing else 0

    def make(self, batch: Sequence[Outcome[Any]]) -> list[Made]:
        """Make the outcomes' rows. This calls the user's code: hold no lock and no transaction meanwhile."""
        now = datetime.now(UTC)
        return [self._made(outcome, now) for outcome in batch]

    def write_in(self, connection: Connection, batch: Sequence[Made]) -> list[RowRefused | None]:
        """Write rows in the caller's transaction, on this writer's database; see ``write``. The caller commits it."""
        committer = self._open_committer()
        return self._write(batch, lambda entries, replace: committer.write_in(connection, entries, replace))

    def forget(self, connection: Connection, keys: Select[tuple[str]]) -> None:
        """Delete the rows of deleted items, in the caller's transaction. Applies to the default table only."""
        if self._is_ours:
            (key,) = self._table.primary_key
            connection.execute(delete(self._table).where(key.in_(keys)))

    def release(self, connection: Connection) -> None:
        """Does nothing: for a table, nothing is left to do after the last row."""

    def _open_committer(self) -> Committer:
        if self._committer is None:
            raise SinkError("the writer is not open")
        return self._committer

    def _write(self, batch: Sequence[Made], commit: Commit) -> list[RowRefused | None]:
        entries = [(index, made.row) for index, made in enumerate(batch) if made.row is not None]
        unwritten = commit(
            entries, lambda index, reason: self._replacement(batch[index].outcome, reason, batch[index].at)
        )
        # If a replacement is refused, too, the first reason counts.
        return [made.refused or unwritten.get(index) for index, made in enumerate(batch)]

    def end_within(self, seconds: float) -> None:
        """End the current transaction within ``seconds``, even if the server does not answer. Blocks nobody."""
        if self._transaction_limit is not None:
            self._transaction_limit.end_within(seconds)

    def close(self) -> None:
        """Close the connections, unless the engine is the user's. Does nothing if the writer is closed."""
        engine, self._engine, self._committer = self._engine, None, None
        if engine is not None:
            self._repeated.tell()
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

    def _made(self, outcome: Outcome[Any], now: datetime) -> Made:
        if outcome.status not in self._rows:
            gone = removal(outcome) if self._is_ours else None
            return Made(outcome=outcome, row=gone, refused=None, at=now)
        try:
            row = self._make(outcome, now)
            if row is not None and self._largest is not None and statement_bytes(row) > self._largest:
                raise RowRefused(f"the row has more than the {self._largest} bytes that the server takes")
        except NoSuchField:
            raise
        except BaseException as error:
            if is_interrupt(error):
                raise
            refused = as_refused(error)
            return Made(outcome=outcome, row=self._replacement(outcome, refused, now), refused=refused, at=now)
        return Made(outcome=outcome, row=row, refused=None, at=now)

    def _replacement(self, outcome: Outcome[Any], reason: RowRefused, now: datetime) -> Row | None:
        """Returns the row that replaces a refused one, in the default table."""
        if not self._is_default:
            return None
        try:
            return refused_row(outcome, reason, now)
        except BaseException as error:
            if is_interrupt(error):
                raise
            return None  # the ID itself cannot be written

    @contextmanager
    def _transaction(self) -> Generator[Connection]:
        engine, limit = self.engine, self._transaction_limit
        assert limit is not None, "it is open with the engine"
        with limit.limited(SILENT_SECONDS), begin(engine, self._check) as connection, limit.using(connection):
            yield connection

    def _dispose(self, engine: Engine) -> None:
        if engine is not self._database:
            engine.dispose()


def as_refused(error: BaseException) -> RowRefused:
    """Returns why no row could be made of an outcome."""
    if isinstance(error, RowRefused):
        return error
    refused = RowRefused(f"the value cannot be written: {one_line(error)}")
    refused.__cause__ = error
    return refused
