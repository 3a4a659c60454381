"""An item on its way: the envelope in which an ID's value travels through the stages of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rxpipe.budget import Budget
from rxpipe.errors import CheckpointError, ItemCancelled, StopRun
from rxpipe.listener import Listener
from rxpipe.operators.retry import uses_attempt
from rxpipe.operators.running_call import Usage
from rxpipe.operators.stage_settings import Call, Failure
from rxpipe.outcome import Outcome

CutOff = Callable[[int, StopRun | ItemCancelled], None]
"""Takes the place of a stage where a call was not made, or has ended, though the item has not failed; and why."""


@dataclass(slots=True, eq=False, kw_only=True)
class Claim:
    """An item that a run store has given to this process.

    Attributes:
        id: The ID, as the source gave it.
        key: What the store knows it by.
        owner: The worker that has it.
        fence: What tells this claim from earlier and later ones of the same item.
        stage: How many stages have a checkpoint in the store.
        value: What the last of them returned; the ID if there is none.
        attempts: Calls made for it before.
        error: Why it is not to be called with at all, or None.
        outside: Whether the store cannot hold it, as the ID can be no key; ``error`` says why.
        suspect: Whether nothing else may be on its way meanwhile, but for others of its kind.
        lost: Whether another worker has taken the item over: then calls would be for nothing.
    """

    id: int | str
    key: str
    owner: str
    fence: int
    stage: int = 0
    value: Any = None
    attempts: int = 0
    error: BaseException | None = None
    outside: bool = False
    suspect: bool = False
    lost: bool = False


class Journal(Protocol):
    """What keeps what becomes of claimed items: a run store."""

    def checkpoint(self, claim: Claim, stage: int, attempts: int, value: Any) -> None:
        """A stage, by its place, has returned.

        Raises:
            CheckpointError: The value cannot be kept.
        """
        ...

    def call_failed(
        self, claim: Claim, stage: str, attempt: int, error: BaseException, value: Any, *, final: bool
    ) -> None:
        """A stage's call with a value has failed, for good or not."""
        ...

    def used(self, claim: Claim, stage: str, attempt: int, usage: Usage) -> None:
        """A stage's call has used this, whether it failed or not."""
        ...


class Item:
    """One ID on its way, and what has become of it so far; in the hands of one stage at a time.

    Attributes:
        settled: Whether it has failed, or the last stage has returned: no call is made for it any more.
        arrived: Whether it has reached the end of the stages.
        claim: What a run store knows it by; None without one.
        finished: How many stages it has been through.
        context: That of whoever submitted it; where it came from a source, of whoever started the run.
        in_call: Whether a stage's function is at work on it.
    """

    __slots__ = (
        "_call",
        "_is_cancelled",
        "arrived",
        "attempts",
        "claim",
        "context",
        "error",
        "finished",
        "id",
        "in_call",
        "settled",
        "stage",
        "taken_at",
        "value",
    )

    def __init__(self, taken: int | str | Claim, taken_at: float) -> None:
        self.claim = taken if isinstance(taken, Claim) else None
        self.id = taken.id if isinstance(taken, Claim) else taken
        self.value: Any = taken.value if isinstance(taken, Claim) else taken
        self.error = taken.error if isinstance(taken, Claim) else None
        self.attempts = taken.attempts if isinstance(taken, Claim) else 0
        self.finished = taken.stage if isinstance(taken, Claim) else 0
        self.stage: str | None = None
        self.settled = self.error is not None
        self.arrived = False
        self.taken_at = taken_at
        self.context: Context | None = None
        self.in_call = False
        self._call: Call | None = None
        self._is_cancelled = False

    def cancel(self) -> None:
        """Let it end as cancelled, unless it leaves the stages first; from any thread."""
        self._is_cancelled = True
        if self._call is not None:
            self._call.give_up(ItemCancelled())

    def wait(self, call: Call) -> None:
        """It waits for a call, which is told if nobody wants that any more."""
        self._call = call  # first, as below
        if self._is_cancelled:
            call.give_up(ItemCancelled())

    def enter(self, stage: str, call: Call) -> None:
        """A call is about to be made with it.

        Raises:
            ItemCancelled: It is cancelled.
        """
        self.stage = stage
        self._call = call  # first: whoever cancels it now sees the call, or this sees that it is cancelled
        if self._is_cancelled:
            raise ItemCancelled

    @property
    def given_back(self) -> bool:
        """Whether it goes no further in this run, though it has not failed."""
        return isinstance(self.error, StopRun)

    def outcome(self, now: float) -> Outcome[Any]:
        """How it ended, at the end of the stages: it is called written, for its sink to make that true."""
        if isinstance(self.error, ItemCancelled):
            return self._outcome("cancelled", now)
        return self._outcome("written" if self.error is None else "failed", now)

    def cancelled(self, now: float) -> Outcome[Any]:
        """How it ended, when the run was stopped before it arrived."""
        return self._outcome("cancelled", now)

    def _outcome(self, status: Literal["written", "failed", "cancelled"], now: float) -> Outcome[Any]:
        return Outcome(
            id=self.id,
            status=status,
            value=self.value,
            error=self.error,
            stage=self.stage,
            attempts=self.attempts,
            seconds=now - self.taken_at,
            claim=self.claim,
        )


class ItemEnvelope:
    """How a stage handles items: one that has failed, or been there in an earlier run, skips the call."""

    def __init__(
        self,
        stage: str,
        place: int,
        *,
        last: bool,
        journal: Journal | None = None,
        budget: Budget | None = None,
        cut_off: CutOff = lambda place, error: None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        """Describe it.

        Args:
            stage: The stage's name.
            place: Its place among the stages.
            last: Whether it is the last one.
            journal: Keeps what happens to items.
            budget: What the run may cost.
            cut_off: Called when a call was not made, or has ended, though the item has not failed.
            listeners: Told of each call.
        """
        self._stage = stage
        self._place = place
        self._last = last
        self._journal = journal
        self._budget = budget
        self._cut_off = cut_off
        self._listeners = listeners
        self._stopped_by: StopRun | None = None

    def skip(self, item: Item, call: Call) -> bool:
        """Whether no call is made for it here."""
        if item.error is not None or item.finished > self._place or (item.claim is not None and item.claim.lost):
            return True
        item.wait(call)
        return False

    def open(self, item: Item, call: Call) -> Any:
        """The function's argument; a call is about to be made with it.

        Raises:
            ItemCancelled: It must not be made: the item is cancelled.
            StopRun: Nor then: a call of this stage has stopped the run, or its money is spent.
        """
        item.enter(self._stage, call)
        if self._stopped_by is not None:
            raise self._stopped_by.with_traceback(None)
        if self._budget is not None:
            self._budget.check(self._place)
        item.attempts += 1
        item.in_call = True
        for listener in self._listeners:
            listener.call_started(item, self._stage)
        return item.value

    def close(self, item: Item, result: Any) -> Item:
        """The item with the function's result."""
        if self._journal is not None and item.claim is not None:
            try:
                self._journal.checkpoint(item.claim, self._place, item.attempts, result)
            except CheckpointError as error:
                return self.fail(Failure(value=item, error=error, stage=self._stage, attempts=1))
        self._call_ended(item)
        item.value = result
        item.stage = None
        item.finished = self._place + 1
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
        for listener in self._listeners:
            listener.used(item, self._stage, attempt, usage)

    def fail(self, failure: Failure[Item]) -> Item:
        """The item whose last call has failed; it travels on as data."""
        item = failure.value
        self._call_ended(item, failure.error)
        if isinstance(failure.error, StopRun):
            self._stopped_by = self._stopped_by or failure.error
        if isinstance(failure.error, (StopRun, ItemCancelled)):
            self._cut_off(self._place, failure.error)
        self._note(item, failure.attempts, failure.error, final=True)
        item.error = failure.error
        item.settled = True
        return item

    def _call_ended(self, item: Item, error: BaseException | None = None, *, again: bool = False) -> None:
        if item.in_call:
            item.in_call = False
            for listener in self._listeners:
                listener.call_ended(item, self._stage, error, again=again)

    def _note(self, item: Item, attempt: int, error: BaseException, *, final: bool) -> None:
        if self._journal is not None and item.claim is not None and not isinstance(error, StopRun):
            self._journal.call_failed(item.claim, self._stage, attempt, error, item.value, final=final)
