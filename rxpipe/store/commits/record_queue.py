"""The queue in which records wait for their commit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from reactivex.abc import ObserverBase

from rxpipe.operators.batch import ListMachine
from rxpipe.operators.core.clock import Clock
from rxpipe.pipeline.claim import ClaimedOutcome
from rxpipe.pipeline.outcome import Outcome
from rxpipe.store.commits.records import Closing, Ended, Record, Used, failed_call


class RecordQueue(ListMachine[Outcome[Any], Record]):
    """One queue for checkpoints, failed calls and outcomes, with a closing record at its end. Emits lists to commit.

    Attributes:
        failure: The error that the stages failed with.
        late: Usage of calls on threads that ended after the closing record, as they could not be cancelled.
    """

    def __init__(
        self,
        observer: ObserverBase[list[Record]],
        stages: Sequence[str],
        *,
        max_items: int,
        max_seconds: float,
        clock: Clock,
        is_awaited: Callable[[], bool],
    ) -> None:
        """Describe a queue.

        Args:
            observer: Commits the records.
            stages: The names of the stages, and of the sink.
            max_items: The longest list.
            max_seconds: Seconds that a record waits for others.
            clock: The clock for waiting.
            is_awaited: Returns True if no other record need follow soon. Called after an outcome, and after any record
                of a quarantined item. If True, the record does not wait for others. The sooner a result is committed,
                the less often a worker's death is blamed on its item.
        """
        super().__init__(max_items, max_seconds, clock, observer)
        self._stages = stages
        self._is_awaited = is_awaited
        self.failure: Exception | None = None
        self.late: deque[Used] = deque()
        self._is_closing = False

    def note(self, record: Record) -> None:
        """Queue an event of an item that goes on. From any thread."""
        if self._is_closing and isinstance(record, Used):
            self.late.append(record)
        else:
            self.post(self._take, record)

    def _take(self, record: Record) -> None:
        """Take a record beyond the bound. Until it is emitted, there is one place less for outcomes."""
        if self.over:
            return
        self.gate.released -= 1
        self.add(record)
        if not isinstance(record, Closing) and record.claim.quarantined and self._is_awaited():
            self.flush()

    def arrive(self, value: Outcome[Any]) -> None:
        """Queue an outcome. For an item that failed before any call, also queue the reason."""
        assert isinstance(value, ClaimedOutcome)  # the store has given this item
        claim = value.claim
        if claim.error is not None:
            stage = self._stages[claim.stage]
            self._take(failed_call(claim, stage=stage, attempt=0, error=claim.error, value=value.value, final=True))
        calls, claim.calls = claim.calls, None
        self.add(Ended(claim=claim, outcome=value, calls=calls))
        if self._is_awaited():
            self.flush()

    def source_failed(self, error: Exception) -> None:
        """Keep the error. The queued records are still committed."""
        self.failure = error
        self.source_completed()

    def advance(self) -> None:
        """Emit the lists that are due."""
        if self.source_done and not (self._lists or self._is_closing):
            self._close()
        super().advance()

    def next_list(self) -> list[Record]:
        """Returns the list to emit now. The closing record follows the last record."""
        records = super().next_list()
        if self.source_done and not (self._lists or self._is_closing):
            self._close()
            records += super().next_list()
        return records

    def _close(self) -> None:
        self._is_closing = True
        self._take(Closing())
