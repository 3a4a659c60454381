"""What a run store asks of a sink: a writer that writes rows in the store's own transactions."""

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
    """What writes the rows of a batch."""

    def make(self, batch: Sequence[Outcome[Any]]) -> list[Made]:
        """Make the outcomes' rows, which calls the user's code."""
        ...

    def write_in(self, connection: Connection, batch: Sequence[Made]) -> list[RowRefused | None]:
        """Write rows in the connection's transaction, and tell which were refused, and why.

        What is written elsewhere than in the database counts only if the transaction is committed.
        """
        ...

    def release(self, connection: Connection) -> None:
        """This worker writes nothing more; in the connection's transaction, which may be tried again."""
        ...


class RowWriter(Rows, Protocol):
    """An open writer: see ``database/writer.py`` and ``files/line_writer.py``."""

    @property
    def place(self) -> str:
        """The name of the table or the file that the rows are in."""
        ...

    def claim(self, connection: Connection, pipeline: Identity, *, replace: bool, by_name: bool = False) -> None:
        """Make the place a pipeline's own, and see that it is as it was left.

        Args:
            connection: In a transaction, which keeps it.
            pipeline: The pipeline.
            replace: Take it from another pipeline.
            by_name: Take a pipeline of the same name for the same, whatever its stages.

        Raises:
            OtherPipeline: It belongs to another pipeline.
            StoreError: It is not as it was left.
        """
        ...

    def owner(self, connection: Connection) -> Owner | None:
        """The pipeline that the place belongs to, if that is known."""
        ...

    def forget(self, connection: Connection, keys: Select[tuple[str]]) -> None:
        """Delete the rows of items that are there no more, where rows can be deleted.

        Args:
            connection: In a transaction of the store's.
            keys: The items'.
        """
        ...

    def count_missing(self, connection: Connection, written: int) -> int:
        """How many rows of so many written items are missing, at the least."""
        ...

    def close(self) -> None:
        """Close what was opened, but for the store's engine."""
        ...


@runtime_checkable
class StoreSink(Protocol):
    """A sink whose rows a store commits with the items: ``DatabaseSink``, ``JsonLinesSink``.

    Attributes:
        replace: Whether it may write where another pipeline has.
        max_items: Rows in one transaction, at most.
        max_seconds: How long a row may wait for others to share its transaction.
        retry: How long to try while nothing can be written.
    """

    replace: bool
    max_items: int
    max_seconds: float
    retry: Retry

    def store_database(self, given: str | URL | Engine | None) -> str | URL | Engine:
        """The database of a store beside this sink.

        Args:
            given: The database that the store was given, if any.

        Raises:
            ConfigError: The two do not go together.
        """
        ...

    def writer_on(self, database: Engine, *, owned: bool = False) -> RowWriter:
        """An open writer for transactions on the store's database; a pipeline's, if ``owned``.

        Raises:
            SinkError: Nothing can be written.
        """
        ...
