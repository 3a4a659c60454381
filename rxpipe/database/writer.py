"""The writer: outcomes in, committed rows out, one batch at a time."""

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
    """What is to be written for an outcome.

    Attributes:
        outcome: The outcome.
        row: Its row, as its writer takes it; a ``Removal`` to delete it; None to write nothing.
        refused: Why no row could be made of it; then ``row`` takes its place, if there is one.
        at: When it was made.
    """

    outcome: Outcome[Any]
    row: Any
    refused: RowRefused | None
    at: datetime


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
        rows: Outcomes of which status have a row. In the default table, the row that an item has from before is
            deleted when it ends otherwise.

    Raises:
        ConfigError: ``table`` or ``row`` is none of these. Nothing else is looked at before ``open``.
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
        # Else a row may have been there before rxpipe filled some of its columns, and its key is not known.
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
        """The table written to."""
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
        """Connect, and see that the table is there and takes the rows; nothing if the writer is open already.

        Args:
            owned: Whether a pipeline will ``claim`` the table.

        Raises:
            SinkError: One of these cannot be, with the URL (no password) and the reason. Nothing was created.
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
        """Make the table a pipeline's own, in a transaction of the caller's; see ``owner.claim``.

        Raises:
            OtherPipeline: It belongs to another pipeline.
        """
        if self._has_owners:
            table = self._table.fullname
            claim(connection, table, pipeline, replace=replace, by_name=by_name, stale=self._stale)

    def owner(self, connection: Connection) -> Owner | None:
        """The pipeline that the table belongs to, if that is known."""
        return owner_of(connection, self._table.fullname) if self._has_owners else None

    def claim_alone(self, pipeline: Identity | None, *, replace: bool) -> None:
        """The same in a transaction of its own; where nothing is to be written, it waits for no lock.

        Raises:
            OtherPipeline: It belongs to another pipeline.
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
        made, committer = self.make(batch), self._open_committer()
        if not self._is_ours or not made:
            return self._write(made, committer.commit)
        keys = [one.row["id"] for one in made if one.row is not None]
        repeated = self._repeated.of(keys, made[0].at)
        refused = self._write(made, partial(committer.commit, look=repeated.look))
        repeated.committed()
        return refused

    def count_missing(self, connection: Connection, written: int) -> int:
        """How many rows of so many written items are missing, at the least; a row function may write fewer."""
        there = connection.execute(select(func.count()).select_from(self._table)).scalar_one()
        return max(0, written - there) if there == 0 or not self._may_write_nothing else 0

    def make(self, batch: Sequence[Outcome[Any]]) -> list[Made]:
        """Make the outcomes' rows. This calls the user's code: hold no lock and no transaction meanwhile."""
        now = datetime.now(UTC)
        return [self._made(outcome, now) for outcome in batch]

    def write_in(self, connection: Connection, batch: Sequence[Made]) -> list[RowRefused | None]:
        """Write rows in a transaction of the caller's, on this writer's database, which commits it; see ``write``."""
        committer = self._open_committer()
        return self._write(batch, lambda entries, replace: committer.write_in(connection, entries, replace))

    def forget(self, connection: Connection, keys: Select[tuple[str]]) -> None:
        """Delete the rows of items that are there no more, in a transaction of the caller's; in the default table."""
        if self._is_ours:
            (key,) = self._table.primary_key
            connection.execute(delete(self._table).where(key.in_(keys)))

    def release(self, connection: Connection) -> None:
        """Nothing more is written: for a table there is nothing to do."""

    def _open_committer(self) -> Committer:
        if self._committer is None:
            raise SinkError("the writer is not open")
        return self._committer

    def _write(self, batch: Sequence[Made], commit: Commit) -> list[RowRefused | None]:
        entries = [(index, made.row) for index, made in enumerate(batch) if made.row is not None]
        unwritten = commit(
            entries, lambda index, reason: self._replacement(batch[index].outcome, reason, batch[index].at)
        )
        # Of a row in place of one that could not be made, the first reason counts.
        return [made.refused or unwritten.get(index) for index, made in enumerate(batch)]

    def end_within(self, seconds: float) -> None:
        """Let the transaction at work end by then, whether the server answers or not; blocks nobody."""
        if self._transaction_limit is not None:
            self._transaction_limit.end_within(seconds)

    def close(self) -> None:
        """Close the connections, unless the engine was the user's; nothing if the writer is closed."""
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
        engine, limit = self.engine, self._transaction_limit
        assert limit is not None, "it is open with the engine"
        with limit.limited(SILENT_SECONDS), begin(engine, self._check) as connection, limit.using(connection):
            yield connection

    def _dispose(self, engine: Engine) -> None:
        if engine is not self._database:
            engine.dispose()


def as_refused(error: BaseException) -> RowRefused:
    """Why no row could be made of an outcome."""
    if isinstance(error, RowRefused):
        return error
    refused = RowRefused(f"the value cannot be written: {one_line(error)}")
    refused.__cause__ = error
    return refused
