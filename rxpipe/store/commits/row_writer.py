"""The interface that a run store needs of a sink: a writer of rows in the store's own transactions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from sqlalchemy import URL, Connection, Engine, Select

from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.table_owner import Owner
from rxpipe.database.writer import Made
from rxpipe.identity import Identity
from rxpipe.operators import Retry
from rxpipe.pipeline.outcome import Outcome

Forget: TypeAlias = Callable[[Connection, Select[tuple[str]]], object]
"""``RowWriter.forget``."""


class Rows(Protocol):
    """Writes the rows of a batch."""

    def make(self, batch: Sequence[Outcome[Any]]) -> list[Made]:
        """Make the rows of outcomes. Calls the user's code."""
        ...

    def write_in(self, connection: Connection, batch: Sequence[Made]) -> list[RowRefused | None]:
        """Write rows in the connection's transaction. Returns why each row was refused, or None.

        Rows that go elsewhere than into the database count only if the transaction is committed.
        """
        ...

    def release(self, connection: Connection) -> None:
        """Record in the connection's transaction that this worker writes nothing more.

        The transaction may be tried again.
        """
        ...


class RowWriter(Rows, Protocol):
    """An open writer: see ``database/writer.py`` and ``files/line_writer.py``."""

    @property
    def place(self) -> str:
        """The name of the table or the file that has the rows."""
        ...

    def claim(self, connection: Connection, pipeline: Identity, *, replace: bool, by_name: bool = False) -> None:
        """Give the place to a pipeline, and check that nobody has changed it since the last run.

        Args:
            connection: In a transaction, which keeps the change.
            pipeline: The pipeline.
            replace: Take the place from another pipeline.
            by_name: Treat a pipeline of the same name as the same pipeline, whatever its stages.

        Raises:
            OtherPipeline: The place belongs to another pipeline.
            StoreError: The place has changed since the last run.
        """
        ...

    def owner(self, connection: Connection) -> Owner | None:
        """Returns the pipeline that the place belongs to, if it is known."""
        ...

    def forget(self, connection: Connection, keys: Select[tuple[str]]) -> None:
        """Delete the rows of deleted items, where rows can be deleted.

        Args:
            connection: In a transaction of the store.
            keys: The keys of the items.
        """
        ...

    def count_missing(self, connection: Connection, written: int) -> int:
        """Returns how many rows are missing at least, if ``written`` items were written."""
        ...

    def close(self) -> None:
        """Close everything that was opened, except the store's engine."""
        ...


@runtime_checkable
class StoreSink(Protocol):
    """A sink whose rows a store commits with the items: ``DatabaseSink``, ``JsonLinesSink``.

    Attributes:
        replace: True if the sink may overwrite rows of another pipeline.
        max_items: Most rows in one transaction.
        max_seconds: Seconds that a row may wait for others to share its transaction.
        retry: How long to try while nothing can be written.
    """

    replace: bool
    max_items: int
    max_seconds: float
    retry: Retry

    def store_database(self, given: str | URL | Engine | None) -> str | URL | Engine:
        """Returns the database of a store beside this sink.

        Args:
            given: The database that the store was given, if any.

        Raises:
            ConfigError: The database and the sink do not go together.
        """
        ...

    def writer_on(self, database: Engine, *, owned: bool = False) -> RowWriter:
        """Returns an open writer for transactions on the store's database.

        With ``owned``, a pipeline will claim its place.

        Raises:
            SinkError: Nothing can be written.
        """
        ...
