"""What a run asks of others: of sinks, of run stores, and of executors that are opened for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
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
from rxpipe.pipeline.claim import Journal
from rxpipe.pipeline.commit_counts import CommitCounts
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.run.quota import Quota

Write: TypeAlias = Callable[[Observable[Outcome[Any]]], Observable[Outcome[Any]]]
"""An operator that keeps each outcome, and gives it back once it is safe, or failed if it cannot be kept."""

Tell: TypeAlias = Callable[[Outcome[Any]], None]


class Sink(Protocol):
    """Where outcomes go: ``DatabaseSink``, ``JsonLinesSink``, or any object with this method.

    ::

        class ListSink:
            def open(self):
                rows = []
                return reactivex.operators.do_action(lambda outcome: rows.append(outcome.value))

    Outcomes come one at a time, on any thread, and on the loop of an ``asyncio`` run: do not block there. An item
    counts when its outcome comes out; as failed, if that is a copy that says so. An error ends the run.
    """

    def open(self) -> Write:
        """Make ready for one run; may block.

        Returns:
            An operator: it takes the outcomes, and gives each back once it is safe. It closes what was opened when its
            sequence ends, or is disposed; only then is the run over.

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
        stops: Has the store tell when another process asks for the run's end. It is given what ends the run, which
            takes whether to abort, and the error that the run then fails with, if any.
        quota: How many items are to be written; None for all.
        counts: What is committed; None if that is not counted.
        watch: Called once the run has started, with what gives its snapshot, and with what adds to its last one what
            held it up. Others may see snapshots then.
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
    stops: Callable[[Callable[[bool, Exception | None], object]], None] = lambda stop: None
    quota: Quota | None = None
    counts: CommitCounts | None = None
    watch: Callable[[Callable[[], Snapshot], Callable[[Snapshot], Snapshot]], object] = lambda take, conclude: None
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
