"""Commits batches, and tries again while the database is away or takes no rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import structlog

from rxpipe.database.encoding import one_line
from rxpipe.database.error_kinds import may_pass
from rxpipe.database.field_names import NoSuchField
from rxpipe.database.outage import as_sink_error
from rxpipe.errors import SinkError, StoreError
from rxpipe.pipeline.claim import ClaimedOutcome
from rxpipe.pipeline.commit_counts import CommitCounts
from rxpipe.store.commits.backlog import Backlog
from rxpipe.store.commits.commits import Commits
from rxpipe.store.commits.outage_limit import Policy
from rxpipe.store.commits.records import Ended, Record, is_of_call, is_result

T = TypeVar("T")

_REMIND = 30.0  # seconds between two log lines about a database that stays away

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Flusher:
    """Commits batches, one at a time. While the database is away or full, it keeps them and tries again.

    If the database takes no rows (their table is gone, a permission was revoked), or rows lack a column's field, the
    stage results are still committed. The items then wait in the store with all results that were paid for, and the
    next run writes their rows.

    Attributes:
        failure: Why no rows are written any more; None while rows are written.
    """

    def __init__(
        self,
        commits: Commits,
        backlog: Backlog,
        retry: Policy,
        counts: CommitCounts,
        *,
        failed: Callable[[], object],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Describe a flusher.

        Args:
            commits: Commits a batch.
            backlog: Counts what is committed, and holds up calls while the database is away.
            retry: How long to try.
            counts: Counts what is committed.
            failed: Called once when no rows can be written any more.
            now: A monotonic clock, in seconds.
        """
        self.failure: SinkError | None = None
        self._commits = commits
        self._backlog = backlog
        self._retry = retry
        self._counts = counts
        self._failed = failed
        self._now = now
        self._over = threading.Event()

    def make_rows(self, records: Sequence[Record]) -> None:
        """Make the rows of a batch. If a column's field is missing, no rows are written from now on."""
        try:
            self._commits.make_rows(records)
        except NoSuchField as error:
            if self.failure is None:
                kept = "what the stages returned is kept: mend the columns and run it again, and no call is made twice"
                failure = SinkError(f"{error}; {kept}")
                failure.__cause__ = error
                self._write_no_rows(failure)

    def flush(self, records: Sequence[Record]) -> list[ClaimedOutcome]:
        """Commit a batch whose rows are made.

        Raises:
            SinkError: Nothing can be kept, or the database stayed away for too long.
        """
        outcomes = self.patiently(lambda: self._commit(records))
        self._backlog.committed(
            sum(is_of_call(record) for record in records), sum(is_result(record) for record in records)
        )
        return outcomes

    def patiently(self, action: Callable[[], T]) -> T:
        """Run an action on the database, again and again while the database is away.

        Raises:
            SinkError: The database stayed away for too long, or another error came.
        """
        began, told, attempt = self._now(), float("-inf"), 1
        while True:
            try:
                result = action()
            except Exception as error:
                if self._over.is_set() or not may_pass(error) or not self._retry.applies(error, attempt):
                    raise
                self._backlog.away()
                self._counts.failed(self._now() - began)
                if self._now() - told > _REMIND:
                    told = self._now()
                    _log.warning(
                        "waiting for the database, no calls begin",
                        results_in_hand=self._backlog.results,
                        error=_reason(error),
                    )
                self._over.wait(self._retry.delay(attempt, error))
                attempt += 1
            else:
                if attempt > 1:
                    _log.info("the database is back", seconds=round(self._now() - began, 1))
                return result

    def give_up(self) -> None:
        """Do not try again. From any thread."""
        self._over.set()

    def as_lost(self, error: Exception) -> SinkError:
        """Returns the error that ends the run, with the number of results that are lost."""
        told = as_sink_error(error)
        if not self._backlog.results:
            return told
        kind = StoreError if isinstance(told, StoreError) else SinkError
        lost = kind(f"{told}; {self._backlog.results:,} results in hand are lost, and their calls made again")
        lost.__cause__ = error
        return lost

    def _commit(self, records: Sequence[Record]) -> list[ClaimedOutcome]:
        if self.failure is not None:
            return self._commit_without_rows(records, self.failure)
        try:
            with self._counts.committing(sum(isinstance(record, Ended) for record in records)):
                return self._commits.commit(records)
        except SinkError as error:
            if may_pass(error):
                raise
            outcomes = self._commit_without_rows(records, error)  # if this fails, too, the rows are not the cause
            self._write_no_rows(error)
        return outcomes

    def _write_no_rows(self, failure: SinkError) -> None:
        self.failure = failure
        self._failed()
        _log.debug("no rows are written any more: what runs is finished and kept", error=one_line(failure))

    def _commit_without_rows(self, records: Sequence[Record], error: SinkError) -> list[ClaimedOutcome]:
        self._commits.commit([record for record in records if not isinstance(record, Ended)])
        ended = [record.outcome for record in records if isinstance(record, Ended)]
        return [replace(outcome, status="cancelled", error=error) for outcome in ended]


def _reason(error: BaseException) -> str:
    return one_line(getattr(error, "orig", None) or error)
