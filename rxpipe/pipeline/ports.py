"""What a run asks of others: of sinks, of run stores, and of executors that are opened for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

from reactivex import Observable

from rxpipe.identity import Identity
from rxpipe.insight.snapshot import Snapshot
from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.runners.runner import Engine
from rxpipe.operators.stage import ExecutionTarget
from rxpipe.operators.stages.times import CallTime
from rxpipe.pipeline.commit_counts import CommitCounts
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.record import Record
from rxpipe.pipeline.run.quota import Quota

Write: TypeAlias = Callable[[Observable[Outcome[Any]]], Observable[Outcome[Any]]]
"""An operator that keeps each outcome, and gives it back once it is safe, or failed if it cannot be kept."""

Tell: TypeAlias = Callable[[Outcome[Any]], None]


class Sink(Protocol):
    """Where outcomes go: see ``DatabaseSink``, ``JsonLinesSink``."""

    def open(self) -> Write:
        """Make ready; may block.

        Returns:
            What keeps outcomes. It closes what was opened when its sequence ends.

        Raises:
            SinkError: It cannot keep anything.
        """
        ...


@runtime_checkable
class OwnedSink(Protocol):
    """A sink that knows pipelines, and keeps the rows of one from the others."""

    def open_for(self, pipeline: Identity) -> Write:
        """Make ready for a pipeline; else as ``Sink.open``.

        Raises:
            OtherPipeline: It has rows of another pipeline.
        """
        ...


@runtime_checkable
class TimedWrite(Protocol):
    """What ``Sink.open`` gives, where it ends in time also if nobody answers."""

    def __call__(self, outcomes: Observable[Outcome[Any]]) -> Observable[Outcome[Any]]:
        """Keep outcomes."""
        ...

    def aborted(self) -> None:
        """The run is aborted: keep what has arrived, or fail soon. Called by any thread; blocks nobody."""
        ...


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPorts:
    """Where a run begins and ends, made ready. A context manager: leaving it closes what was opened.

    A run that has started has taken over what was opened, and closes it at its end.

    Attributes:
        write: Keeps outcomes.
        take: Turns the source's IDs into what the stages take: IDs, or claims of a store.
        ahead: How many IDs may be asked of the source before the stages have room for them.
        journal: Keeps checkpoints and failed calls.
        number: The run's number in its store.
        before: How many of its items had ended before, as written and as failed.
        usage_before: What its calls had used before.
        mean_costs: Mean cost of a call before, by the stage's name. Calls that cost nothing do not count.
        is_finished: Returns True if the run has no unfinished items. Called once, at the end.
        tell: Reports items that ended earlier or belong to another worker, to whoever submits IDs.
        aborted: Called when the run is aborted: it commits what is finished soon, or gives it up.
        stops: Has the store tell when another process asks for the run's end, given what stops it or, if called with
            True, aborts it.
        quota: How many items are to be written; None for all.
        counts: What is committed; None if that is not counted.
        watch: Called with what gives the run's snapshot, once the run has started; others may see it then.
        target_of: Returns where calls run, given a stage's ``executor``.
        opened: Closes what was opened.
    """

    write: Write = lambda outcomes: outcomes
    take: Callable[[Observable[Any]], Observable[Any]] = lambda ids: ids
    ahead: int = 1
    journal: Journal | None = None
    number: int | None = None
    before: tuple[int, int] = (0, 0)
    usage_before: Usage = field(default_factory=Usage)
    mean_costs: Mapping[str, float] = field(default_factory=dict[str, float])
    is_finished: Callable[[], bool] = lambda: True
    tell: Callable[[Tell], None] = lambda tell: None
    aborted: Callable[[], object] = lambda: None
    stops: Callable[[Callable[[bool], object]], None] = lambda stop: None
    quota: Quota | None = None
    counts: CommitCounts | None = None
    watch: Callable[[Callable[[], Snapshot]], object] = lambda snapshot: None
    target_of: Callable[[ExecutionTarget | None], ExecutionTarget | None] = lambda executor: executor
    opened: ExitStack = field(default_factory=ExitStack)

    def hand_over(self) -> None:
        """Leave the closing to the run, which has started."""
        self.opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.opened.close()


class Store(Protocol):
    """Keeps what each stage returned, so that a later run goes on where this one was left: see ``RunStore``."""

    def check_beside(self, sink: Sink | None) -> None:
        """See whether it can be kept beside a sink.

        Raises:
            ConfigError: The sink has another database, or there is none.
            TypeError: The sink is none of the store's kind.
        """
        ...

    def open_run(
        self, pipeline: Identity, sink: Sink | None, *, window: float, slots: float, quota: Quota | None = None
    ) -> RunPorts:
        """Begin a run or go on with one, as a worker of it; may block.

        Args:
            pipeline: What the run is found by, and its checkpoints depend on.
            sink: Where the rows go.
            window: How many items the stages hold.
            slots: How many calls may run at once.
            quota: How many items all workers of the run are to write; None for all.
        """
        ...


class OpenExecutor(Engine, Protocol):
    """An executor that is open, until it is closed."""

    def close(self) -> None:
        """Cancel what is running, and let go of everything; may block for a moment, and be called again."""
        ...


class ManagedExecutor(ABC):
    """An executor that is opened when a run starts, and closed when it is over: see ``rxpipe.executors``.

    Equal ones are opened once for all stages of a run.
    """

    @property
    @abstractmethod
    def width(self) -> int | None:
        """How many calls can run there at once, if that is known."""

    @abstractmethod
    def packed(self, stage: str, function: Callable[[Any], Any]) -> object:
        """See whether a stage's function can be sent there.

        Raises:
            TypeError: It cannot.
        """

    @abstractmethod
    def open(self, functions: Mapping[str, Callable[[Any], Any]]) -> OpenExecutor:
        """Open it; may block for a moment.

        Args:
            functions: What it will have to call, by the names of their stages.

        Raises:
            ConfigError: Nothing can run there; or a function cannot be made again, as its module is not there.
            TypeError: A function cannot be sent there.
        """
