"""One run of a pipeline: it takes IDs, follows every item to its end, and can be stopped in two steps."""

from __future__ import annotations

import contextvars
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable, SingleAssignmentDisposable

from rxpipe.errors import ItemCancelled, SinkError, StopRun
from rxpipe.operators.core.clock import Clock
from rxpipe.operators.core.machine import as_exception
from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.stages.settings import StageStats
from rxpipe.pipeline.listener import Listeners
from rxpipe.pipeline.outcome import Outcome, Report, StageReport
from rxpipe.pipeline.ports import Claim, Write
from rxpipe.pipeline.run.error_counts import ErrorCounts
from rxpipe.pipeline.run.exit import Exit
from rxpipe.pipeline.run.intake import Intake
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.run_future import Finished
from rxpipe.pipeline.run.strategies import Stages
from rxpipe.pipeline.source import CollectionSource, subscribable

_NOTHING = Usage()


class Run:
    """One run: live counts while it lasts, a report when it is over.

    ``stop()`` takes no more IDs and lets those taken finish; ``abort()`` cancels the calls, and still writes what is
    finished. Both may be called from any thread, and return at once.

    Attributes:
        taken: IDs taken from the source.
        written: Items whose row is committed.
        failed: Items that failed.
        cancelled: Items that were cancelled.
        number: The run's number in its store, or None.
        before: Items that had ended before, in earlier runs that this one goes on with: written, failed.
        usage_before: What the calls of those had used.
        stages: Each stage's live counts, in order.
        listeners: Told of each item.
        clock: What its time goes by.
        finished: Resolves to the report when every item has ended; raises what the run failed with.
        subscription: Disposing it ends the run at once: what is on its way is cancelled, and nothing is notified.
    """

    def __init__(
        self,
        stages: Sequence[StageStats],
        clock: Clock,
        *,
        limit: float = math.inf,
        staged: bool = False,
        number: int | None = None,
        before: tuple[int, int] = (0, 0),
        usage_before: Usage = _NOTHING,
        is_finished: Callable[[], bool] = lambda: True,
        aborted: Callable[[], object] = lambda: None,
        listeners: Listeners | None = None,
        admitted: Callable[[Item], object] | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            stages: The counts that its stages keep.
            clock: What seconds are measured with.
            limit: How many items may be on their way to the sink at once.
            staged: Whether nothing goes into the sink before all items have been through the stages.
            number: The run's number in its store.
            is_finished: Whether nothing of it is left to do in its store, asked when it is over.
            aborted: Called when the run is aborted: what is finished is to be written soon, or given up.
            before: How many items had ended before, in earlier runs that this one goes on with: written, failed.
            usage_before: What the calls of those had used.
            listeners: Told of each item.
            admitted: Told of each item that is taken, before all listeners.
        """
        self.taken = 0
        self.written = 0
        self.failed = 0
        self.cancelled = 0
        self.number = number
        self.before = before
        self.usage_before = usage_before
        self._is_finished = is_finished
        self._aborted = aborted
        self.listeners = listeners or Listeners()
        self._admitted = admitted
        self.stages = stages
        self.finished: Future[Report] = Finished()
        self.subscription = SingleAssignmentDisposable()
        self.clock = clock
        self._limit = limit
        self._staged = staged
        self._began = clock.now()
        self._seconds: float | None = None
        self._first_seconds: float | None = None
        self._in_flight: dict[int | str, list[Item]] = {}
        self._most_in_flight = 0
        self._over = False
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._error: Exception | None = None
        self._errors = ErrorCounts()
        self._intake: Intake | None = None
        self._exit: Exit | None = None
        self._observer: ObserverBase[Outcome[Any]] | None = None
        self._observer_failed = False

    def start(
        self,
        ids: Observable[Any],
        stages: Stages,
        write: Write,
        observer: ObserverBase[Outcome[Any]] | None = None,
        scheduler: SchedulerBase | None = None,
        *,
        ahead: int = 1,
    ) -> None:
        """Let IDs flow: from their source through the stages and the sink to whoever wants the outcomes.

        Args:
            ids: What is to be taken.
            stages: What takes items through all stages.
            write: What keeps outcomes.
            observer: Notified of each outcome.
            scheduler: Whose time the run goes by.
            ahead: How many IDs may be asked for before there is room for them.
        """
        self._observer = observer
        self.listeners.run_started(self)

        def take(items: ObserverBase[Item], scheduler: SchedulerBase | None = None) -> DisposableBase:
            self._intake = Intake(self, self._limit, ahead, items)
            if isinstance(ids, CollectionSource):
                return self._intake.pull_from(ids.ids, scheduler)
            return self._intake.subscribe_to(subscribable(ids), scheduler)

        def leave(outcomes: ObserverBase[Outcome[Any]], scheduler: SchedulerBase | None = None) -> DisposableBase:
            self._exit = Exit(self, outcomes, staged=self._staged)
            return self._exit.subscribe_to(reactivex.create(take).pipe(stages), scheduler)

        try:
            subscription = write(reactivex.create(leave)).subscribe(
                self._ended, self._finish, self._finish, scheduler=scheduler
            )
        except BaseException:  # of the sink
            if self._exit is not None:
                self._exit.dispose()
            self._disposed()
            raise
        self.subscription.disposable = CompositeDisposable(subscription, Disposable(self._disposed))

    def stop(self) -> None:
        """Take no more IDs, and let those taken finish."""
        if self._intake is not None:
            self._intake.stop()

    def abort(self) -> None:
        """Cancel what is in the stages; what is finished is still written."""
        self.stop()
        if self._exit is not None:
            self._exit.abort()
        self._aborted()

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return self.clock.now() - self._began if self._seconds is None else self._seconds

    @property
    def usage(self) -> Usage:
        """What its calls have used, as far as they told."""
        return sum((stage.usage for stage in self.stages), Usage())

    @property
    def in_flight(self) -> int:
        """Items that are on their way now."""
        return self.taken - self.written - self.failed - self.cancelled

    def report(self) -> Report:
        """The counts so far; they add up once the run is over."""
        seconds = self.seconds
        return Report(
            taken=self.taken,
            written=self.written,
            failed=self.failed,
            cancelled=self.cancelled,
            run=self.number,
            finished=self._is_finished(),
            written_before=self.before[0],
            failed_before=self.before[1],
            usage=self.usage,
            usage_before=self.usage_before,
            seconds=seconds,
            first_seconds=self._first_seconds,
            most_in_flight=self._most_in_flight,
            stages=tuple(_stage_report(stage, self._began, seconds) for stage in self.stages),
            errors=tuple(self._errors.commonest()),
        )

    # What happens to items; each is called by one thread at a time

    def take(self, taken: int | str | Claim) -> Item | None:
        """Take an ID from the source; ``None`` if the run was already over."""
        item = Item(taken, self.clock.now())
        item.context = self._context
        with self._lock:
            if self._over:
                return None
            self._in_flight.setdefault(item.id, []).append(item)
            self.taken += 1
        if (in_flight := self.in_flight) > self._most_in_flight:
            self._most_in_flight = in_flight
        if self._admitted is not None:
            self._admitted(item)
        if self.listeners.told:
            self.listeners.taken(item)
        return item

    def left(self, item: Item) -> None:
        """An item leaves for the sink, and makes room for another."""
        if self.listeners.told:
            self.listeners.left(item)
        if self._limit != math.inf and self._intake is not None:
            self._intake.make_room()

    def outcome(self, item: Item) -> Outcome[Any]:
        """How an item has left the stages."""
        return item.outcome(self.clock.now())

    def settled(self) -> list[Item]:
        """Items that need no more calls, wherever they are on their way."""
        with self._lock:
            return [item for items in self._in_flight.values() for item in items if item.settled]

    def fail(self, error: Exception) -> None:
        """Let the run fail with this, the first of its errors, when all items have ended."""
        self._error = self._error or error

    def cut_off(self, index: int, error: StopRun | ItemCancelled) -> None:
        """A call was not made, or has ended, though the item has not failed.

        Args:
            index: Of its stage, in whose turn this is called.
            error: Why; if the run is to stop, no more IDs are taken, the others finish, and it fails with this.
        """
        stage = self.stages[index]
        stage.failed -= 1
        stage.cancelled += 1
        if isinstance(error, StopRun):
            self.fail(error)
            self.stop()

    def _ended(self, outcome: Outcome[Any]) -> None:
        with self._lock:
            if self._over:
                return
            items = self._in_flight.get(outcome.id)
            if not items:
                raise SinkError(f"the sink gave back an outcome that it was not given: {outcome.id!r}")
            if len(items) == 1:
                item = items[0]
                del self._in_flight[outcome.id]
            else:  # of those with the same ID, one that the sink was given
                item = next((item for item in items if item.arrived and not item.given_back), items[0])
                items.remove(item)
        if outcome.status == "written":
            self.written += 1
            if self._first_seconds is None:
                self._first_seconds = self.seconds
        elif outcome.status == "failed":
            self.failed += 1
            self._errors.add(outcome)
        else:
            self.cancelled += 1
        self._notify(item, outcome)

    def _close(self) -> list[Item] | None:
        """Accept no more outcomes: items still in flight count as cancelled. ``None`` if it was closed before."""
        with self._lock:
            if self._over:
                return None
            self._over = True
            items = [item for items in self._in_flight.values() for item in items]
            self._in_flight.clear()
            self.cancelled += len(items)
            self._seconds = self.seconds
        return items

    def _finish(self, error: Exception | None = None) -> None:
        """The sequence is over."""
        cancelled = self._close()
        if cancelled is None:
            return
        if error is not None:  # of the sink: graver than that of a source or a stage, since rows are missing
            error.__context__ = self._error
            self._error = error
        is_awaited = self.finished.set_running_or_notify_cancel()  # first: the observer may dispose of the run
        now = self.clock.now()
        for item in cancelled:
            self._notify(item, item.cancelled(now))
        try:
            if self._observer is not None:
                self._observer.on_completed() if self._error is None else self._observer.on_error(self._error)
        finally:
            if is_awaited and self._error is None:
                self.finished.set_result(self.report())
            elif is_awaited:
                self.finished.set_exception(self._error)

    def _disposed(self) -> None:
        items = self._close()
        if items is None:
            return
        for item in items:
            self.listeners.ended(item, item.cancelled(self.clock.now()))
        self.finished.cancel()

    def _notify(self, item: Item, outcome: Outcome[Any]) -> None:
        """Tell the observer; if it raises, it is told no more, and what is finished is still written."""
        if self.listeners.told:
            self.listeners.ended(item, outcome)
        if self._observer is None or self._observer_failed:
            return
        try:
            self._observer.on_next(outcome)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the run must end, not hang
            self._observer_failed = True
            self.fail(as_exception(error))
            self.abort()


def _stage_report(stage: StageStats, began: float, seconds: float) -> StageReport:
    slot_seconds = stage.slot_seconds(began, began + seconds)
    return StageReport(
        name=stage.name,
        concurrency=int(stage.concurrency),
        done=stage.done,
        failed=stage.failed,
        retried=stage.retried,
        abandoned=stage.abandoned,
        busy_seconds=stage.busy,
        utilization=min(1.0, stage.busy / slot_seconds) if slot_seconds else 0.0,
        pushed_back=stage.pushed_back,
        usage=stage.usage,
    )
