"""One run of a pipeline: it takes IDs, follows every item to its end, and can be stopped in two steps."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable, SingleAssignmentDisposable

from rxpipe.errors import ConfigError
from rxpipe.item import Item
from rxpipe.operators.clock import Clock
from rxpipe.operators.machine import Machine
from rxpipe.operators.stage_settings import StageStats
from rxpipe.outcome import Outcome, Report, StageReport

Stages = Callable[[Observable[Item]], Observable[Item]]
Write = Callable[[Observable[Outcome[Any]]], Observable[Outcome[Any]]]


class Run:
    """One run: live counts while it lasts, a report when it is over.

    ``stop()`` takes no more IDs and lets those taken finish; ``abort()`` cancels the calls, and still writes what is
    finished. Both may be called from any thread, and return at once.

    Attributes:
        taken: IDs taken from the source.
        written: Items whose row is committed.
        failed: Items that failed.
        cancelled: Items that were cancelled.
        stages: Each stage's live counts, in order.
        finished: Resolves to the report when every item has ended; raises what the run failed with.
        subscription: Disposing it ends the run at once.
    """

    def __init__(self, stages: Sequence[StageStats], clock: Clock, limit: float) -> None:
        """Prepare a run.

        Args:
            stages: The counts that its stages keep.
            clock: What seconds are measured with.
            limit: How many items may be in the stages at once.
        """
        self.taken = 0
        self.written = 0
        self.failed = 0
        self.cancelled = 0
        self.stages = stages
        self.finished: Future[Report] = Future()
        self.subscription = SingleAssignmentDisposable()
        self._clock = clock
        self._limit = limit
        self._began = clock.now()
        self._seconds: float | None = None
        self._first_seconds: float | None = None
        self._in_flight: dict[int | str, list[Item]] = {}
        self._most_in_flight = 0
        self._lock = threading.Lock()
        self._source_error: Exception | None = None
        self._intake: Intake | None = None
        self._exit: Exit | None = None
        self._observer: ObserverBase[Outcome[Any]] | None = None

    def start(
        self,
        ids: Observable[Any],
        stages: Stages,
        write: Write,
        observer: ObserverBase[Outcome[Any]],
        scheduler: SchedulerBase | None = None,
    ) -> None:
        """Let IDs flow: from their source through the stages and the sink to whoever wants the outcomes."""
        self._observer = observer

        def take(items: ObserverBase[Item], scheduler: SchedulerBase | None = None) -> DisposableBase:
            self._intake = Intake(self, self._limit, items)
            return self._intake.subscribe_to(ids, scheduler)

        def leave(outcomes: ObserverBase[Outcome[Any]], scheduler: SchedulerBase | None = None) -> DisposableBase:
            self._exit = Exit(self, outcomes)
            return self._exit.subscribe_to(reactivex.create(take).pipe(stages), scheduler)

        subscription = write(reactivex.create(leave)).subscribe(
            self._ended, self._finish, self._finish, scheduler=scheduler
        )

        def cancel() -> None:
            self.finished.cancel()

        self.subscription.disposable = CompositeDisposable(subscription, Disposable(cancel))

    def stop(self) -> None:
        """Take no more IDs, and let those taken finish."""
        if self._intake is not None:
            self._intake.stop()

    def abort(self) -> None:
        """Cancel what is in the stages; what has left them is still written."""
        self.stop()
        if self._exit is not None:
            self._exit.abort()

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return self._clock.now() - self._began if self._seconds is None else self._seconds

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
            seconds=seconds,
            first_seconds=self._first_seconds,
            most_in_flight=self._most_in_flight,
            stages=tuple(_stage_report(stage, seconds) for stage in self.stages),
        )

    # What happens to items; each is called by one thread at a time

    def take(self, item_id: int | str) -> Item:
        """An ID was taken from the source."""
        item = Item(item_id, self._clock.now())
        with self._lock:
            self._in_flight.setdefault(item_id, []).append(item)
            self.taken += 1
        self._most_in_flight = max(self._most_in_flight, self.in_flight)
        return item

    def leave(self, item: Item) -> Outcome[Any]:
        """An item has left the stages."""
        if self._intake is not None:
            self._intake.make_room()
        return item.outcome(self._clock.now())

    def source_failed(self, error: Exception) -> None:
        """The source failed: what was taken finishes, then the run fails with that."""
        self._source_error = error

    def _ended(self, outcome: Outcome[Any]) -> None:
        with self._lock:
            items = self._in_flight[outcome.id]
            items.pop(0)
            if not items:
                del self._in_flight[outcome.id]
        if outcome.status == "written":
            self.written += 1
            if self._first_seconds is None:
                self._first_seconds = self.seconds
        else:
            self.failed += 1
        self._notify(outcome)

    def _finish(self, error: Exception | None = None) -> None:
        """The sequence is over: what has not come out by now was cancelled."""
        error = error or self._source_error
        now = self._clock.now()
        for items in self._in_flight.values():
            for item in items:
                self.cancelled += 1
                self._notify(item.cancelled(now))
        self._in_flight.clear()
        self._seconds = self.seconds
        try:
            if self._observer is not None:
                self._observer.on_completed() if error is None else self._observer.on_error(error)
        finally:
            if self.finished.set_running_or_notify_cancel():
                if error is None:
                    self.finished.set_result(self.report())
                else:
                    self.finished.set_exception(error)

    def _notify(self, outcome: Outcome[Any]) -> None:
        if self._observer is not None:
            self._observer.on_next(outcome)


def _stage_report(stage: StageStats, seconds: float) -> StageReport:
    slot_seconds = stage.concurrency * seconds
    return StageReport(
        name=stage.name,
        concurrency=int(stage.concurrency),
        done=stage.done,
        failed=stage.failed,
        retried=stage.retried,
        abandoned=stage.abandoned,
        busy_seconds=stage.busy,
        utilization=min(1.0, stage.busy / slot_seconds) if slot_seconds else 0.0,
    )


class Intake(Machine[Any, Item]):
    """Where IDs come in: it takes one when there is room for it, and none once it is stopped."""

    def __init__(self, run: Run, limit: float, observer: ObserverBase[Item]) -> None:
        super().__init__(observer, 1)
        self._run = run
        self._limit = limit
        self._inside = 0
        self._ids: deque[int | str] = deque()

    def arrive(self, value: Any) -> None:
        """Queue an ID."""
        if isinstance(value, (int, str)) and not isinstance(value, bool):
            self._ids.append(value)
        elif not self.source_done:
            kind = type(value).__name__
            self.source_failed(ConfigError(f"source: an ID must be an int or a str, not {value!r} ({kind})"))

    def source_failed(self, error: Exception) -> None:
        """Let those that are taken finish before the run fails."""
        self._run.source_failed(error)
        self.source_completed()

    def stop(self) -> None:
        """Take no more; from any thread."""
        self._upstream.dispose()
        self.post(self._stop)

    def _stop(self) -> None:
        self._ids.clear()
        self.source_completed()

    def make_room(self) -> None:
        """An item has left the stages."""
        self.post(self._make_room)

    def _make_room(self) -> None:
        self._inside -= 1

    def advance(self) -> None:
        """Let IDs in."""
        while self._ids and not self.over and self._inside < self._limit and self.may_emit():
            self._inside += 1
            self.emit(self._run.take(self._ids.popleft()))
            self.gate.release()
        if self.source_done and not self._ids:
            self.end()

    def free(self) -> None:
        """Forget the IDs that were not taken."""
        self._ids.clear()


class Exit(Machine[Item, Outcome[Any]]):
    """Where items leave the stages, on their way to the sink."""

    def __init__(self, run: Run, observer: ObserverBase[Outcome[Any]]) -> None:
        super().__init__(observer, 1)
        self._run = run
        self._outcomes: deque[Outcome[Any]] = deque()

    def arrive(self, value: Item) -> None:
        """Note an item's end."""
        self._outcomes.append(self._run.leave(value))

    def abort(self) -> None:
        """Cancel what is in the stages; from any thread."""
        self._upstream.dispose()
        self.post(self.source_completed)

    def advance(self) -> None:
        """Hand outcomes to the sink."""
        while self._outcomes and not self.over and self.may_emit():
            self.emit(self._outcomes.popleft())
            self.gate.release()
        if self.source_done and not self._outcomes:
            self.end()

    def free(self) -> None:
        """Forget what was not handed over."""
        self._outcomes.clear()
