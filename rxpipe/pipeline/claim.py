"""Items that a run store gives to a run, results from its cache, and the ``Journal`` that keeps the run's results."""

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
        key: The item's key in the store.
        owner: The worker that has the item.
        fence: A number that each claim of an item raises. A claim with a lower number can no longer write.
        stage: Number of stages with a checkpoint in the store.
        value: The result of the last of these stages. Without one, the source's value. For an expanded item that waits
            for a collecting stage: its ``Children``.
        record: The value that the source gave, for this item or its topmost parent; it may be ``Deferred``. None if the
            source gave an ID only.
        inputs: The values with which the item entered the stages from ``first`` up to ``finished``, as ``Deferred``.
        first: The stage where the item began: 0, or the stage after the one that made it.
        finished: Number of stages that the item has been through: ``stage``, or all stages before the one that collects
            its children.
        rounds: Number of times that the item was sent back.
        feedback: The feedback for the stage that the item went back to.
        parent: The parent's key, or None.
        root: The key of the topmost parent, or None.
        number: The item's number among its parent's children.
        depth: Number of parents above the item.
        children: Number of stored children from an interrupted call of the next stage.
        born: Number of children that were made of the item before those, in this round.
        attempts: Calls made for the item before.
        error: The reason why no stage may be called with the item, or None.
        outside: True if the ID can be no key of the database. Then ``error`` is set, and ``key`` stands for the ID.
        quarantined: True if workers have died with the item. It runs alone, or with other quarantined items only.
        conflict: The reason why the item does not belong to the run, though it was taken; or None.
        noted: Number of stages with a checkpoint that may not be in the store yet.
        lost: True if another worker has taken the item over. Then this process makes no call for it.
        calls: Calls that have ended, until their results are stored. For the store only.
        usage: Usage of the last of these calls, until its end is reported. For the store only.
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
        claim: The item's claim.
    """

    claim: Claim = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawning:
    """How children were made.

    Attributes:
        stage: The index of the stage that made them.
        first: The number of the first child.
        depth: Number of parents above the children.
        attempts: Calls made for the parent so far.
        is_all: True if no more children will come.
        collected_by: The index of the stage that collects the children, or None.
        hands_over: True if the store then waits for the children, since some do not belong to this worker.
        outcome: The outcome of the parent with its last child, if ``is_all`` and no stage collects them.
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
    """A stored value that is loaded on demand.

    This is a base class and no protocol: each outcome is checked for it, and protocol checks are slow.
    """

    __slots__ = ()

    @abstractmethod
    def load(self) -> Any:
        """Returns the value.

        Raises:
            CheckpointError: The value cannot be made again.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class CachedResult:
    """The result of an earlier call.

    Attributes:
        value: The result.
        usage: The usage of that call.
        kept: The result in the store's form.
    """

    value: Any
    usage: Usage
    kept: Any


@dataclass(slots=True)
class CacheLookup:
    """The answer of the cache for an item.

    Attributes:
        key: The key for a new result; None if it cannot be cached.
        hit: The cached result, or None.
        usage: The usage of calls with the item since the lookup.
    """

    key: str | None = None
    hit: CachedResult | None = None
    usage: Usage = field(default_factory=Usage)


class Journal(Protocol):
    """Stores the progress of claimed items."""

    def may_begin(self, wake: Callable[[], None]) -> bool:
        """Returns True if a call may begin now. If not, ``wake`` is called once when you may ask again."""
        ...

    def checkpoint(
        self, claim: Claim, stage: int, attempts: int, value: Any, lookup: CacheLookup | None = None
    ) -> None:
        """Store the result of the stage with this index. With ``lookup``, other runs can use the result, too.

        Raises:
            CheckpointError: The value cannot be stored.
        """
        ...

    def look_up(self, stage: int, values: Sequence[Any]) -> list[CacheLookup]:
        """Look the values up in the cache, before calls of the stage with this index. May block."""
        ...

    def reused(self, claim: Claim, stage: int, attempts: int, hit: CachedResult) -> None:
        """An item got a cached result in the stage with this index."""
        ...

    def spawn(self, parent: Claim, children: Sequence[Record], spawning: Spawning) -> list[Claim]:
        """A stage has made children of an item.

        Returns:
            A claim for each child. A claim has an error if the child cannot be an item, or its value cannot be stored.
        """
        ...

    def sent_back(
        self, claim: Claim, *, stage: int, to: int, kept: int, attempts: int, rounds: int, feedback: Any
    ) -> None:
        """Stage number ``stage`` has sent the item back to stage number ``to``.

        Args:
            claim: The item's claim.
            stage: The stage that sent the item back.
            to: The stage that the item goes to.
            kept: Number of stages that still have a checkpoint: ``to``. If stage ``to`` collects children: up to the
                stage that made them.
            attempts: Calls made for the item so far.
            rounds: Number of times that the item was sent back, including this one.
            feedback: The feedback for the earlier stage.

        Raises:
            CheckpointError: The feedback cannot be stored.
        """
        ...

    def call_failed(
        self, claim: Claim, stage: str, attempt: int, error: BaseException, value: Any, *, final: bool
    ) -> None:
        """An attempt has failed. ``final``: the item has failed with it."""
        ...

    def used(self, claim: Claim, stage: str, attempt: int, usage: Usage) -> None:
        """An attempt, failed or not, has this usage."""
        ...

    def called(self, claim: Claim, stage: int, call: CallTime, notes: Sequence[object] = ()) -> None:
        """A call of the stage with this index has ended. ``notes`` are the values that its function attached.

        Called before the result is reported, so that both are stored together.
        """
        ...
