"""One process's part in a run: takes items, and keeps their results."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import reactivex
import structlog
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.subject import Subject
from sqlalchemy import func, update

from rxpipe.database import abort_deadline
from rxpipe.database.abort_deadline import AbortDeadline
from rxpipe.errors import HandedOver, LeaseLost
from rxpipe.identity.signature import StageSignature
from rxpipe.insight.snapshot import Snapshot
from rxpipe.operators import Retry, stage, unbatch
from rxpipe.operators.core.clock import clock_for
from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.stages.times import CallTime
from rxpipe.pipeline.claim import CachedResult, CacheLookup, Claim, ClaimedOutcome, Spawning
from rxpipe.pipeline.commit_counts import CommitCounts
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.record import Record as SourceRecord
from rxpipe.store.commits.backlog import Backlog
from rxpipe.store.commits.commits import Commits
from rxpipe.store.commits.exchanges import note_call
from rxpipe.store.commits.flusher import Flusher
from rxpipe.store.commits.outage_limit import OutageLimit
from rxpipe.store.commits.outputs import encode
from rxpipe.store.commits.record_queue import RecordQueue
from rxpipe.store.commits.records import (
    Checkpoint,
    Closing,
    FailedCall,
    Record,
    SentBack,
    Spawned,
    Used,
    failed_call,
    is_result,
    used,
)
from rxpipe.store.items.claims import Claims
from rxpipe.store.items.ended_items import ended
from rxpipe.store.items.feed import Feed
from rxpipe.store.items.in_flight import InFlightClaims
from rxpipe.store.items.lease import Lease, error_when_asked
from rxpipe.store.result_cache import ResultCache
from rxpipe.store.runs import Before
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.tables import RUNS, db_now
from rxpipe.store.wakeups import Wakeups

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Session:
    """Both ends of a run's stages, and the keeper of everything that happens between them.

    Checkpoints and outcomes go through one queue, in the order in which they happen. One writer commits them in
    batches. An item does not wait for its checkpoints: it goes on to the next stage meanwhile.

    Attributes:
        run_id: The run's number.
        before: The state of the run when this session began.
        is_finished: True if nothing was left to do when the session ended.
        counts: Counts of commits.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        claims: Claims,
        commits: Commits,
        in_flight: InFlightClaims,
        *,
        run_id: int,
        stages: Sequence[StageSignature],
        before: Before,
        finished_at: float | None = None,
        window: float,
        slots: float,
        max_items: int,
        max_seconds: float,
        retry: Retry,
        keep_prompts: bool = True,
        wakeups: Wakeups | None = None,
    ) -> None:
        self.run_id = run_id
        self.before = before
        self._finished_at = finished_at  # before this session
        self.is_finished = False
        self._stages = (*(stage.name for stage in stages), "database")
        self._database = database
        self._keep_prompts = keep_prompts
        self._lease = lease
        self._claims = claims
        self._commits = commits
        self._backlog = Backlog(few=slots, most=2 * max_items, window=max_seconds)
        patience = OutageLimit(retry, lambda: self._backlog.results)
        self.counts = CommitCounts()
        self._flusher = Flusher(commits, self._backlog, patience, self.counts, failed=self._take_no_more)
        self._over = threading.Event()  # set when no more items are claimed
        self._cache = ResultCache(database, stages, retry=patience, over=self._over)
        self._flush: Subject[None] = Subject()
        self._max_items, self._max_seconds = max_items, max_seconds
        self._in_flight = in_flight
        self._feed = Feed(
            database,
            claims,
            in_flight,
            window=window,
            retry=patience,
            over=self._over,
            ended=lambda connection, ids: ended(connection, run_id, ids, self._stages),
            flush=lambda: self._flush.on_next(None),
            wakeups=wakeups,
        )
        self._line: RecordQueue | None = None
        lease.broken = self.fail
        self._abort_deadline = AbortDeadline(self.fail)
        self._at_work = threading.Lock()
        self._is_closed = False
        self._has_given_up = False
        self._ended = 0
        self._statuses: Counter[str] = Counter()  # of all items that have left the stages
        self._lost = 0
        self._state = "finished"  # how the session has ended, as far as it knows

    def take(self, ids: Observable[Any]) -> Observable[Claim]:
        """Returns the items to take through the stages: those that wait, and new ones of the source."""
        return self._feed.observable(ids)

    def tell(self, tell: Callable[[Outcome[Any]], None]) -> None:
        """Report how IDs of the source end that the run already knew. Does not wait for the work of other workers."""
        self._feed.tell(tell)

    def checkpoint(
        self, claim: Claim, stage: int, attempts: int, value: Any, lookup: CacheLookup | None = None
    ) -> None:
        """Keep a stage's result. With ``lookup``, also keep it for other runs.

        Raises:
            CheckpointError: The result cannot be kept.
        """
        output = encode(value)
        new = None if lookup is None else self._cache.new(stage, lookup)
        start = claim.noted
        claim.noted = stage + 1
        self._note(Checkpoint(claim=claim, stage=stage, attempts=attempts, output=output, start=start, new=new))

    def look_up(self, stage: int, values: Sequence[Any]) -> list[CacheLookup]:
        """Returns the cached results for values. Blocks."""
        return self._cache.look_up(stage, values)

    def reused(self, claim: Claim, stage: int, attempts: int, hit: CachedResult) -> None:
        """Keep a cached result as a stage's result, and the usage that it saved."""
        self._note(used(claim, stage=self._stages[stage], attempt=0, usage=hit.usage, saved=True))
        start = claim.noted
        claim.noted = stage + 1
        self._note(Checkpoint(claim=claim, stage=stage, attempts=attempts, output=hit.kept, start=start))

    def spawn(self, parent: Claim, children: Sequence[SourceRecord], spawning: Spawning) -> list[Claim]:
        """Keep children of an item. They belong to this worker from the start."""
        new = [self._claims.child(parent, spawning, place, child) for place, child in enumerate(children)]
        self._in_flight.add(child.claim for child in new)
        self._note(
            Spawned(
                claim=parent,
                stage=spawning.stage,
                attempts=spawning.attempts,
                children=new,
                made=spawning.first + len(new),
                is_all=spawning.is_all,
                collected_by=spawning.collected_by,
                hands_over=spawning.hands_over,
                start=parent.noted,
                outcome=spawning.outcome,
            )
        )
        return [child.claim for child in new]

    def sent_back(
        self, claim: Claim, *, stage: int, to: int, kept: int, attempts: int, rounds: int, feedback: Any
    ) -> None:
        """Keep that a stage has sent an item back.

        Raises:
            CheckpointError: The feedback cannot be kept.
        """
        told = encode(feedback)
        self._note(
            SentBack(
                claim=claim,
                stage=stage,
                to=to,
                kept=kept,
                attempts=attempts,
                rounds=rounds,
                feedback=told,
                start=claim.noted,
            )
        )
        claim.noted = kept

    def called(self, claim: Claim, stage: int, call: CallTime, notes: Sequence[object] = ()) -> None:
        """Keep that a call has ended, with its prompts and replies, together with the item's next record."""
        note_call(claim, self._stages, stage, call, notes if self._keep_prompts else ())

    def call_failed(
        self, claim: Claim, stage: str, attempt: int, error: BaseException, value: Any, *, final: bool
    ) -> None:
        """Keep that a call failed."""
        self._note(failed_call(claim, stage=stage, attempt=attempt, error=error, value=value, final=final))

    def used(self, claim: Claim, stage: str, attempt: int, usage: Usage) -> None:
        """Keep the usage of a call."""
        claim.usage = stage, attempt, usage
        self._note(used(claim, stage=stage, attempt=attempt, usage=usage))

    def watch(self, take: Callable[[], Snapshot], conclude: Callable[[Snapshot], Snapshot]) -> None:
        """Keep snapshots of the run from now on, with the signs of life."""
        self._lease.snapshots.watch(take, conclude)

    def stops(self, stop: Callable[[bool, Exception | None], object]) -> None:
        """Stop the run when another process asks for it; see ``RunPorts.stops``."""
        self._lease.asked = lambda how: stop(how == "abort", error_when_asked(how))

    def may_begin(self, wake: Callable[[], None]) -> bool:
        """Returns True if a call may begin. While too many results wait for their commit, calls ``wake`` later."""
        return self._backlog.may_begin(wake)

    def _note(self, record: Checkpoint | Spawned | SentBack | FailedCall | Used) -> None:
        if self._line is not None:
            if record.claim.calls is not None:
                record.calls, record.claim.calls = record.claim.calls, None
            self._backlog.add(is_result=is_result(record))
            self._line.note(record)

    def write(self, outcomes: Observable[Outcome[Any]]) -> Observable[Outcome[Any]]:
        """Keep outcomes, and the records before each. Outcomes are emitted when they are committed."""

        def subscribe(observer: ObserverBase[Outcome[Any]], scheduler: SchedulerBase | None = None) -> DisposableBase:
            def line_up(records: ObserverBase[list[Record]], scheduler: SchedulerBase | None = None) -> DisposableBase:
                line = self._line = RecordQueue(
                    records,
                    self._stages,
                    max_items=self._max_items,
                    max_seconds=self._max_seconds,
                    clock=clock_for(None, scheduler),
                    is_awaited=lambda: self._feed.is_waiting,
                )
                flushing = self._flush.subscribe(lambda _: line.post(line.flush), scheduler=scheduler)
                return CompositeDisposable(line.subscribe_to(outcomes, scheduler), flushing)

            def on_error(error: Exception) -> None:
                observer.on_error(self._flusher.as_lost(error))

            def on_completed() -> None:
                self._abort_deadline.close()
                failure = self._flusher.failure or (self._line.failure if self._line is not None else None)
                observer.on_completed() if failure is None else observer.on_error(failure)

            written = reactivex.create(line_up).pipe(stage(self._commit, name="database", queue_size=0))
            subscription = (
                self._abort_deadline.through(written)
                .pipe(unbatch())
                .subscribe(observer.on_next, on_error, on_completed, scheduler=scheduler)
            )
            return CompositeDisposable(subscription, Disposable(self._release_in_background))

        return reactivex.create(subscribe)

    def aborted(self) -> None:
        """The run is aborted: commit the results that have come, and fail if the database does not answer soon."""
        self._state = "stopped"
        self._flush.on_next(None)
        self._abort_deadline.aborted()

    def fail(self, error: Exception) -> None:
        """End the run now, as nothing can be kept any more. From any thread; waits for nobody."""
        self._has_given_up = True
        self._state = "failed"
        self._stop()
        self._abort_deadline.fail(error)
        self._flusher.give_up()
        self._database.end_within(0.0)

    def _take_no_more(self) -> None:
        self._over.set()
        self._feed.wake()

    def _commit(self, records: Sequence[Record]) -> list[ClaimedOutcome]:
        try:
            self._flusher.make_rows(records)
            with self._at_work:
                if self._is_closed:
                    return []
                outcomes = self._keep(records)
        except Exception:
            self._state = "failed"
            self.close()  # here, where it may block, and before the run ends: nothing would wait for it afterwards
            raise
        self._in_flight.end(outcome.claim for outcome in outcomes)
        return outcomes

    def _keep(self, records: Sequence[Record]) -> list[ClaimedOutcome]:
        self._abort_deadline.asked()
        outcomes = self._flusher.flush(records)
        self._abort_deadline.answered()
        lost = [outcome for outcome in outcomes if isinstance(outcome.error, LeaseLost)]
        self._feed.watch((outcome.claim.key, outcome.id) for outcome in lost)
        self._ended += len(outcomes) - len(lost)
        self._statuses.update(outcome.status for outcome in outcomes)
        self._lost += sum(not isinstance(outcome.error, HandedOver) for outcome in lost)
        if any(isinstance(record, Closing) for record in records):
            self._abort_deadline.asked()
            self._flusher.patiently(self._close)
            self._abort_deadline.answered()
            self._tell_lost()
            self._tell_changed()
        return outcomes

    def _tell_changed(self) -> None:
        if self._claims.changed.kept:
            _log.warning(
                "records came with another value than before, and the first one was kept",
                records=self._claims.changed.kept,
                hint='RunStore(on_change="redo"), or on_change: redo of a config\'s source, does them again',
            )

    def _tell_lost(self) -> None:
        if self._lost:
            _log.warning(
                "other workers took items over, as this one showed no sign of life for its lease",
                items=self._lost,
                run_is_finished=self.is_finished,
            )

    def _close(self) -> None:
        """Give back unfinished items, and record if any work is left for other workers."""
        self._stop()
        self._feed.end()
        last = self._lease.snapshots.last(self._statuses, self._state)
        with self._database.transaction() as connection:
            self._lease.snapshots.keep(connection, self._lease.owner, last, is_last=True)
            self._lease.release(connection)
            self._commits.release(connection)
            if self._line is not None:
                self._commits.add_usage(connection, list(self._line.late))
            left = self._claims.left(connection)
            # A session in which nothing ended leaves the run's end as it was.
            finished = db_now() if self._ended else func.coalesce(RUNS.c.finished_at, self._finished_at, db_now())
            is_reached = self._claims.quota is not None and self._claims.quota.is_reached
            is_finished = is_reached or (not (left.ready or left.running) and self._feed.exhausted)
            finished_at = finished if is_finished else None
            connection.execute(update(RUNS).where(RUNS.c.id == self.run_id).values(finished_at=finished_at))
        self.is_finished = is_finished
        self._is_closed = True
        self._database.close()

    def _stop(self) -> None:
        self._take_no_more()
        self._lease.stop()

    def _release_in_background(self) -> None:
        """The run is over or disposed of. Closes on another thread, as this one may run an event loop."""
        self._stop()
        self._abort_deadline.close()
        if not self._is_closed:
            # The program's end waits for this thread, even if a daemon starts it, unless there is nothing to wait for.
            threading.Thread(target=self.close, name="rxpipe-release", daemon=self._has_given_up).start()

    def close(self) -> None:
        """End the session, whatever is on its way. Does nothing if it has ended. Takes a few seconds at most."""
        self._stop()
        self._flusher.give_up()
        self._database.end_within(abort_deadline.SECONDS)
        if not self._at_work.acquire(timeout=abort_deadline.SECONDS):
            return  # the thread at work closes the session
        try:
            if not self._is_closed:
                self._release()
        finally:
            self._at_work.release()

    def _release(self) -> None:
        try:
            self._close()
        except Exception:  # noqa: BLE001 - the database does not answer: the lease will run out
            self._is_closed = True
            self._database.close()
