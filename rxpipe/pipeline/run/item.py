"""An item on its way: the envelope in which a value travels through the stages of a pipeline."""

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
    """One ID on its way, and what has become of it so far; in the hands of one stage at a time.

    Attributes:
        status: How it ends; ``written`` until something else happens.
        settled: Whether it has ended otherwise, or the last stage has returned: no call is made for it any more.
        arrived: Whether it has reached the end of the stages.
        claim: What a run store knows it by; None without one.
        first: The index of the stage where it began: 0, or that behind the one that gave it.
        finished: How many stages it has been through.
        inputs: What it came with into each of those, from ``first`` on.
        rounds: How often it was sent back.
        feedback: What it was sent back with, for the stage that it went back to.
        went_back: Whether it was sent back to the stage that it comes to next, or may have been.
        lookup: What the cache has for it, if it was looked for before the stage that it comes to next; or None.
        parent: The item that it was made of, or None.
        siblings: The group of its parent's children that it is one of, or None.
        children: The group of its own children, or None.
        born: How many children were made of it in this round, by stages that are over.
        unfinished: How many children an earlier run has kept of a call of the next stage that did not end.
        number: Which of its parent's children it is, from 0.
        depth: How many parents it has above it.
        context: That of whoever submitted it; where it came from a source, of whoever started the run.
        in_call: Whether a stage's function is at work on it.
        call: The call that it waits for, or that is made with it; None behind a stage, as the call has the item, too. A
            stage sets this before it asks whether the item is cancelled; whoever cancels the item sets that before
            looking here. So one of the two sees the other.
        is_cancelled: Whether nobody wants it any more.
        place: Where the quota counts it, or None.
    """

    # Most items have most of these: what a class has is not set for each of them. But what each stage asks for is, as
    # that is found sooner.
    status: Status = "written"
    arrived = in_call = False
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
        """The value that the source gave, with its ID or that of the item that it comes from; None without one."""
        item = self
        while item.parent is not None:
            item = item.parent
        try:
            return item._given.load() if isinstance(item._given, Deferred) else item._given
        except CheckpointError:  # of a class that is gone: the item itself does not need it
            return None

    @property
    def waited_downstream(self) -> float:
        """Seconds in which its call that has just ended waited for room for its values; 0 unless it gave many."""
        return 0.0 if self.call is None else self.call.waited_downstream()

    def settle(self, status: Status, error: BaseException | None = None) -> None:
        """Decide how the item ends. It passes the stages that are left without a call."""
        self.status, self.error, self.settled, self.call = status, error, True, None

    def child_id(self, number: int) -> str:
        """The ID of a child that brings none of its own. Each round has other IDs."""
        return f"{self.id}/{self.rounds}.{number}" if self.rounds else f"{self.id}/{number}"

    def cancel(self) -> None:
        """End the item and its children as cancelled, unless they leave the stages first; from any thread."""
        family = [self]
        for item in family:  # all of them first: the slot of one that is given up must not go to another one
            item.is_cancelled = True
            children = item.children  # once: its own thread may let go of them by now
            if children is not None:
                family += children.live()
        for item in family:
            call = item.call  # once, as above
            if call is not None:
                call.give_up(ItemCancelled())

    @property
    def given_back(self) -> bool:
        """Whether it goes no further in this run, though it has not failed."""
        return isinstance(self.error, StopRun)

    @property
    def is_in_sink(self) -> bool:
        """Whether it has left for the sink."""
        return self.arrived and not self.given_back

    @property
    def parent_id(self) -> int | str | None:
        """The ID of the item that it was made of, by this run or an earlier one; None if it was made of none."""
        if self.parent is not None:
            return self.parent.id
        return None if self.claim is None else self.claim.parent

    @property
    def is_expanded(self) -> bool:
        """Whether all of its children have ended, and a store knows it."""
        return self.status == "expanded" and self.claim is not None

    @property
    def waits_for_children(self) -> bool:
        """Whether all of its children are made, and it waits for them."""
        children = self.children  # once: whoever counts them is not on the item's thread
        return children is not None and children.complete and not self.settled

    def outcome(self, now: float) -> Outcome[Any]:
        """How it left the stages; ``written`` is provisional until the sink confirms it."""
        return self._outcome("cancelled" if isinstance(self.error, ItemCancelled) else self.status, now)

    def cancelled(self, now: float) -> Outcome[Any]:
        """Its outcome if the run is over before it has ended: of a store it may be expanded already."""
        return self._outcome("expanded" if self.is_expanded else "cancelled", now)

    def as_expanded(self, now: float) -> Outcome[Any]:
        """Its outcome for when all of its children have ended; they are all made."""
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
        """What its outcome tells of other items and of its record; None if that is nothing, as for most."""
        parent, record = self.parent_id, None if self.parent is None and self._given is None else self.record
        failures = () if self.children is None or status != "expanded" else tuple(self.children.failures)
        if parent is None and record is None and not failures:
            return None
        return Origin(parent=parent, record=record, failures=failures)


class Group:
    """The children that one call of an expanding stage has made of an item.

    Attributes:
        parent: The item.
        collected_by: The index of the stage that collects them, or None.
        first: How many children of the item were made before these, in this round.
        made: How many there are so far.
        given: How many values the present call has given.
        complete: Whether no more will come.
        claims: Of those of a list, before they are made.
        is_kept: Whether the store knows that no more will come.
        is_split: Whether some of them are not in the hands of this run: an earlier one has made them.
        cut_off: Why a child goes no further in this run, though it has not failed; None if all do.
        failures: How children that nobody collects have failed, and theirs; the first ones.
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
        self._named: set[Item] = set()  # of a store's, those with IDs of their own
        self._outcomes: dict[int, Outcome[Any] | None] = {}  # that the collecting stage has seen, by number

    def add(self, child: Item) -> None:
        """Take in a child that was made."""
        with self._lock:
            self.made += 1
            self._live[child] = None
            is_kept = self.collected_by is not None and child.claim is not None
            if is_kept and child.id != self.parent.child_id(self.first + child.number):  # in this round: later, others
                self._named.add(child)

    def live(self) -> list[Item]:
        """The children that are on their way now."""
        with self._lock:
            return list(self._live)

    def close(self) -> bool:
        """No more children will come. Returns whether the parent waits for none."""
        with self._lock:
            self.complete = True
            return self._is_over()

    def ended(self, child: Item, outcome: Outcome[Any] | None = None, cut_off: BaseException | None = None) -> bool:
        """A child has ended, or does not go on. Returns whether its parent, which no stage collects, ends with it."""
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
        """Whether the collecting stage waits until a store has kept a child: only that knows if its ID is taken."""
        return child in self._named

    def arrived(self, number: int, outcome: Outcome[Any] | None, cut_off: BaseException | None = None) -> bool:
        """A child has come to the collecting stage, or will not. Returns whether it was the last one."""
        with self._lock:
            self._outcomes[number] = outcome
            self.cut_off = self.cut_off or cut_off
            return self._is_over()

    def _is_over(self) -> bool:
        left = self._live if self.collected_by is None else self.made > len(self._outcomes)
        return self.complete and not left

    def outcomes(self) -> list[Outcome[Any]]:
        """The outcomes of the children that came to the collecting stage, in the order in which they were made."""
        found = (self._outcomes[number] for number in sorted(self._outcomes))
        return [outcome for outcome in found if outcome is not None]
