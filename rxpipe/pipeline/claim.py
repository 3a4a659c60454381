"""What a run store gives a run, claimed items and cached results, and how the run tells what becomes of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.stages.times import CallTime
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.record import Record


@dataclass(slots=True, eq=False, kw_only=True)
class Claim:
    """An item that a run store has given to this process.

    Attributes:
        id: The ID, as the source gave it.
        key: What the store knows it by.
        owner: The worker that has it.
        fence: A number that each claim of an item raises, so that an earlier claim can write nothing any more.
        stage: How many stages have a checkpoint in the store.
        value: What the last of these stages returned; what the source gave, if there is none; or the ``Children`` of an
            item that was expanded, and is to be called with them.
        record: The value that the source gave, of this item or of the one that it was made of; it may be ``Deferred``.
            None if it gave an ID only.
        inputs: What the item came with into each stage from ``first`` up to ``finished``, as ``Deferred``.
        first: The stage that it began with: 0, or the one behind that which made it.
        finished: How many stages it has been through: ``stage``, or up to the one that is called with its children.
        rounds: How often it was sent back.
        feedback: What it was sent back with, for the stage that it went back to.
        parent: The key of the item that it was made of, or None.
        root: The key of the parent that has none, or None.
        number: Which of its parent's children it is.
        depth: How many parents it has above it.
        children: How many children are kept that a call of the next stage had made, which was interrupted.
        born: How many children were made of it before those, in this round.
        attempts: Calls made for the item before.
        error: Why no stage may be called with the item, or None.
        outside: Whether the ID can be no key of the database. Then ``error`` says why, and ``key`` stands for the ID.
        quarantined: Whether workers have died with the item. It runs alone, or with other quarantined items only.
        conflict: Why it is no item of the run, though it has been taken for one; or None.
        noted: How many stages have a checkpoint that may not be in the store yet.
        lost: Whether another worker has taken the item over. Then no call is made for it here.
        calls: Calls that have ended, until what came of them is kept; the store's own.
        usage: What the last of them used, until its end is told; the store's own.
    """

    id: int | str
    key: str
    owner: str
    fence: int
    stage: int = 0
    value: Any = None
    record: Any = None
    inputs: Sequence[Any] = ()
    first: int = 0
    finished: int | None = None
    rounds: int = 0
    feedback: Any = None
    parent: str | None = None
    root: str | None = None
    number: int = 0
    depth: int = 0
    children: int = 0
    born: int = 0
    attempts: int = 0
    error: BaseException | None = None
    outside: bool = False
    quarantined: bool = False
    conflict: BaseException | None = None
    noted: int = -1
    lost: bool = False
    calls: Any = None
    usage: Any = None

    def __post_init__(self) -> None:
        if self.noted < 0:
            self.noted = self.stage


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedOutcome(Outcome[Any]):
    """How an item of a run store ended.

    Attributes:
        claim: What the store knows the item by.
    """

    claim: Claim = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawning:
    """How children were made.

    Attributes:
        stage: The index of the stage that made them.
        first: The number of the first one.
        depth: How many parents they have above them.
        attempts: Calls made for their parent so far.
        is_all: Whether no more will come.
        collected_by: The index of the stage that is to be called with all of them, or None.
        hands_over: Whether the store waits for them then, as some are not in the hands of this worker.
        outcome: How their parent ends with them, if no more will come and no stage collects them.
    """

    stage: int
    first: int
    depth: int
    attempts: int
    is_all: bool = False
    collected_by: int | None = None
    hands_over: bool = False
    outcome: Outcome[Any] | None = None


class Deferred:
    """A value that is kept, and is made again when it is asked for.

    A class to inherit from: items are asked for each outcome, and to look through a protocol takes long.
    """

    __slots__ = ()

    @abstractmethod
    def load(self) -> Any:
        """The value.

        Raises:
            CheckpointError: It cannot be made again.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class CachedResult:
    """What an earlier call has returned.

    Attributes:
        value: The result.
        usage: What that call had used.
        kept: The result as the store keeps it.
    """

    value: Any
    usage: Usage
    kept: Any


@dataclass(slots=True)
class CacheLookup:
    """What became of looking for an item's result in the cache.

    Attributes:
        key: What a new result is to be kept by; None if it cannot be.
        hit: The result that there is, or None.
        usage: What calls with the item have used since then.
    """

    key: str | None = None
    hit: CachedResult | None = None
    usage: Usage = field(default_factory=Usage)


class Journal(Protocol):
    """Keeps what becomes of claimed items."""

    def may_begin(self, wake: Callable[[], None]) -> bool:
        """Whether a call may begin now; if not, ``wake`` is called once when it may be asked again."""
        ...

    def checkpoint(
        self, claim: Claim, stage: int, attempts: int, value: Any, lookup: CacheLookup | None = None
    ) -> None:
        """The stage with this index has returned a value; with ``lookup``, it is kept for other runs, too.

        Raises:
            CheckpointError: The value cannot be kept.
        """
        ...

    def look_up(self, stage: int, values: Sequence[Any]) -> list[CacheLookup]:
        """What the cache has for values that the stage with this index is about to be called with; may block."""
        ...

    def reused(self, claim: Claim, stage: int, attempts: int, hit: CachedResult) -> None:
        """An item got a result of the cache in the stage with this index."""
        ...

    def spawn(self, parent: Claim, children: Sequence[Record], spawning: Spawning) -> list[Claim]:
        """A stage has made children of an item.

        Returns:
            A claim for each; with an error where it can be no item, or its value not be kept.
        """
        ...

    def sent_back(
        self, claim: Claim, *, stage: int, to: int, kept: int, attempts: int, rounds: int, feedback: Any
    ) -> None:
        """Stage number ``stage`` has sent the item back to number ``to``; it was sent back ``rounds`` times by now.

        Args:
            claim: Of the item.
            stage: The stage that did.
            to: The stage that it goes to.
            kept: How many stages have a checkpoint then: ``to``, or up to the stage that has made the children which
                ``to`` is called with.
            attempts: Calls made for the item so far.
            rounds: How often it was sent back.
            feedback: What the earlier stage is told.

        Raises:
            CheckpointError: The feedback cannot be kept.
        """
        ...

    def call_failed(
        self, claim: Claim, stage: str, attempt: int, error: BaseException, value: Any, *, final: bool
    ) -> None:
        """An attempt has failed; ``final``: whether the item has failed with it."""
        ...

    def used(self, claim: Claim, stage: str, attempt: int, usage: Usage) -> None:
        """An attempt has used this, whether it failed or not."""
        ...

    def called(self, claim: Claim, stage: int, call: CallTime, notes: Sequence[object] = ()) -> None:
        """A call of the stage with this index has ended, and its function has left notes.

        Told before what came of it: so both are kept together.
        """
        ...
