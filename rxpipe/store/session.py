"""One process's part in a run: what it takes, and what it keeps of it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.subject import Subject
from sqlalchemy import func, update

from rxpipe.database.away import as_sink_error
from rxpipe.errors import LeaseLost
from rxpipe.item import Claim
from rxpipe.operators import Retry, batch, stage, unbatch
from rxpipe.operators.machine import Machine
from rxpipe.operators.running_call import Usage
from rxpipe.outcome import Outcome
from rxpipe.store.claims import Claims
from rxpipe.store.commits import Commits
from rxpipe.store.database import Database
from rxpipe.store.feed import Feed
from rxpipe.store.hands import Hands
from rxpipe.store.known import ended
from rxpipe.store.lease import Lease
from rxpipe.store.outputs import encode
from rxpipe.store.records import Checkpoint, Closing, Ended, FailedCall, Record, Used, failed_call, used
from rxpipe.store.runs import Before
from rxpipe.store.schema import RUNS, db_now


class Session:
    """Both ends of a run's stages, and what keeps what happens between them.

    Checkpoints and outcomes go through one queue, in the order in which they happen, to one writer that commits them
    in batches. An item does not wait for its checkpoints: it goes on to the next stage meanwhile.

    Attributes:
        run_id: The run's number.
        before: What there was of the run when this began.
        is_finished: Whether nothing was left to do when it ended.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        claims: Claims,
        commits: Commits,
        hands: Hands,
        *,
        run_id: int,
        stages: Sequence[str],
        before: Before,
        window: float,
        max_items: int,
        max_seconds: float,
        retry: Retry,
    ) -> None:
        self.run_id = run_id
        self.before = before
        self.is_finished = False
        self._stages = (*stages, "database")
        self._database = database
        self._lease = lease
        self._claims = claims
        self._commits = commits
        self._retry = retry
        self._flush: Subject[None] = Subject()
        self._batches = batch(max_items, max_seconds, flush=self._flush)
        self._hands = hands
        self._feed = Feed(
            database,
            claims,
            hands,
            window=window,
            retry=retry,
            over=lease.over,
            ended=lambda connection, ids: ended(connection, run_id, ids, self._stages),
            hurry=lambda: self._flush.on_next(None),
        )
        self._lines: _Lines | None = None
        self._at_work = threading.Lock()
        self._is_closed = False
        self._ended = 0

    def take(self, ids: Observable[Any]) -> Observable[Claim]:
        """The items to take through the stages: those that wait, and what is new in the source."""
        return self._feed.observable(ids)

    def tell(self, tell: Callable[[Outcome[Any]], None]) -> None:
        """Tell how IDs of the source end that the run knew already; it does not wait for what others have to do."""
        self._feed.tell(tell)

    def checkpoint(self, claim: Claim, stage: int, attempts: int, value: Any) -> None:
        """Keep what a stage returned.

        Raises:
            CheckpointError: It cannot be kept.
        """
        self._note(Checkpoint(claim=claim, stage=stage, attempts=attempts, output=encode(value)))

    def call_failed(
        self, claim: Claim, stage: str, attempt: int, error: BaseException, value: Any, *, final: bool
    ) -> None:
        """Keep that a call failed."""
        self._note(failed_call(claim, stage=stage, attempt=attempt, error=error, value=value, final=final))

    def used(self, claim: Claim, stage: str, attempt: int, usage: Usage) -> None:
        """Keep what a call has used."""
        self._note(used(claim, stage=stage, attempt=attempt, usage=usage))

    def _note(self, record: Checkpoint | FailedCall | Used) -> None:
        if self._lines is not None:
            self._lines.note(record)

    def write(self, outcomes: Observable[Outcome[Any]]) -> Observable[Outcome[Any]]:
        """Keep outcomes, and what was noted before each; they come out when they are committed."""

        def subscribe(observer: ObserverBase[Outcome[Any]], scheduler: SchedulerBase | None = None) -> DisposableBase:
            def line_up(records: ObserverBase[Record], scheduler: SchedulerBase | None = None) -> DisposableBase:
                self._lines = _Lines(records, self._stages, self._item_has_ended)
                return self._lines.subscribe_to(outcomes, scheduler)

            def on_error(error: Exception) -> None:
                self._close_in_background()
                observer.on_error(as_sink_error(error))

            def on_completed() -> None:
                failure = self._lines.failure if self._lines is not None else None
                observer.on_completed() if failure is None else observer.on_error(failure)

            written = reactivex.create(line_up).pipe(
                self._batches,
                stage(self._commit, name="database", queue_size=0, retry=self._retry),
                unbatch(),
            )
            subscription = written.subscribe(observer.on_next, on_error, on_completed, scheduler=scheduler)
            return CompositeDisposable(subscription, Disposable(self._close_in_background))

        return reactivex.create(subscribe)

    def _item_has_ended(self) -> None:
        if self._feed.is_waiting:
            self._flush.on_next(None)

    def _commit(self, records: Sequence[Record]) -> list[Outcome[Any]]:
        with self._at_work:
            if self._is_closed:
                return []
            outcomes = self._commits.commit(records)
            lost = [outcome for outcome in outcomes if isinstance(outcome.error, LeaseLost)]
            self._feed.watch((outcome.claim.key, outcome.id) for outcome in lost)
            self._ended += len(outcomes) - len(lost)
            if any(isinstance(record, Closing) for record in records):
                self._close()
        self._hands.end(outcome.claim for outcome in outcomes)
        return outcomes

    def _close(self) -> None:
        self._lease.stop()
        self._feed.end()
        with self._database.transaction() as connection:
            self._lease.release(connection)
            left = self._claims.left(connection)
            # A session that ended nothing does not finish a run anew.
            finished = db_now() if self._ended else func.coalesce(RUNS.c.finished_at, db_now())
            is_finished = not (left.ready or left.running) and self._feed.exhausted
            finished_at = finished if is_finished else None
            connection.execute(update(RUNS).where(RUNS.c.id == self.run_id).values(finished_at=finished_at))
        self.is_finished = is_finished
        self._is_closed = True
        self._database.close()

    def _close_in_background(self) -> None:
        """Give back what is unfinished, if the database answers; not here, which may be an event loop."""
        self._lease.stop()
        if not self._is_closed:
            # No daemon: the program's end waits for it.
            threading.Thread(target=self.close, name="rxpipe-release").start()

    def close(self) -> None:
        """End it, whatever happens to what is on its way; nothing if it has ended."""
        self._lease.stop()
        with self._at_work:
            if not self._is_closed:
                try:
                    self._close()
                except Exception:  # noqa: BLE001 - the database is away: then the lease will run out
                    self._is_closed = True
                    self._database.close()


class _Lines(Machine[Outcome[Any], Record]):
    """One line for checkpoints, failed calls and outcomes, and the closing behind them.

    Attributes:
        failure: What the stages failed with.
    """

    def __init__(self, observer: ObserverBase[Record], stages: Sequence[str], ended: Callable[[], object]) -> None:
        super().__init__(observer, 1)
        self._stages = stages
        self._ended = ended
        self.failure: Exception | None = None
        self._records: deque[Record] = deque()
        self._is_closing = False

    def note(self, record: Record) -> None:
        """Line up what happened to an item that goes on; from any thread."""
        self.post(self._records.append, record)

    def arrive(self, value: Outcome[Any]) -> None:
        """Line up an outcome; of an item that no stage was called with, also why."""
        claim: Claim = value.claim
        if claim.error is not None:
            stage = self._stages[claim.stage]
            failed = failed_call(claim, stage=stage, attempt=0, error=claim.error, value=value.value, final=True)
            self._records.append(failed)
        self._records.append(Ended(claim=claim, outcome=value))

    def source_failed(self, error: Exception) -> None:
        """What was lined up is still committed."""
        self.failure = error
        self.source_completed()

    def advance(self) -> None:
        """Send what may go."""
        records = self._records
        while not self.over:
            if not records and self.source_done and not self._is_closing:
                self._is_closing = True
                records.append(Closing())
            if not records or not self.may_emit():
                break
            record = records.popleft()
            self.emit(record)
            if isinstance(record, Ended):
                self.gate.release()
                self._ended()
        if self._is_closing and not records:
            self.end()

    def free(self) -> None:
        """Forget what was not sent."""
        self._records.clear()
