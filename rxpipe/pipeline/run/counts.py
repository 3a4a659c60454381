"""What a run counts, and what its snapshots and its report read of that."""

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
    """The live counts of a run, and its state. They may be read from any thread.

    Attributes:
        taken: IDs taken from the source.
        written: Items whose row is committed.
        failed: Items that failed.
        dropped: Items that a stage has dropped.
        expanded: Items that ended with their children.
        collected: Children that ended in their parent.
        cancelled: Items that were cancelled.
        number: The run's number in its store, or None.
        before: Items that had ended before, in earlier runs that this one goes on with: written, failed.
        usage_before: What the calls of those had used.
        stages: Each stage's live counts, in order.
        quota: How many items are to be written; None for all.
        clock: What its time goes by.
        began: When it began, by that.
        outlook: What is left of the run, as far as somebody has estimated that.
        first_seconds: How long it took until the first row was committed; None if none was.
        finished: Resolves to the report when every item has ended; raises what the run failed with.
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
        self._seconds: float | None = None  # once it is over
        self._error: Exception | None = None
        self._is_stopped = self._is_aborted = False

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return self.clock.now() - self.began if self._seconds is None else self._seconds

    @property
    def state(self) -> State:
        """What it does, or how it ended."""
        if self._seconds is None:
            return "stopping" if self._is_stopped else "running"
        if self._error is not None:
            return "failed"
        return "stopped" if self._is_stopped else "finished"

    @property
    def usage(self) -> Usage:
        """What its calls have used, as far as they told."""
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
        """The commonest errors of items that failed, five at most."""
        return self._errors.commonest()

    @property
    def drops(self) -> Sequence[CommonError]:
        """The commonest reasons for which items were dropped, five at most."""
        return self._drops.commonest()

    @property
    def source_waited(self) -> float:
        """Seconds in which there was room for an item, and the source gave none."""
        return 0.0 if self._intake is None else self._intake.waited.total(self.clock.now())

    @property
    def source_waits(self) -> Durations:
        """How long each ID was waited for like that, the first one apart."""
        return Durations() if self._intake is None else self._intake.waits.copy()

    @property
    def source_is_over(self) -> bool:
        """Whether no more comes from the source."""
        return self._intake is not None and self._intake.source_done

    @property
    def is_exhausted(self) -> bool:
        """Whether the source was read to its end, and the run not aborted."""
        return self._intake is not None and self._intake.is_exhausted and not self._is_aborted

    @property
    def is_finished(self) -> bool:
        """Whether nothing of it is left to do in its store."""
        return self._ports.is_finished()

    def _count(self, outcome: Outcome[Any]) -> int:
        """Count an item that has ended; by one thread at a time. Returns how many have failed as it has, or 0."""
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
            self.taken -= 1  # it is taken again, or the store sees to its end
        else:
            setattr(self, outcome.status, getattr(self, outcome.status) + 1)
        return alike

    def _close(self) -> list[Item] | None:
        """Count no more outcomes: items still in flight are cancelled. ``None`` if it was closed before."""
        items = self._items.close()
        if items is not None:
            expanded = sum(item.is_expanded for item in items)
            self.expanded += expanded
            self.cancelled += len(items) - expanded
            self._seconds = self.seconds
        return items
