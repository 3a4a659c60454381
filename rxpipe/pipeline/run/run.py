"""One run of a pipeline: takes IDs, and follows every item to its end. You can stop it in two steps."""

from __future__ import annotations

import contextvars
import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import reactivex
import structlog
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable, SingleAssignmentDisposable

from rxpipe.errors import StopRun
from rxpipe.insight.failing import ENOUGH, all_failing
from rxpipe.insight.insight import Insight
from rxpipe.insight.snapshot import Snapshot
from rxpipe.operators.core.clock import Clock, guarded
from rxpipe.operators.core.machine import as_exception
from rxpipe.operators.stages.settings import StageStats
from rxpipe.operators.stages.times import Standing
from rxpipe.pipeline.claim import Claim
from rxpipe.pipeline.listener import Listeners
from rxpipe.pipeline.outcome import Outcome, Report
from rxpipe.pipeline.ports import RunPorts
from rxpipe.pipeline.record import Record
from rxpipe.pipeline.run.counts import Counts
from rxpipe.pipeline.run.exit import Exit
from rxpipe.pipeline.run.flow import Flow
from rxpipe.pipeline.run.intake import Intake
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.report import report_of
from rxpipe.pipeline.run.snapshots import RunFacts, Watch
from rxpipe.pipeline.run.strategies import Stages
from rxpipe.pipeline.source import CollectionSource, subscribable

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Run(Counts):
    """One run. It has live counts while it lasts, and a report at its end.

    ``stop()`` takes no more IDs and lets items on their way finish. ``abort()`` cancels the calls; finished items are
    still written. You can call both from any thread. They return at once.

    Attributes:
        listeners: Receive the events of items.
        subscription: Disposing it ends the run at once: items on their way are cancelled, and nothing more is notified.
    """

    def __init__(
        self,
        stages: Sequence[StageStats],
        clock: Clock,
        ports: RunPorts,
        flow: Flow,
        *,
        limit: float = math.inf,
        staged: bool = False,
        listeners: Listeners | None = None,
        admitted: Callable[[Item], object] | None = None,
        facts: RunFacts | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            stages: The counts of the stages.
            clock: Measures the seconds.
            ports: The open resources of the run.
            flow: The other ways of items: children, parents, items that are sent back.
            limit: The most items that may be on their way to the sink at once.
            staged: True if all items go through the stages before the first goes into the sink.
            listeners: Receive the events of items.
            admitted: Called with each item that is taken, before all listeners.
            facts: Facts for the snapshots, besides the counts.
        """
        super().__init__(stages, clock, ports)
        self.listeners = listeners or Listeners()
        self.subscription = SingleAssignmentDisposable()
        self._flow = flow
        self._admitted = admitted
        self._limit = limit
        self._staged = staged
        self._context = contextvars.copy_context()
        self._ends = 0
        self._steps_to_end = itertools.count(1)
        facts = facts or RunFacts()
        self._watch = Watch(self, facts)
        self._has_warned = facts.is_simulated
        self._when_empty: Callable[[], None] | None = None
        self._exit: Exit | None = None
        self._observer: ObserverBase[Outcome[Any]] | None = None
        self._observer_failed = False

    def start(
        self,
        source: Observable[Any],
        stages: Stages,
        observer: ObserverBase[Outcome[Any]] | None = None,
        scheduler: SchedulerBase | None = None,
    ) -> None:
        """Let IDs flow from their source through the stages and the sink to the observer.

        Args:
            source: The IDs.
            stages: The operator of all stages.
            observer: Receives each outcome.
            scheduler: The scheduler for the time of the run.
        """
        self._observer = observer
        self.listeners.run_started(self)
        ids = self._ports.take(source)
        if self.quota is not None:
            self.quota.reached = self._end_early  # the remaining items are not needed
            if self.quota.missing <= 0:
                ids = reactivex.empty()

        def take(items: ObserverBase[Item], scheduler: SchedulerBase | None = None) -> DisposableBase:
            self._intake = Intake(self, self._limit, self._ports.ahead, items)
            if isinstance(ids, CollectionSource):
                return self._intake.pull_from(ids.ids, scheduler)
            return self._intake.subscribe_to(subscribable(ids), scheduler)

        def leave(outcomes: ObserverBase[Outcome[Any]], scheduler: SchedulerBase | None = None) -> DisposableBase:
            self._exit = Exit(self, outcomes, staged=self._staged)
            self._flow.attach_run(self, self._exit.readmit)
            return self._exit.subscribe_to(reactivex.create(take).pipe(stages), scheduler)

        try:
            outcomes = self._ports.write(reactivex.create(leave))
            subscription = outcomes.subscribe(self._ended, self._finish, self._finish, scheduler=scheduler)
        except BaseException:  # of the sink
            if self._exit is not None:
                self._exit.dispose()
            self._disposed()
            raise
        self.subscription.disposable = Disposable(partial(self._dispose_of, subscription))

    def stop(self) -> None:
        """Take no more IDs, and let items on their way finish. Does nothing if the run is over."""
        self._is_stopped |= self._seconds is None
        self._take_no_more()

    def abort(self) -> None:
        """Cancel the items in the stages. Finished items are still written. Does nothing if the run is over."""
        self._is_stopped |= self._seconds is None
        self._is_aborted |= self._seconds is None
        self._end_early()

    def _take_no_more(self) -> None:
        if self._intake is not None:
            self._intake.stop()

    def _end_early(self) -> None:
        self._take_no_more()
        if self._exit is not None:
            self._exit.abort()
        self._ports.aborted()

    def snapshot(self) -> Snapshot:
        """Returns the numbers of the run at this moment. From any thread."""
        return self._watch.snapshot()

    def conclude(self, last: Snapshot) -> Snapshot:
        """Returns the last snapshot with the bottleneck added. Later snapshots have the same bottleneck."""
        return self._watch.conclude(last)

    def snapshots(self, seconds: float = 1.0) -> Observable[Snapshot]:
        """Returns an observable of the numbers: now, then every ``seconds`` seconds, and once more at the end.

        If the observer is slow, only the newest waiting snapshot is kept.

        Raises:
            ValueError: ``seconds`` is not above 0.
        """
        return self._watch.snapshots(seconds)

    def standing(self) -> list[Standing]:
        """Returns the calls of each stage that run or wait for their delay. From any thread."""
        now = self.clock.now()
        return [stage.times.standing(now) for stage in self.stages]

    def insight(self) -> Insight:
        """Returns the present bottleneck, the gain of a change, and the stages that stand still. From any thread."""
        return self._watch.insight()

    def report(self) -> Report:
        """Returns the counts so far as a report. They add up when the run is over."""
        return report_of(self, self.insight().advice)

    # Events of items; each method is called by one thread at a time

    def take(self, taken: int | str | Record | Claim) -> Item | None:
        """Take an ID from the source. Returns ``None`` if the run was already over."""
        item = Item(taken, self.clock.now())
        item.context = self._context
        if not self._items.add(item):
            return None
        self.taken += 1
        if self.quota is not None:
            self.quota.begin(item)
        if self._admitted is not None:
            self._admitted(item)
        if self.listeners.told:
            self.listeners.taken(item)
        return item

    def enter(self, child: Item) -> bool:
        """A child begins. Returns False if the run was already over."""
        if not self._items.add(child):
            return False
        if self.listeners.told:
            self.listeners.taken(child)
        return True

    def left(self, item: Item) -> None:
        """An item leaves for the sink, or goes no further, and makes room for another item."""
        if self.listeners.told:
            self.listeners.left(item)
        if item.siblings is not None and item.given_back:
            self._flow.child_over(item, cut_off=item.error)
        self._gone += 1
        if self._when_empty is not None and self._gone == self._items.entered:
            self._when_empty()
        if self._limit != math.inf and self._intake is not None and item.parent is None:
            self._intake.make_room()

    def may_complete(self, wake: Callable[[], None]) -> bool:
        """Returns True if the stages may complete. If not yet, ``wake`` is called when they may.

        An item in the stages may be sent back, or wait for its children. So all items must have left. With ``staged``
        each stage completes before the next one starts, and no item takes another way.
        """
        self._when_empty = wake  # before looking: ``left`` counts first, and then looks here
        return self._staged or self._gone == self._items.entered

    def outcome(self, item: Item) -> Outcome[Any]:
        """Returns the outcome of an item that leaves the stages."""
        return item.outcome(self.clock.now())

    @property
    def is_ending(self) -> bool:
        """True if calls that were cancelled have not ended yet."""
        return any(stage.ending for stage in self.stages)

    def settled(self) -> list[Item]:
        """Returns the items that need no more calls, wherever they are."""
        return self._items.settled()

    def fail(self, error: Exception) -> None:
        """Let the run fail with this error when all items have ended. The first error counts."""
        self._error = self._error or error

    def stop_with(self, error: StopRun) -> None:
        """Take no more IDs, let the other items finish, and then fail with this error."""
        self.fail(error)
        self.stop()

    def _ended(self, outcome: Outcome[Any]) -> None:
        item = self._items.take_out(outcome)
        if item is None:
            return
        if self._count(outcome) == ENOUGH and not self._has_warned:
            self._warn_if_all_fail()
        self._ends += 1
        if self._ends >= self._watch.look_at:
            self._watch.look(self._ends)
        self._notify(item, outcome)
        if item.siblings is not None:
            self._flow.child_over(item, outcome)
        if self.quota is not None:
            self.quota.leave(item, is_written=outcome.status == "written")

    def _warn_if_all_fail(self) -> None:
        if (error := all_failing(self.snapshot())) is not None:
            self._has_warned = True
            _log.warning(
                "all items fail in a stage",
                stage=error.stage,
                failed=error.count,
                error=error.text,
                hint=f"rxpipe run --max-failures {ENOUGH} ends such a run early",
            )

    def _finish(self, error: Exception | None = None) -> None:
        """The sequence has ended."""
        cancelled = self._close()
        if cancelled is None:
            return
        if error is not None:  # an error of the sink is graver than one of a source or a stage, since rows are missing
            error.__context__ = self._error
            self._error = error
        self.finished.set_running_or_notify_cancel()  # first, since the observer may dispose of the run
        now = self.clock.now()
        for item in cancelled:
            self._notify(item, item.cancelled(now))
        try:
            if self._observer is not None:
                self._observer.on_completed() if self._error is None else self._observer.on_error(self._error)
        finally:
            self.subscription.dispose()  # now, or as soon as ``start`` has it
            self._end()

    def _dispose_of(self, outcomes: DisposableBase) -> None:
        """Dispose the outcomes. This closes the sink."""
        guarded(outcomes.dispose)
        self._disposed()

    def _disposed(self) -> None:
        items = self._close()
        if items is None:
            self._end()
            return
        for item in items:
            self.listeners.ended(item, item.cancelled(self.clock.now()))
        self.finished.cancel()

    def _end(self) -> None:
        """Resolve ``finished``, after the observer was notified of the end and the outcomes are disposed."""
        if next(self._steps_to_end) == 2 and not self.finished.cancelled():
            self._resolve()

    def _resolve(self) -> None:
        if self._error is None:
            try:
                self.finished.set_result(self.report())
                return
            except Exception as error:  # noqa: BLE001 - a fault of ours; without this the run would never end
                self.fail(error)
        self.finished.set_exception(self._error)

    def _notify(self, item: Item, outcome: Outcome[Any]) -> None:
        """Notify the observer. If it raises, it receives no more outcomes, and finished items are still written."""
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
