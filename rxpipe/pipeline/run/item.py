"""An item on its way: the envelope in which a value goes through the stages of a pipeline."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any

from rxpipe.errors import CheckpointError, ItemCancelled, StopRun
from rxpipe.operators.stages.settings import Call
from rxpipe.pipeline.claim import CacheLookup, Claim, ClaimedOutcome, Deferred
from rxpipe.pipeline.outcome import MOST_FAILURES, Origin, Outcome, Status
from rxpipe.pipeline.record import Record
from rxpipe.pipeline.run.quota import Place


class Item:
    """One item on its way, and its state so far. One stage at a time handles it.

    Attributes:
        status: How the item ends: ``written``, unless something else happens.
        settled: True if the item has ended otherwise, or the last stage has returned. No more calls are made for it.
        arrived: True if the item has reached the end of the stages.
        claim: The item's claim in a run store; None without a store.
        first: The index of the stage where the item began: 0, or the stage after the one that made it.
        finished: Number of stages that the item has been through.
        inputs: The values with which the item entered these stages, from ``first`` on.
        rounds: Number of times that the item was sent back.
        feedback: The feedback for the stage that the item went back to.
        went_back: True if the item was sent back to the stage that comes next, or may have been.
        lookup: The answer of the cache before the stage that comes next; None if nothing was looked up.
        parent: The parent, or None.
        siblings: The group of children to which the item belongs, or None.
        children: The group of the item's own children, or None.
        born: Number of children made of the item in this round, by stages that are over.
        unfinished: Number of children that an earlier run stored in a call of the next stage that did not end.
        number: The item's number among its parent's children, from 0.
        depth: Number of parents above the item.
        context: The context of the submitter. For an item from a source: the context that started the run.
        in_call: True while a stage's function runs with the item.
        call_reported: True if the journal knows already of the call that runs.
        call: The call that the item waits for, or that runs with it. None behind a stage, since the call refers to the
            item, too. A stage sets ``call`` before it reads ``is_cancelled``. A thread that cancels the item sets
            ``is_cancelled`` before it reads ``call``. So one of the two sees the other.
        is_cancelled: True if the item is no longer wanted.
        place: The place of the item in the quota, or None.
    """

    # Most items have these values, so they are not set for each item. Values that each stage reads are set for each
    # item, since instance attributes are faster to read.
    status: Status = "written"
    arrived = in_call = call_reported = False
    error: BaseException | None = None
    parent: Item | None = None
    siblings: Group | None = None
    children: Group | None = None
    context: Context | None = None
    place: Place | None = None
    call: Call | None = None
    stage: str | None = None
    feedback: Any = None
    went_back = False
    first = depth = number = born = unfinished = 0
    _given: Any = None

    def __init__(self, taken: int | str | Record | Claim, taken_at: float) -> None:
        self.settled = self.is_cancelled = False
        self.claim: Claim | None = None
        self.lookup: CacheLookup | None = None
        self.attempts = self.finished = self.rounds = 0
        self.taken_at = taken_at
        self.inputs: list[Any] = []
        self.value: Any = taken
        if isinstance(taken, (int, str)):
            self.id = taken
        elif isinstance(taken, Record):
            self.id, self.value, self._given = taken.id, taken.value, taken.value
        else:
            self.id, self.value, self._given = taken.id, taken.value, taken.record
            self._go_on_with(taken)

    def _go_on_with(self, claim: Claim) -> None:
        self.claim, self.attempts, self.inputs = claim, claim.attempts, list(claim.inputs)
        self.first, self.finished = claim.first, claim.stage if claim.finished is None else claim.finished
        self.rounds, self.feedback = claim.rounds, claim.feedback
        self.born, self.unfinished = claim.born, claim.children
        self.went_back = claim.rounds > 0
        self.depth, self.number = claim.depth, claim.number
        if claim.error is not None:
            self.settle("failed", claim.error)

    @property
    def record(self) -> Any:
        """The value that the source gave, with the ID of the item or of its topmost parent; None for an ID alone."""
        item = self
        while item.parent is not None:
            item = item.parent
        try:
            return item._given.load() if isinstance(item._given, Deferred) else item._given
        except CheckpointError:  # the value's class is gone; the item itself does not need it
            return None

    @property
    def waited_downstream(self) -> float:
        """Seconds that the call that has just ended waited for room for its values; 0 without ``expand``."""
        return 0.0 if self.call is None else self.call.waited_downstream()

    def settle(self, status: Status, error: BaseException | None = None) -> None:
        """Decide how the item ends. It passes the remaining stages without a call."""
        self.status, self.error, self.settled, self.call = status, error, True, None

    def child_id(self, number: int) -> str:
        """Returns the ID of a child without an ID of its own. Each round has other IDs."""
        return f"{self.id}/{self.rounds}.{number}" if self.rounds else f"{self.id}/{number}"

    def cancel(self) -> None:
        """End the item and its children as cancelled, unless they leave the stages first. From any thread."""
        family = [self]
        for item in family:  # mark all of them first: the slot of one that is given up must not go to another one
            item.is_cancelled = True
            children = item.children  # read once: the item's own thread may clear it now
            if children is not None:
                family += children.live()
        for item in family:
            call = item.call  # read once, as above
            if call is not None:
                call.give_up(ItemCancelled())

    @property
    def given_back(self) -> bool:
        """True if the item goes no further in this run, though it has not failed."""
        return isinstance(self.error, StopRun)

    @property
    def is_in_sink(self) -> bool:
        """True if the item has left for the sink."""
        return self.arrived and not self.given_back

    @property
    def parent_id(self) -> int | str | None:
        """The parent's ID, in this run or an earlier one; None if the item is no child."""
        if self.parent is not None:
            return self.parent.id
        return None if self.claim is None else self.claim.parent

    @property
    def is_expanded(self) -> bool:
        """True if all children have ended, and a store knows it."""
        return self.status == "expanded" and self.claim is not None

    @property
    def waits_for_children(self) -> bool:
        """True if all children are made, and the item waits for them."""
        children = self.children  # read once: the counting thread is not the item's thread
        return children is not None and children.complete and not self.settled

    def outcome(self, now: float) -> Outcome[Any]:
        """Returns the outcome of an item that leaves the stages.

        ``written`` is provisional until the sink confirms it.
        """
        return self._outcome("cancelled" if isinstance(self.error, ItemCancelled) else self.status, now)

    def cancelled(self, now: float) -> Outcome[Any]:
        """Returns the outcome of an item that has not ended when the run is over.

        With a store, it may be ``expanded`` already.
        """
        return self._outcome("expanded" if self.is_expanded else "cancelled", now)

    def as_expanded(self, now: float) -> Outcome[Any]:
        """Returns the outcome for when all children have ended. All children must be made."""
        return self._outcome("expanded", now)

    def _outcome(self, status: Status, now: float) -> Outcome[Any]:
        make: Callable[..., Outcome[Any]] = Outcome if self.claim is None else partial(ClaimedOutcome, claim=self.claim)
        return make(
            id=self.id,
            status=status,
            value=self.value,
            error=self.error,
            stage=self.stage,
            attempts=self.attempts,
            seconds=now - self.taken_at,
            origin=self._origin(status),
        )

    def _origin(self, status: Status) -> Origin | None:
        """Returns the parent, record and failed children for the outcome; None if there are none, as for most items."""
        parent, record = self.parent_id, None if self.parent is None and self._given is None else self.record
        failures = () if self.children is None or status != "expanded" else tuple(self.children.failures)
        if parent is None and record is None and not failures:
            return None
        return Origin(parent=parent, record=record, failures=failures)


class Group:
    """The children that one call of an expanding stage has made of an item.

    Attributes:
        parent: The item.
        collected_by: The index of the stage that collects the children, or None.
        first: Number of children of the item that were made before these, in this round.
        made: Number of children so far.
        given: Number of values that the present call has given.
        complete: True if no more children will come.
        claims: The claims of children of a list, before the children are made.
        is_kept: True if the store knows that no more children will come.
        is_split: True if some children do not belong to this run, since an earlier one has made them.
        cut_off: Why a child goes no further in this run, though it has not failed; None if all go on.
        failures: The first outcomes of failed children that no stage collects, and of their failed children.
    """

    def __init__(self, parent: Item, collected_by: int | None) -> None:
        self.parent = parent
        self.collected_by = collected_by
        self.first = parent.born
        self.made = parent.unfinished
        self.is_split = self.made > 0
        self.given = 0
        self.claims: deque[Claim] = deque()
        self.is_kept = False
        self.complete = False
        self.cut_off: BaseException | None = None
        self.failures: list[Outcome[Any]] = []
        self._lock = threading.Lock()
        self._live: dict[Item, None] = {}
        self._named: set[Item] = set()  # with a store: children with IDs of their own
        self._outcomes: dict[int, Outcome[Any] | None] = {}  # in the collecting stage, by number

    def add(self, child: Item) -> None:
        """Add a child that was made."""
        with self._lock:
            self.made += 1
            self._live[child] = None
            is_kept = self.collected_by is not None and child.claim is not None
            if is_kept and child.id != self.parent.child_id(self.first + child.number):  # in this round: later, others
                self._named.add(child)

    def live(self) -> list[Item]:
        """Returns the children that are on their way now."""
        with self._lock:
            return list(self._live)

    def close(self) -> bool:
        """No more children will come. Returns True if the parent waits for none."""
        with self._lock:
            self.complete = True
            return self._is_over()

    def ended(self, child: Item, outcome: Outcome[Any] | None = None, cut_off: BaseException | None = None) -> bool:
        """A child has ended, or does not go on.

        Returns True if its parent ends with it. (No stage collects the children.)
        """
        with self._lock:
            if child not in self._live:
                return False
            del self._live[child]
            self.cut_off = self.cut_off or cut_off
            if outcome is not None and self.collected_by is None:
                failures = (outcome,) if outcome.status == "failed" else outcome.failures
                self.failures += failures[: MOST_FAILURES - len(self.failures)]
            return self.collected_by is None and self._is_over()

    def awaits(self, child: Item) -> bool:
        """Returns True if the collecting stage waits until the store has the child.

        Only the store knows if its ID is taken.
        """
        return child in self._named

    def arrived(self, number: int, outcome: Outcome[Any] | None, cut_off: BaseException | None = None) -> bool:
        """A child has come to the collecting stage, or will not come. Returns True if it was the last child."""
        with self._lock:
            self._outcomes[number] = outcome
            self.cut_off = self.cut_off or cut_off
            return self._is_over()

    def _is_over(self) -> bool:
        left = self._live if self.collected_by is None else self.made > len(self._outcomes)
        return self.complete and not left

    def outcomes(self) -> list[Outcome[Any]]:
        """Returns the outcomes of the children that came to the collecting stage, in the order of their making."""
        found = (self._outcomes[number] for number in sorted(self._outcomes))
        return [outcome for outcome in found if outcome is not None]
