"""How the stages of a run handle items: which are called with, and what is kept and told of each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rxpipe.errors import CheckpointError, ItemCancelled, StopRun
from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.stages.retry_policy import uses_attempt
from rxpipe.operators.stages.settings import Call, Failure
from rxpipe.pipeline.listener import Listeners
from rxpipe.pipeline.ports import Journal
from rxpipe.pipeline.run.budget import Budget
from rxpipe.pipeline.run.item import Item

CutOff = Callable[[int, StopRun | ItemCancelled], None]
"""Called with a stage's index and the reason, when a call was not made or was ended, but the item has not failed."""


class ItemEnvelope:
    """How a stage handles items: one that has failed, or been there in an earlier run, skips the call."""

    def __init__(
        self,
        stage: str,
        index: int,
        *,
        last: bool,
        journal: Journal | None = None,
        budget: Budget | None = None,
        cut_off: CutOff = lambda index, error: None,
        listeners: Listeners | None = None,
    ) -> None:
        """Describe it.

        Args:
            stage: The stage's name.
            index: Of the stage.
            last: Whether it is the last one.
            journal: Keeps what happens to items.
            budget: What the run may cost.
            cut_off: Called when a call was not made, or has ended, though the item has not failed.
            listeners: Told of each call.
        """
        self._stage = stage
        self._index = index
        self._last = last
        self._journal = journal
        self._budget = budget
        self._cut_off = cut_off
        self._listeners = listeners or Listeners()
        self._stopped_by: StopRun | None = None

    @property
    def may_begin(self) -> Callable[[Callable[[], None]], bool] | None:
        """Asked before each call; see ``Journal``."""
        return None if self._journal is None else self._journal.may_begin

    def skip(self, item: Item, call: Call) -> bool:
        """Whether no call is made for it here."""
        if item.error is not None or item.finished > self._index or (item.claim is not None and item.claim.lost):
            return True
        item.call = call
        if item.is_cancelled:
            call.give_up(ItemCancelled())
        return False

    def open(self, item: Item, call: Call) -> Any:
        """The function's argument; a call is about to be made with it.

        Raises:
            ItemCancelled: The item is cancelled, so no call may be made.
            StopRun: A call of this stage has stopped the run, or the budget is spent.
        """
        item.stage, item.call = self._stage, call
        if item.is_cancelled:
            raise ItemCancelled
        if self._stopped_by is not None:
            raise self._stopped_by.with_traceback(None)
        if self._budget is not None:
            self._budget.check(self._index)
        item.attempts += 1
        item.in_call = True
        if self._listeners.told:
            self._listeners.call_started(item, self._stage)
        return item.value

    def close(self, item: Item, result: Any) -> Item:
        """The item with the function's result."""
        if self._journal is not None and item.claim is not None:
            try:
                self._journal.checkpoint(item.claim, self._index, item.attempts, result)
            except CheckpointError as error:
                return self.fail(Failure(value=item, error=error, stage=self._stage, attempts=1))
        self._call_ended(item)
        item.value = result
        item.stage = None
        item.finished = self._index + 1
        item.settled = self._last
        return item

    def again(self, item: Item, attempt: int, error: BaseException) -> None:
        """A call has failed, and another will follow."""
        self._call_ended(item, error, again=True)
        if uses_attempt(error):
            self._note(item, attempt, error, final=False)
        else:
            item.attempts -= 1

    def used(self, item: Item, attempt: int, usage: Usage) -> None:
        """A call has used this."""
        if self._journal is not None and item.claim is not None:
            self._journal.used(item.claim, self._stage, attempt, usage)
        self._listeners.used(item, self._stage, attempt, usage)

    def fail(self, failure: Failure[Item]) -> Item:
        """The item whose last call has failed; it travels on as data."""
        item = failure.value
        self._call_ended(item, failure.error)
        if isinstance(failure.error, StopRun):
            self._stopped_by = self._stopped_by or failure.error
        if isinstance(failure.error, (StopRun, ItemCancelled)):
            self._cut_off(self._index, failure.error)
        self._note(item, failure.attempts, failure.error, final=True)
        item.error = failure.error
        item.settled = True
        return item

    def _call_ended(self, item: Item, error: BaseException | None = None, *, again: bool = False) -> None:
        if item.in_call:
            item.in_call = False
            if self._listeners.told:
                self._listeners.call_ended(item, self._stage, error, again=again)

    def _note(self, item: Item, attempt: int, error: BaseException, *, final: bool) -> None:
        if self._journal is not None and item.claim is not None and not isinstance(error, StopRun):
            self._journal.call_failed(item.claim, self._stage, attempt, error, item.value, final=final)
