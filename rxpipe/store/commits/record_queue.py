"""The line in which records wait for their commit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from reactivex.abc import ObserverBase

from rxpipe.operators.core.machine import Machine
from rxpipe.pipeline.claim import ClaimedOutcome
from rxpipe.pipeline.outcome import Outcome
from rxpipe.store.commits.records import Closing, Ended, Record, Used, failed_call


class RecordQueue(Machine[Outcome[Any], Record]):
    """One line for checkpoints, failed calls and outcomes, and the closing behind them.

    Attributes:
        failure: What the stages failed with.
        late: What calls on threads have used that ended behind the closing, as they could not be cancelled.
    """

    def __init__(self, observer: ObserverBase[Record], stages: Sequence[str], flush: Callable[[], object]) -> None:
        """Describe it.

        Args:
            observer: Commits the records.
            stages: The names of the stages, and of the sink.
            flush: Called behind a record that nothing need follow soon: an outcome, or what became of a quarantined
                item. The sooner its result is committed, the less often a worker's death is laid at its door.
        """
        super().__init__(observer, 1)
        self._stages = stages
        self._flush = flush
        self.failure: Exception | None = None
        self._records: deque[Record] = deque()
        self.late: deque[Used] = deque()
        self._is_closing = False

    def note(self, record: Record) -> None:
        """RecordQueue up what happened to an item that goes on; from any thread."""
        if self._is_closing and isinstance(record, Used):
            self.late.append(record)
        else:
            self.post(self._records.append, record)

    def arrive(self, value: Outcome[Any]) -> None:
        """RecordQueue up an outcome; of an item that no stage was called with, also why."""
        assert isinstance(value, ClaimedOutcome)  # of an item that the store has given
        claim = value.claim
        if claim.error is not None:
            stage = self._stages[claim.stage]
            failed = failed_call(claim, stage=stage, attempt=0, error=claim.error, value=value.value, final=True)
            self._records.append(failed)
        calls, claim.calls = claim.calls, None
        self._records.append(Ended(claim=claim, outcome=value, calls=calls))

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
            if isinstance(record, Ended) or (not isinstance(record, Closing) and record.claim.quarantined):
                self._flush()
        if self._is_closing and not records:
            self.end()

    def free(self) -> None:
        """Forget what was not sent."""
        self._records.clear()
