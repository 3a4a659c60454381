"""The operator that a sink gives a run: takes outcomes, commits them in batches, and emits them again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable

from rxpipe.database import abort_deadline
from rxpipe.database.abort_deadline import AbortDeadline
from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.outage import as_sink_error
from rxpipe.errors import SinkError
from rxpipe.operators import Retry, stage, unbatch
from rxpipe.pipeline.commit_counts import CommitCounts
from rxpipe.pipeline.outcome import Outcome

Batches = Callable[[Observable[Any]], Observable[list[Any]]]


class BatchWriter(Protocol):
    """Writes batches, on one thread at a time: see ``Writer``."""

    def open(self) -> object:
        """Open the writer. Does nothing if it is open."""
        ...

    def write(self, batch: Sequence[Outcome[Any]]) -> list[RowRefused | None]:
        """Write a batch. Returns why each outcome was refused, or None.

        Raises:
            SinkError: Nothing can be written, and waiting does not help.
            Exception: ``is_transient`` of it is true: write the batch again.
        """
        ...

    def end_within(self, seconds: float) -> None:
        """End the current write within ``seconds``. Blocks nobody."""
        ...

    def close(self) -> None:
        """Close what was opened. Does nothing if the writer is closed."""
        ...


class Writing:
    """Writes outcomes by one writer; see ``DatabaseSink.open``. You may subscribe to it again when it has ended.

    Attributes:
        counts: Counts of commits.
    """

    def __init__(self, writer: BatchWriter, batches: Batches, retry: Retry, name: str = "the database") -> None:
        """Describe the operator.

        Args:
            writer: Writes batches; it is open.
            batches: Groups outcomes.
            retry: How long to try while the database is away.
            name: The name of the database or file, for errors.
        """
        self._writer = writer
        self._name = name
        self._batches = batches
        self._retry = retry
        self.counts = CommitCounts("database" if name == "the database" else "file")
        self._commits: _Commits | None = None

    def __call__(self, outcomes: Observable[Outcome[Any]]) -> Observable[Outcome[Any]]:
        """Returns the same outcomes, each once its row is committed; as failed if its row was refused."""

        def subscribe(observer: ObserverBase[Outcome[Any]], scheduler: SchedulerBase | None = None) -> DisposableBase:
            self._writer.open()  # nothing to do, the first time
            self._commits = commits = _Commits(self._writer, self._name, self.counts)
            failure: Exception | None = None

            def hold(held: ObserverBase[Outcome[Any]], scheduler: SchedulerBase | None = None) -> DisposableBase:
                def take(outcome: Outcome[Any]) -> None:
                    commits.arrived += 1
                    held.on_next(outcome)

                def fail(error: Exception) -> None:
                    nonlocal failure
                    failure = error
                    held.on_completed()

                return outcomes.subscribe(take, fail, held.on_completed, scheduler=scheduler)

            def on_error(error: Exception) -> None:
                commits.close()
                observer.on_error(commits.as_lost(error))

            def on_completed() -> None:
                commits.close()
                observer.on_completed() if failure is None else observer.on_error(failure)

            written = reactivex.create(hold).pipe(
                self._batches, stage(commits, name="database", queue_size=0, retry=self._retry)
            )
            subscription = (
                commits.abort_deadline.through(written)
                .pipe(unbatch())
                .subscribe(observer.on_next, on_error, on_completed, scheduler=scheduler)
            )
            return CompositeDisposable(subscription, Disposable(commits.close))

        return reactivex.create(subscribe)

    def aborted(self) -> None:
        """The run is aborted: fail if the database does not answer soon."""
        if self._commits is not None:
            self._commits.abort_deadline.aborted()


class _Commits:
    """The writer of one subscription, closed once nobody wants it and it is idle.

    Attributes:
        arrived: How many outcomes have arrived.
        abort_deadline: Ends the subscription in time once its run is aborted.
    """

    def __init__(self, writer: BatchWriter, name: str, counts: CommitCounts) -> None:
        self._counts = counts
        self.arrived = 0
        self.abort_deadline = AbortDeadline(self._give_up, name)
        self._committed = 0
        self._writer = writer
        self._lock = threading.Lock()
        self._is_at_work = False
        self._is_closed = False

    def __call__(self, outcomes: Sequence[Outcome[Any]]) -> list[Outcome[Any]]:
        """Commit outcomes, and mark those that were refused."""
        with self._lock:
            if self._is_closed:
                return []
            self._is_at_work = True
        self.abort_deadline.asked()
        began = time.monotonic()
        try:
            with self._counts.committing(len(outcomes)):
                refused = self._writer.write(outcomes)
        except Exception:
            self._counts.failed(time.monotonic() - began)
            raise
        finally:
            with self._lock:
                self._is_at_work = False
                is_closed = self._is_closed
            if is_closed:
                self._writer.close()
        self.abort_deadline.answered()
        self._committed += len(outcomes)
        return [
            outcome if error is None else replace(outcome, status="failed", error=error, stage="database")
            for outcome, error in zip(outcomes, refused, strict=True)
        ]

    def as_lost(self, error: Exception) -> SinkError:
        """Returns the error that ends the run, with the number of rows that are lost."""
        told = as_sink_error(error)
        rows = self.arrived - self._committed
        if not rows:
            return told
        lost = SinkError(f"{told}; {rows:,} rows are lost" if rows > 1 else f"{told}; 1 row is lost")
        lost.__cause__ = told.__cause__
        return lost

    def close(self) -> None:
        """Close the writer; if it is at work, once its commit is done. That has a time limit, too."""
        self.abort_deadline.close()
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            if self._is_at_work:
                self._writer.end_within(abort_deadline.SECONDS)
                return
        self._writer.close()

    def _give_up(self, error: Exception) -> None:
        self.abort_deadline.fail(error)
        self._writer.end_within(0.0)
