"""``DatabaseSink``: takes outcomes, commits their rows in the background, and emits the outcomes once they are safe."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any, get_args

import structlog
from reactivex.abc import ObserverBase
from reactivex.subject import Subject
from sqlalchemy import URL, Engine, Table

from rxpipe.database.engine import is_same, shown
from rxpipe.database.mapping import RowFunction
from rxpipe.database.outage import AWAY
from rxpipe.database.rows import fields_of
from rxpipe.database.write_operator import Writing
from rxpipe.database.writer import ROWS, Writer
from rxpipe.errors import ConfigError, SinkError
from rxpipe.identity import Identity
from rxpipe.log_values import say
from rxpipe.operators import Retry, batch
from rxpipe.operators.core.clock import running_loop
from rxpipe.operators.core.gate import announcing
from rxpipe.pipeline.outcome import Outcome, Status
from rxpipe.pipeline.ports import Write

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class DatabaseSink(ObserverBase[Any]):
    """Writes each outcome as a row of a table. One writer groups rows into transactions.

    ::

        Pipeline(*stages, sink=DatabaseSink("sqlite:///questions.db"))

    - A row is committed within ``max_seconds`` plus the time of the commit. Rows that arrive meanwhile share the next
      transaction.
    - Rows are upserted by primary key, so a second run of an ID updates its row.
    - While the database is away, the same rows are tried again with backoff, and new rows wait.
    - If the database refuses a row, only the item of that row fails.

    The sink is also an observer, and can end one chain: ``chain.subscribe(sink)`` writes the values that the chain
    emits, each by its ``id``. The transactions go on after the chain has completed, until ``finished`` resolves.
    ``chain.pipe(sink.open())`` does the same as part of a chain, and makes the source wait without blocking a thread.

    Attributes:
        database: The database.
        table: The table's name.
        replace: True if the sink may overwrite rows of another pipeline.
        max_items: Most rows in one transaction.
        max_seconds: Seconds that a row may wait for others to share its transaction.
        retry: How long to try while the database is away.
        finished: For use as an observer: resolves once everything is committed, or raises the error.
    """

    def __init__(
        self,
        database: str | URL | Engine,
        *,
        table: str | Table | type[Any] = "results",
        row: RowFunction | None = None,
        rows: Collection[Status] = ROWS,
        replace: bool = False,
        max_items: int = 500,
        max_seconds: float = 0.05,
        retry: Retry = AWAY,
    ) -> None:
        """Describe a sink; nothing is opened yet.

        Args:
            database: An SQLAlchemy URL or an engine. An engine is not closed.
            table: The name of a table that rxpipe makes, or your own ``Table`` or ORM class.
            row: A function that makes a row of your table from an outcome: a mapping from column names.
            rows: The statuses of items that have a row. Add ``dropped``, ``expanded`` or ``collected`` to see those
                items, too.
            replace: Write into a table that belongs to another pipeline, and overwrite its rows of the same IDs.
            max_items: Most rows in one transaction.
            max_seconds: Seconds that a row may wait for others to share its transaction.
            retry: How long to try while the database is away; a minute by default.

        Raises:
            ConfigError: ``table`` or ``row`` cannot be used.
            ValueError: A number is out of range, or ``rows`` has an unknown status.
        """
        if unknown := set(rows) - set(get_args(Status)):
            raise ValueError(f"rows must be of {', '.join(get_args(Status))}, not {', '.join(sorted(unknown))}")
        self.database = database
        self.replace = replace
        self.max_items = max_items
        self.max_seconds = max_seconds
        self.retry = retry
        self._writer_of: Callable[[str | URL | Engine], Writer] = lambda place: Writer(
            place, table=table, row=row, rows=rows
        )
        self.table = self._writer_of(database).table.fullname
        self._batches = batch(max_items, max_seconds)
        self._needs_ids = isinstance(table, str) and row is None
        self._most = 2 * max_items
        self._held = 0
        self._changed = threading.Condition()
        self._incoming: Subject[Outcome[Any]] | None = None
        self._ended = False
        self._warned = False
        self.finished: Future[None] = Future()
        self.finished.set_running_or_notify_cancel()  # a caller that waits for it with a timeout must not cancel it

    def open(self) -> Write:
        """Connect, make or check the table, and return the operator that writes outcomes.

        Returns:
            An operator. It emits each outcome once its row is committed, in order; as ``failed`` if its row was
            refused. When its source fails, it first writes what has arrived. It holds at most ``2 * max_items``
            uncommitted rows. You may subscribe to it again when it has ended.

        Raises:
            OtherPipeline: The table belongs to a pipeline, and ``replace`` is not set.
            SinkError: The database cannot be opened; nothing was written.
        """
        return self._open(None)

    def open_for(self, pipeline: Identity) -> Write:
        """Returns the operator for a pipeline, which owns the table from then on; see ``open``."""
        return self._open(pipeline)

    def _open(self, pipeline: Identity | None) -> Write:
        writer = self.writer_on(self.database, owned=pipeline is not None)
        try:
            writer.claim_alone(pipeline, replace=self.replace)
        except BaseException:
            writer.close()
            raise

        return Writing(writer, self._batches, self.retry)

    def store_database(self, given: str | URL | Engine | None) -> str | URL | Engine:
        """Returns the database of a run store beside this sink: the sink's own database.

        Args:
            given: The database that the store was given, if any.

        Raises:
            ConfigError: The store was given another database.
        """
        if given is not None and given is not self.database and not is_same(given, self.database):
            raise ConfigError(
                f"store: its database, {shown(given)}, is not the sink's, {shown(self.database)}; "
                "an item and its row are committed together, so leave the store's out"
            )
        return self.database

    def writer_on(self, database: str | URL | Engine, *, owned: bool = False) -> Writer:
        """Returns an open writer of the same rows, on the given database.

        If ``owned``, a pipeline will claim its table.

        Raises:
            SinkError: The database cannot be opened.
        """
        writer = self._writer_of(database)
        writer.open(owned=owned)
        return writer

    # As an observer at the end of any chain

    def on_next(self, value: Any) -> None:
        """Take a value. Blocks while the writer is behind, except on an event loop, which must not be blocked.

        A value without an ``id`` is refused, unless your own table or ``row`` needs none.

        Raises:
            SinkError: The database cannot be opened or stayed away, or the sink was used before.
        """
        incoming = self._begun()
        outcome = _outcome_of(value)
        if outcome.id is None and self._needs_ids:  # pyright: ignore[reportUnnecessaryComparison] - see _outcome_of
            _log.warning("row refused", id=None, error="a value must have an id, as a key or as an attribute")
        else:
            self._take_place()
            incoming.on_next(outcome)

    def on_error(self, error: Exception) -> None:
        """Commit what has arrived, then make ``finished`` raise the error."""
        self._end(error)

    def on_completed(self) -> None:
        """Commit what has arrived, then resolve ``finished``."""
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._ended or self.finished.done():
            return
        try:
            incoming = self._begun()
        except SinkError:
            return  # the database cannot be opened; finished raises the error
        self._ended = True
        incoming.on_completed() if error is None else incoming.on_error(error)

    def _begun(self) -> Subject[Outcome[Any]]:
        """Returns the subject that takes values. Opens the database for the first value."""
        if self._ended or self.finished.done():
            error = self.finished.exception() if self.finished.done() else None
            raise error or SinkError("this sink has ended: every chain needs one of its own")
        if self._incoming is None:
            incoming = Subject[Outcome[Any]]()
            try:
                with announcing(None):  # the chain that is being subscribed to has gates of its own
                    incoming.pipe(self.open()).subscribe(self._written, self._finish, self._finish)
            except BaseException as error:
                self.finished.set_exception(error)
                raise
            self._incoming = incoming
        return self._incoming

    def _take_place(self) -> None:
        warn = False
        with self._changed:
            if self._held >= self._most and running_loop() is not None:
                warn, self._warned = not self._warned, True
            else:
                self._changed.wait_for(lambda: self._held < self._most or self.finished.done())
            self._held += 1
        if warn:
            _log.warning("sink is behind, its rows queue without bound", hint="use chain.pipe(sink.open())")
        if self.finished.done():
            self._begun()  # raises the reason

    def _written(self, outcome: Outcome[Any]) -> None:
        with self._changed:
            self._held -= 1
            self._changed.notify()
        if outcome.status == "failed" and outcome.stage == "database" and outcome.error is not None:
            say(_log.warning, "row refused", id=outcome.id, error=outcome.error)

    def _finish(self, error: Exception | None = None) -> None:
        with self._changed:
            if error is None:
                self.finished.set_result(None)
            else:
                self.finished.set_exception(error)
            self._changed.notify_all()


def _outcome_of(value: Any) -> Outcome[Any]:
    """Returns a value of a plain chain as an outcome, with the value's own ``id``."""
    if isinstance(value, Outcome):
        return value  # pyright: ignore[reportUnknownVariableType] - an outcome of anything
    item_id = fields_of(value)("id", None)
    return Outcome(id=item_id, status="written", value=value, error=None, stage=None, attempts=1, seconds=0.0)
