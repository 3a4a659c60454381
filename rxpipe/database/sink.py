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
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.subject import Subject
from sqlalchemy import URL, Engine, Table

from rxpipe.database.away import AWAY, as_sink_error
from rxpipe.database.mapping import RowFunction
from rxpipe.database.rows import fields_of
from rxpipe.database.writer import Writer
from rxpipe.errors import SinkError
from rxpipe.operators import Retry, batch, stage, unbatch
from rxpipe.operators.clock import running_loop
from rxpipe.operators.errors import describe
from rxpipe.operators.gate import announcing
from rxpipe.outcome import Outcome
from rxpipe.run import Write

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class DatabaseSink(ObserverBase[Any]):
    """Writes outcomes into a table, a row each, by one writer that groups rows into transactions.

    ::

        Pipeline(*stages, sink=DatabaseSink("sqlite:///questions.db"))

    A row is committed within ``max_seconds`` and the time that the commit takes; rows that arrive meanwhile go
    together. Rows are upserted by primary key, so that a second run of an ID updates its row. While the database is
    away, the same rows are tried again with backoff, and what comes waits. A row that the database refuses fails
    alone.

    It is also an observer, and can end a chain, one only: ``chain.subscribe(sink)`` writes what the chain emits, each
    value by its ``id``; the transactions go on after the chain has completed, until ``finished`` resolves.
    ``chain.pipe(sink.open())`` does the same as part of a chain, and has the source wait without blocking a thread.

    Attributes:
        database: Where.
        table: The table's name.
        max_items: Rows in one transaction, at most.
        max_seconds: How long a row may wait for others to share its transaction.
        retry: How long to try while the database is away.
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
            ValueError: A number is out of range.
        """
        self.database = database
        self.max_items = max_items
        self.max_seconds = max_seconds
        self.retry = retry
        self._writer_of: Callable[[str | URL | Engine], Writer] = lambda place: Writer(place, table=table, row=row)
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
        self.finished.set_running_or_notify_cancel()  # whoever waits for it with a timeout must not cancel it

    def open(self) -> Write:
        """Connect, see to the table, and give the operator that writes outcomes.

        Returns:
            An operator: each outcome comes out once its row is committed, in order; as ``failed`` if its row was
            refused. When its source fails, what has arrived is written first. It holds ``2 * max_items`` rows that
            are not committed, at most. It may be subscribed to again when it has ended.

        Raises:
            SinkError: The database cannot be opened; nothing was written.
        """
        writer = self.writer_on(self.database)

        def write(outcomes: Observable[Outcome[Any]]) -> Observable[Outcome[Any]]:
            def subscribe(
                observer: ObserverBase[Outcome[Any]], scheduler: SchedulerBase | None = None
            ) -> DisposableBase:
                writer.open()  # nothing to do, the first time
                commits = _Commits(writer)
                failure: Exception | None = None

                def hold(held: ObserverBase[Outcome[Any]], scheduler: SchedulerBase | None = None) -> DisposableBase:
                    def fail(error: Exception) -> None:
                        nonlocal failure
                        failure = error
                        held.on_completed()

                    return outcomes.subscribe(held.on_next, fail, held.on_completed, scheduler=scheduler)

                def on_error(error: Exception) -> None:
                    commits.close()
                    observer.on_error(as_sink_error(error))

                def on_completed() -> None:
                    commits.close()
                    observer.on_completed() if failure is None else observer.on_error(failure)

                written = reactivex.create(hold).pipe(
                    self._batches,
                    stage(commits, name="database", queue_size=0, retry=self.retry),
                    unbatch(),
                )
                subscription = written.subscribe(observer.on_next, on_error, on_completed, scheduler=scheduler)
                return CompositeDisposable(subscription, Disposable(commits.close))

            return reactivex.create(subscribe)

        return write

    def writer_on(self, database: str | URL | Engine) -> Writer:
        """An open writer of the same rows, on the given database.

        Raises:
            SinkError: The database cannot be opened.
        """
        writer = self._writer_of(database)
        writer.open()
        return writer

    # As an observer at the end of any chain

    def on_next(self, value: Any) -> None:
        """Take a value; waits while the writer is behind, except on an event loop, which must not be blocked.

        A value without an ``id`` is refused, unless the user's own table or ``row`` does without.

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
        """Commit what has arrived, then let ``finished`` raise the error."""
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
            return  # the database cannot be opened; finished says so
        self._ended = True
        incoming.on_completed() if error is None else incoming.on_error(error)

    def _begun(self) -> Subject[Outcome[Any]]:
        """Where values go; opens the database at the first."""
        if self._ended or self.finished.done():
            error = self.finished.exception() if self.finished.done() else None
            raise error or SinkError("this sink has ended: every chain needs one of its own")
        if self._incoming is None:
            incoming = Subject[Outcome[Any]]()
            try:
                with announcing(None):  # whoever is being subscribed to at the moment has gates of its own
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
            self._begun()  # raises why

    def _written(self, outcome: Outcome[Any]) -> None:
        with self._changed:
            self._held -= 1
            self._changed.notify()
        if outcome.status == "failed" and outcome.stage == "database" and outcome.error is not None:
            _log.warning("row refused", id=outcome.id, error=describe(outcome.error))

    def _finish(self, error: Exception | None = None) -> None:
        with self._changed:
            if error is None:
                self.finished.set_result(None)
            else:
                self.finished.set_exception(error)
            self._changed.notify_all()


class _Commits:
    """The writer of one subscription, which is closed once it is neither wanted nor at work."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._lock = threading.Lock()
        self._is_at_work = False
        self._is_closed = False

    def __call__(self, outcomes: Sequence[Outcome[Any]]) -> list[Outcome[Any]]:
        """Commit outcomes, and tell which were refused."""
        with self._lock:
            if self._is_closed:
                return []
            self._is_at_work = True
        try:
            refused = self._writer.write(outcomes)
        finally:
            with self._lock:
                self._is_at_work = False
                is_closed = self._is_closed
            if is_closed:
                self._writer.close()
        return [
            outcome if error is None else replace(outcome, status="failed", error=error, stage="database")
            for outcome, error in zip(outcomes, refused, strict=True)
        ]

    def close(self) -> None:
        """Close the writer, or have that done when it has committed what it is at."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            if self._is_at_work:
                return
        self._writer.close()


def _outcome_of(value: Any) -> Outcome[Any]:
    """A value from a plain chain, as an outcome: its ``id`` is the value's own."""
    if isinstance(value, Outcome):
        return value  # pyright: ignore[reportUnknownVariableType] - an outcome of anything
    item_id = fields_of(value)("id", None)
    return Outcome(id=item_id, status="written", value=value, error=None, stage=None, attempts=1, seconds=0.0)
