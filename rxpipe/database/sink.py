"""``DatabaseSink``: outcomes in, rows committed in the background, outcomes out once they are safe."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import reactivex
import structlog
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.subject import Subject
from sqlalchemy import URL, Engine, Table

from rxpipe.database.encoding import one_line
from rxpipe.database.mapping import RowFunction
from rxpipe.database.refusal import is_transient
from rxpipe.database.rows import fields_of
from rxpipe.database.writer import Writer
from rxpipe.errors import SinkError
from rxpipe.operators import Retry, batch, stage, unbatch
from rxpipe.operators.clock import running_loop
from rxpipe.operators.errors import describe
from rxpipe.outcome import Outcome
from rxpipe.run import Write

AWAY = Retry(max_attempts=18, initial=0.1, max_delay=5.0, retry_on=is_transient)

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class DatabaseSink(ObserverBase[Any]):
    """Writes outcomes into a table, a row each, by one writer that groups rows into transactions.

    ::

        Pipeline(*stages, sink=DatabaseSink("sqlite:///questions.db"))

    A row is committed within ``max_seconds`` and the time that the commit takes; rows that arrive meanwhile go
    together. Rows are upserted by primary key, so that a second run of an ID updates its row. While the database is
    away, the same rows are tried again with backoff, and what comes waits. A row that the database refuses fails
    alone.

    It is also an observer, and can end any chain: ``chain.subscribe(sink)`` writes what the chain emits; the
    transactions go on after the chain has completed, until ``finished`` resolves. ``chain.pipe(sink.open())`` does
    the same as part of a chain, and has the source wait without blocking a thread.

    Attributes:
        finished: As an observer: resolves once everything is committed, or raises what went wrong.
    """

    def __init__(
        self,
        database: str | URL | Engine,
        *,
        table: str | Table | type[Any] = "questions",
        row: RowFunction | None = None,
        max_items: int = 500,
        max_seconds: float = 0.05,
        retry: Retry = AWAY,
    ) -> None:
        """Describe a sink; nothing is opened yet.

        Args:
            database: An SQLAlchemy URL, or an engine, which stays its owner's.
            table: The name of a table that rxpipe makes, or the user's own ``Table`` or ORM class.
            row: Makes a row of the user's table from an outcome: a mapping from column names.
            max_items: Rows in one transaction, at most.
            max_seconds: How long a row may wait for others to share its transaction.
            retry: How long to try while the database is away; a minute by default.

        Raises:
            ConfigError: ``table`` or ``row`` cannot be used.
        """
        self._writer_of = lambda: Writer(database, table=table, row=row)
        self._writer_of()
        self._max_items = max_items
        self._max_seconds = max_seconds
        self._retry = retry
        self._room = threading.Semaphore(2 * max_items)
        self._incoming: Subject[Outcome[Any]] | None = None
        self.finished: Future[None] = Future()

    def open(self) -> Write:
        """Connect, see to the table, and give the operator that writes outcomes.

        Returns:
            An operator: each outcome comes out once its row is committed, in order; as ``failed`` if its row was
            refused. When its source fails, what has arrived is written first. It holds ``2 * max_items`` at most.

        Raises:
            SinkError: The database cannot be opened; nothing was written.
        """
        writer = self._writer_of()
        writer.open()

        def write(outcomes: Observable[Outcome[Any]]) -> Observable[Outcome[Any]]:
            def subscribe(
                observer: ObserverBase[Outcome[Any]], scheduler: SchedulerBase | None = None
            ) -> DisposableBase:
                failure: Exception | None = None

                def hold(held: ObserverBase[Outcome[Any]], scheduler: SchedulerBase | None = None) -> DisposableBase:
                    def fail(error: Exception) -> None:
                        nonlocal failure
                        failure = error
                        held.on_completed()

                    return outcomes.subscribe(held.on_next, fail, held.on_completed, scheduler=scheduler)

                def on_error(error: Exception) -> None:
                    writer.close()
                    observer.on_error(_as_sink_error(error))

                def on_completed() -> None:
                    writer.close()
                    observer.on_completed() if failure is None else observer.on_error(failure)

                written = reactivex.create(hold).pipe(
                    batch(self._max_items, self._max_seconds),
                    stage(_committing(writer), name="database", queue_size=0, retry=self._retry),
                    unbatch(),
                )
                return written.subscribe(observer.on_next, on_error, on_completed, scheduler=scheduler)

            return reactivex.create(subscribe)

        return write

    # As an observer at the end of any chain

    def on_next(self, value: Any) -> None:
        """Take a value; waits while the writer is behind, except on an event loop, which must not be blocked."""
        incoming = self._incoming or self._begin()
        if not self._room.acquire(blocking=running_loop() is None):
            _log.warning("sink is behind, its rows queue without bound", hint="use chain.pipe(sink.open())")
        incoming.on_next(_outcome_of(value))

    def on_error(self, error: Exception) -> None:
        """Commit what has arrived, then let ``finished`` raise the error."""
        (self._incoming or self._begin()).on_error(error)

    def on_completed(self) -> None:
        """Commit what has arrived, then resolve ``finished``."""
        (self._incoming or self._begin()).on_completed()

    def _begin(self) -> Subject[Outcome[Any]]:
        self._incoming = incoming = Subject[Outcome[Any]]()
        incoming.pipe(self.open()).subscribe(
            self._written, self.finished.set_exception, lambda: self.finished.set_result(None)
        )
        return incoming

    def _written(self, outcome: Outcome[Any]) -> None:
        self._room.release()
        if outcome.status == "failed" and outcome.stage == "database" and outcome.error is not None:
            _log.warning("row refused", id=outcome.id, error=describe(outcome.error))


def _committing(writer: Writer) -> Callable[[Sequence[Outcome[Any]]], list[Outcome[Any]]]:
    def commit(outcomes: Sequence[Outcome[Any]]) -> list[Outcome[Any]]:
        refused = writer.write(outcomes)
        return [
            outcome if error is None else replace(outcome, status="failed", error=error, stage="database")
            for outcome, error in zip(outcomes, refused, strict=True)
        ]

    return commit


def _as_sink_error(error: Exception) -> SinkError:
    if isinstance(error, SinkError):
        return error
    return SinkError(f"the database stayed away for too long: {one_line(error)}")


def _outcome_of(value: Any) -> Outcome[Any]:
    """A value from a plain chain, as an outcome: its ``id`` is the value's own."""
    if isinstance(value, Outcome):
        return value
    item_id = fields_of(value)("id", None)
    return Outcome(id=item_id, status="written", value=value, error=None, stage=None, attempts=1, seconds=0.0)
