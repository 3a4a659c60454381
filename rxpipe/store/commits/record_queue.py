"""The line in which records wait for their commit."""

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
    """One line for checkpoints, failed calls and outcomes, and the closing behind them, in lists to commit.

    Attributes:
        failure: What the stages failed with.
        late: What calls on threads have used that ended behind the closing, as they could not be cancelled.
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
        """Describe it.

        Args:
            observer: Commits the records.
            stages: The names of the stages, and of the sink.
            max_items: The longest list.
            max_seconds: How long a record waits for others.
            clock: To wait on.
            is_awaited: Asked behind a record that nothing need follow soon: an outcome, or what became of a quarantined
                item. If nothing comes until it is committed, it does not wait. The sooner a result is committed, the
                less often a worker's death is laid at its door.
        """
        super().__init__(max_items, max_seconds, clock, observer)
        self._stages = stages
        self._is_awaited = is_awaited
        self.failure: Exception | None = None
        self.late: deque[Used] = deque()
        self._is_closing = False

    def note(self, record: Record) -> None:
        """Line up what happened to an item that goes on; from any thread."""
        if self._is_closing and isinstance(record, Used):
            self.late.append(record)
        else:
            self.post(self._take, record)

    def _take(self, record: Record) -> None:
        """Take a record beyond the bound; until it is emitted, there is one place less for outcomes."""
        if self.over:
            return
        self.gate.released -= 1
        self.add(record)
        if not isinstance(record, Closing) and record.claim.quarantined and self._is_awaited():
            self.flush()

    def arrive(self, value: Outcome[Any]) -> None:
        """Line up an outcome; of an item that no stage was called with, also why."""
        assert isinstance(value, ClaimedOutcome)  # of an item that the store has given
        claim = value.claim
        if claim.error is not None:
            stage = self._stages[claim.stage]
            self._take(failed_call(claim, stage=stage, attempt=0, error=claim.error, value=value.value, final=True))
        calls, claim.calls = claim.calls, None
        self.add(Ended(claim=claim, outcome=value, calls=calls))
        if self._is_awaited():
            self.flush()

    def source_failed(self, error: Exception) -> None:
        """What was lined up is still committed."""
        self.failure = error
        self.source_completed()

    def advance(self) -> None:
        """Send what may go."""
        if self.source_done and not (self._lists or self._is_closing):
            self._close()
        super().advance()

    def next_list(self) -> list[Record]:
        """The list that is emitted now; behind the last record comes the closing."""
        records = super().next_list()
        if self.source_done and not (self._lists or self._is_closing):
            self._close()
            records += super().next_list()
        return records

    def _close(self) -> None:
        self._is_closing = True
        self._take(Closing())
