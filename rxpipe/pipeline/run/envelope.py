"""How the stages of a run handle items: calls, results, checkpoints and events."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from rxpipe.errors import CheckpointError, ConfigError, ItemCancelled, StopRun
from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.stages.retry_policy import uses_attempt
from rxpipe.operators.stages.settings import KEPT, Admission, Call, Decision, Failure, Kept, StageStats
from rxpipe.pipeline.children import Children
from rxpipe.pipeline.claim import CachedResult, CacheLookup, Journal
from rxpipe.pipeline.decisions import Drop, SendBack
from rxpipe.pipeline.listener import Listeners
from rxpipe.pipeline.run.budget import Budget
from rxpipe.pipeline.run.flow import Flow
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.spawner import Spawner
from rxpipe.pipeline.run.stage_role import StageRole

Stop = Callable[[StopRun], None]
"""Called with an error when the run must take no more IDs, and fail with that error."""


class ItemEnvelope:
    """How a stage handles items. An item that has ended, or has been here in an earlier run, passes without a call.

    Attributes:
        stats: The stage's counts.
        spawn: Returns the child for one value that the function gave; ``KEPT`` if no child goes on.
    """

    def __init__(
        self,
        role: StageRole,
        *,
        journal: Journal | None = None,
        budget: Budget | None = None,
        flow: Flow | None = None,
        stop: Stop = lambda error: None,
        listeners: Listeners | None = None,
        now: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Describe a stage.

        Args:
            role: The role of the stage.
            journal: Stores the progress of items.
            budget: The limit of the run's cost.
            flow: The other ways of items: children, parents, items that are sent back.
            stop: Called when a function has stopped the run.
            listeners: Receive the events of calls.
            now: Returns the time, in seconds.
        """
        self._role = role
        self._stage, self._index, self._last = role.name, role.index, role.is_last
        self._is_plain = role.when is None and role.collects is None
        self._journal = journal
        self._budget = budget
        self._flow = flow or Flow([role.name])
        self._spawner = Spawner(role, self._flow, journal, now)
        self.spawn = self._spawner.spawn  # called for each child, so not through a method
        self._stop = stop
        self._listeners = listeners or Listeners()
        self._now = now
        self._stopped_by: StopRun | None = None
        self.stats = StageStats()

    def count_in(self, stats: StageStats) -> None:
        """Use these counts of the stage."""
        self.stats = self._spawner.stats = stats

    @property
    def may_begin(self) -> Callable[[Callable[[], None]], bool] | None:
        """Returns True if a call may begin; see ``Journal``. None without a journal."""
        return None if self._journal is None else self._journal.may_begin

    def attach(self, readmit: Callable[[Item], None]) -> None:
        """The stage is subscribed to."""
        self._flow.attach(self._index, readmit)

    # Items come in

    def admit(self, item: Item, call: Call) -> Admission:
        """Decide if an item waits for its call, passes, or ends here because the stage collects it.

        Raises:
            Exception: The error of the user's ``when``.
        """
        if not self._is_plain:
            if self._collects(item):
                return "keep" if self._flow.arrived(item, self._now()) else "pass"
            if self._passes(item):
                return "pass"
        if item.settled or item.finished > self._index or (item.claim is not None and item.claim.lost):
            return "pass"
        item.call = call
        if item.is_cancelled:
            call.give_up(ItemCancelled())
        elif item.lookup is not None and item.lookup.hit is not None:
            self._reuse(item, item.lookup.hit)
            return "pass"
        return "call"

    def _reuse(self, item: Item, hit: CachedResult) -> None:
        """Use the result of an earlier call in place of a call."""
        self.stats.cached += 1
        self.stats.saved += hit.usage
        self._listeners.cached(item, self._stage, hit.usage)
        if self._journal is not None and item.claim is not None:
            self._journal.reused(item.claim, self._index, item.attempts, hit)
        self._go_on(item, hit.value)

    def _collects(self, item: Item) -> bool:
        """Returns True if the item is a child that this stage collects. An earlier run may have made it."""
        if item.siblings is not None:
            return item.siblings.collected_by == self._index
        is_child = item.claim is not None and item.claim.parent is not None
        return is_child and item.first - 1 == self._role.collects

    def _passes(self, item: Item) -> bool:
        """Let an item pass if ``when`` says so, or if the stage collects children and the item has none.

        Returns True if it passes.
        """
        if item.settled or item.finished > self._index:
            return False
        if self._role.collects is None:
            assert self._role.when is not None
            if self._role.when(item.value):
                return False
        elif isinstance(item.value, Children):
            return False
        self._checkpoint(item, item.value)
        self._go_on(item, item.value)
        return True

    def open(self, item: Item, call: Call) -> Any:
        """Returns the function's argument, just before a call.

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

    # Calls end

    def close(self, item: Item, result: Any) -> Item | Kept:
        """Returns the item with the function's result."""
        if self._journal is not None:
            self._told(item, "ok")  # before the result, so that both are stored together
            try:
                self._checkpoint(item, result, item.lookup)
            except CheckpointError as error:
                return self._failed(Failure(value=item, error=error, stage=self._stage, attempts=1))
        if self._listeners.told:
            self._call_ended(item)
        else:
            item.in_call = False
        item.inputs.append(item.value)  # the same as ``_go_on``, since this runs for each call
        item.value = result
        item.stage = item.call = None
        if item.rounds:
            item.feedback, item.went_back = None, False
        if item.lookup is not None:
            item.lookup = None
        item.finished = self._index + 1
        item.settled = self._last
        return item

    def decide(self, item: Item, decision: Decision) -> Item | Kept:
        """Returns the item after the function has dropped it or sent it back."""
        self.stats.failed += 1  # until it is done
        return self.fail(Failure(value=item, error=decision, stage=self._stage, attempts=1))

    def _checkpoint(self, item: Item, value: Any, lookup: CacheLookup | None = None) -> None:
        if self._journal is not None and item.claim is not None:
            self._journal.checkpoint(item.claim, self._index, item.attempts, value, lookup)

    def _go_on(self, item: Item, value: Any) -> None:
        item.inputs.append(item.value)
        item.value = value
        item.stage = item.call = item.feedback = item.lookup = None
        item.went_back = False
        item.finished = self._index + 1
        item.settled = self._last

    def again(self, item: Item, attempt: int, error: BaseException) -> None:
        """Attempt ``attempt`` failed; another attempt follows."""
        self._told(item, "retried" if uses_attempt(error) else "pushed_back")
        self._call_ended(item, error, again=True)
        if uses_attempt(error):
            self._note(item, attempt, error, final=False)
        else:
            item.attempts -= 1

    def used(self, item: Item, attempt: int, usage: Usage) -> None:
        """Attempt ``attempt`` has this usage."""
        if item.lookup is not None:
            item.lookup.usage += usage
        if self._journal is not None and item.claim is not None:
            self._journal.used(item.claim, self._stage, attempt, usage)
        self._listeners.used(item, self._stage, attempt, usage)

    def fail(self, failure: Failure[Item]) -> Item | Kept:
        """Returns the item after a failure or a decision of its last call.

        A failed item goes on to the exit as data.
        """
        self._told(failure.value, _end_of(failure.error))
        return self._failed(failure)

    def _failed(self, failure: Failure[Item]) -> Item | Kept:
        item, error = failure.value, failure.error
        item.stage = self._stage  # also if its ``when`` or ``key`` has failed, and no call was made
        self._call_ended(item, None if isinstance(error, Decision) else error)
        if isinstance(error, SendBack):
            return self._send_back(item, error, failure.attempts)
        if isinstance(error, Drop):
            return self._drop(item, error)
        if isinstance(error, StopRun):
            return self._give_back(item, error, failure.attempts)
        if isinstance(error, ItemCancelled):
            self.stats.failed -= 1
            self.stats.cancelled += 1
        return self._fail(item, error, failure.attempts)

    def _give_back(self, item: Item, error: StopRun, attempts: int) -> Item:
        self.stats.failed -= 1
        self.stats.cancelled += 1
        self._stopped_by = self._stopped_by or error
        self._stop(error)
        return self._fail(item, error, attempts)

    def _fail(self, item: Item, error: BaseException, attempts: int) -> Item:
        self._note(item, attempts, error, final=True)
        item.settle("failed", error)
        return item

    def _drop(self, item: Item, drop: Drop) -> Item:
        self.stats.failed -= 1
        self.stats.dropped += 1
        item.settle("dropped", drop)
        return item

    def _send_back(self, item: Item, error: SendBack, attempts: int) -> Item | Kept:
        if (wrong_stage := self._flow.no_way_back(error.stage, latest=self._index)) is not None:
            # The function is wrong, not the item. All other items would fail, too, after they were paid for.
            stop = StopRun(f"stage {self._stage} cannot send items back to {error.stage!r}: {wrong_stage}")
            stop.__cause__ = error
            return self._give_back(item, stop, attempts)
        to = self._flow.way_back(item, error.stage, latest=self._index)
        if isinstance(to, str):
            wrong = ConfigError(f"stage {self._stage} cannot send {item.id!r} back to {error.stage!r}: {to}")
            wrong.__cause__ = error
            return self._fail(item, wrong, attempts)
        if item.rounds >= self._role.max_rounds:
            error.max_rounds = self._role.max_rounds
            return self._drop(item, Drop(str(error))) if error.or_drop else self._fail(item, error, attempts)
        self.stats.failed -= 1
        self.stats.sent_back += 1
        try:
            if self._journal is not None and item.claim is not None:
                self._journal.sent_back(
                    item.claim,
                    stage=self._index,
                    to=to,
                    kept=self._flow.kept_at(item, to, self._index),
                    attempts=item.attempts,
                    rounds=item.rounds + 1,
                    feedback=error.feedback,
                )
            self._listeners.sent_back(item, self._stage, error.stage)
            self._flow.send_back(item, to, error.feedback, self._index)
        except CheckpointError as unkept:
            return self._fail(item, unkept, attempts)
        return KEPT

    def _told(self, item: Item, ended: str) -> None:
        """Report a call that has ended to the journal, if a call was made, once."""
        if item.call_reported:
            item.call_reported = False
            return
        if self._journal is None or item.claim is None or not item.in_call or item.call is None:
            return
        if (time := item.call.time(ended)) is not None:
            self._journal.called(item.claim, self._index, time, item.call.take_notes())

    def _call_ended(self, item: Item, error: BaseException | None = None, *, again: bool = False) -> None:
        if item.in_call:
            item.in_call = False
            if self._listeners.told:
                self._listeners.call_ended(item, self._stage, error, again=again)

    def _note(self, item: Item, attempt: int, error: BaseException, *, final: bool) -> None:
        if self._journal is not None and item.claim is not None and not isinstance(error, StopRun):
            self._journal.call_failed(item.claim, self._stage, attempt, error, item.value, final=final)

    # Many values

    def begin_many(self, item: Item, values: Any) -> None:
        """A call begins to give values; see ``Spawner``.

        A call that has returned all of them is over, though its values may take long to go downstream. So it is kept
        together with them.
        """
        if isinstance(values, Collection):
            self._told(item, "ok")
            item.call_reported = True
        self._spawner.begin(item, values)

    def may_pass(self, item: Item, wake: Callable[[], None]) -> bool:
        """Returns True if an item may go downstream now. If not, ``wake`` is called when you may ask again."""
        return self._flow.may_pass(item, self._index, wake)

    def expanded(self, item: Item) -> Item | Kept:
        """The function has given its last value: the item waits for its children."""
        self._told(item, "ok")
        self._spawner.end(item)
        self._call_ended(item)
        item.stage = item.call = item.feedback = None
        self._flow.expanded(item)
        return KEPT


def _end_of(error: BaseException) -> str:
    """Returns how the last call for an item has ended."""
    if isinstance(error, Drop):
        return "dropped"
    if isinstance(error, SendBack):
        return "sent_back"
    return "cancelled" if isinstance(error, (StopRun, ItemCancelled)) else "failed"
