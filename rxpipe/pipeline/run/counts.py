"""The live counts of a run, for its snapshots and its report."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from rxpipe.errors import HandedOver
from rxpipe.insight.outlook import Outlook
from rxpipe.insight.snapshot import State
from rxpipe.operators.core.clock import Clock
from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.stages.durations import Durations
from rxpipe.operators.stages.settings import StageStats
from rxpipe.pipeline.outcome import CommonError, Outcome, Report
from rxpipe.pipeline.ports import RunPorts
from rxpipe.pipeline.run.error_counts import ErrorCounts
from rxpipe.pipeline.run.in_flight import InFlightItems
from rxpipe.pipeline.run.intake import Intake
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.run_future import Finished


class Counts:
    """The live counts of a run, and its state. Any thread may read them.

    Attributes:
        taken: IDs and records taken from the source.
        written: Items whose row is committed.
        failed: Items that failed.
        dropped: Items that a stage dropped.
        expanded: Items that became children, all of which have ended.
        collected: Children that are now part of their parent.
        cancelled: Items that were cancelled.
        number: The run's number in its store, or None.
        before: Numbers of items that had ended in earlier parts of this run: written, failed.
        usage_before: Total usage of their calls.
        stages: The live counts of each stage, in order.
        quota: The number of items to write; None for all.
        clock: The clock of the run.
        began: When the run began, by that clock.
        outlook: The estimate of the remaining work, if there is one.
        first_seconds: Seconds until the first row was committed; None if there is no row.
        finished: A future of the report. It resolves when every item has ended, and raises the error of a failed run.
    """

    def __init__(self, stages: Sequence[StageStats], clock: Clock, ports: RunPorts) -> None:
        self.taken: int = 0
        self.written: int = 0
        self.failed: int = 0
        self.dropped: int = 0
        self.expanded: int = 0
        self.collected: int = 0
        self.cancelled: int = 0
        self.number, self.before, self.usage_before = ports.number, ports.before, ports.usage_before
        self.stages = stages
        self.quota = ports.quota
        self.clock = clock
        self.began = clock.now()
        self.outlook: Outlook | None = None
        self.first_seconds: float | None = None
        self.finished: Future[Report] = Finished()
        self._ports = ports
        self._items = InFlightItems()
        self._intake: Intake | None = None
        self._errors, self._drops = ErrorCounts(), ErrorCounts()
        self._gone = 0  # items that have left the stages
        self._seconds: float | None = None  # set when the run is over
        self._error: Exception | None = None
        self._is_stopped = self._is_aborted = False

    @property
    def seconds(self) -> float:
        """Seconds since the start of the run, until its end."""
        return self.clock.now() - self.began if self._seconds is None else self._seconds

    @property
    def state(self) -> State:
        """The state of the run: its activity, or how it ended."""
        if self._seconds is None:
            return "stopping" if self._is_stopped else "running"
        if self._error is not None:
            return "failed"
        return "stopped" if self._is_stopped else "finished"

    @property
    def usage(self) -> Usage:
        """Total usage that the calls recorded."""
        return sum((stage.usage for stage in self.stages), Usage())

    @property
    def spawned(self) -> int:
        """Children that stages have made."""
        return self._items.spawned

    @property
    def in_flight(self) -> int:
        """Items that are on their way now."""
        return self._items.count

    @property
    def most_in_flight(self) -> int:
        """The most items that were on their way at once."""
        return self._items.most

    @property
    def waiting_for_children(self) -> int:
        """Items that wait for their children now."""
        return self._items.waiting_for_children

    @property
    def waiting_for_commit(self) -> int:
        """Items that have left the stages, and have not ended."""
        ended = self.written + self.failed + self.dropped + self.expanded + self.collected + self.cancelled
        return self._gone - ended

    @property
    def errors(self) -> Sequence[CommonError]:
        """The most common errors of failed items, five at most."""
        return self._errors.commonest()

    @property
    def drops(self) -> Sequence[CommonError]:
        """The most common reasons of drops, five at most."""
        return self._drops.commonest()

    @property
    def source_waited(self) -> float:
        """Total seconds in which there was room for an item, and the source gave none."""
        return 0.0 if self._intake is None else self._intake.waited.total(self.clock.now())

    @property
    def source_waits(self) -> Durations:
        """How long each of these waits lasted, except the wait for the first ID."""
        return Durations() if self._intake is None else self._intake.waits.copy()

    @property
    def source_is_over(self) -> bool:
        """True if no more items come from the source."""
        return self._intake is not None and self._intake.source_done

    @property
    def is_exhausted(self) -> bool:
        """True if the source was read to its end, and the run was not aborted."""
        return self._intake is not None and self._intake.is_exhausted and not self._is_aborted

    @property
    def is_finished(self) -> bool:
        """True if the run has no unfinished items in its store."""
        return self._ports.is_finished()

    def _count(self, outcome: Outcome[Any]) -> int:
        """Count an item that has ended. Called by one thread at a time. Returns the number of equal failures, or 0."""
        alike = 0
        if outcome.status == "written":
            self.written += 1
            if self.first_seconds is None:
                self.first_seconds = self.seconds
        elif outcome.status == "failed":
            self.failed += 1
            alike = self._errors.add(outcome)
        elif outcome.status == "dropped":
            self.dropped += 1
            self._drops.add(outcome)
        elif isinstance(outcome.error, HandedOver):
            self.taken -= 1  # another run takes it again, or the store handles its end
        else:
            setattr(self, outcome.status, getattr(self, outcome.status) + 1)
        return alike

    def _close(self) -> list[Item] | None:
        """Stop counting. Returns the items still in flight, which are cancelled; ``None`` if it was closed before."""
        items = self._items.close()
        if items is not None:
            expanded = sum(item.is_expanded for item in items)
            self.expanded += expanded
            self.cancelled += len(items) - expanded
            self._seconds = self.seconds
        return items
