"""The interfaces that a run uses: sinks, run stores, and executors that are opened for a run."""

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
"""An operator that keeps each outcome. It emits the outcome when that is safe, or as failed if it cannot be kept."""

Tell: TypeAlias = Callable[[Outcome[Any]], None]


class Sink(Protocol):
    """Keeps outcomes: ``DatabaseSink``, ``JsonLinesSink``, or any object with this method.

    ::

        class ListSink:
            def open(self):
                rows = []
                return reactivex.operators.do_action(lambda outcome: rows.append(outcome.value))

    - Outcomes come one at a time, on any thread. In an ``asyncio`` run they come on the event loop: do not block there.
    - An item counts when the sink emits its outcome. To fail an item, emit a copy of the outcome that is failed.
    - An error of the sink ends the run.
    """

    def open(self) -> Write:
        """Make ready for one run. May block.

        Returns:
            An operator that takes outcomes, and emits each once it is safe. It closes the sink when its sequence ends
            or is disposed. Only then is the run over.

        Raises:
            SinkError: The sink cannot keep anything.
        """
        ...


@runtime_checkable
class OwnedSink(Protocol):
    """A sink that knows pipelines, and keeps the rows of each pipeline apart."""

    def open_for(self, pipeline: Identity) -> Write:
        """Make ready for a pipeline; otherwise as ``Sink.open``.

        Raises:
            OtherPipeline: The sink has rows of another pipeline.
        """
        ...


@runtime_checkable
class TimedWrite(Protocol):
    """A result of ``Sink.open`` that ends in time, even if the database does not answer."""

    def __call__(self, outcomes: Observable[Outcome[Any]]) -> Observable[Outcome[Any]]:
        """Keep outcomes."""
        ...

    def aborted(self) -> None:
        """The run is aborted: keep the outcomes that have arrived, or fail soon.

        Called on any thread. Must not block.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPorts:
    """The open resources of a run. A context manager: leaving it closes them.

    A run that has started owns the resources, and closes them at its end.

    Attributes:
        write: Keeps outcomes.
        take: Turns the source's IDs into inputs of the stages: IDs, or claims of a store.
        ahead: Number of IDs that may be requested from the source before the stages have room for them.
        journal: Keeps checkpoints and failed calls.
        number: The run's number in its store.
        before: Numbers of the run's items that had ended before: written, failed.
        usage_before: Total usage of earlier calls of the run.
        mean_costs: Mean cost of an earlier call, by the stage's name. Calls without a cost do not count.
        is_finished: Returns True if the run has no unfinished items. Called once, at the end.
        tell: Reports items that ended earlier or belong to another worker, to whoever submits IDs.
        aborted: Called when the run is aborted. The sink then commits the finished items soon, or gives them up.
        stops: Receives a function that ends the run. The store calls the function if another process asks for the end,
            with True to abort, and with the error that the run fails with, if any.
        quota: The number of items to write; None for all.
        counts: The counts of commits; None if they are not counted.
        watch: Called once the run has started, with two functions. The first returns the run's snapshot, for others to
            see. The second adds the bottleneck to the last snapshot.
        target_of: Returns where calls run, given a stage's ``executor``.
        opened: Closes the resources.
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
        """Give the resources to the run, which has started and will close them."""
        self.opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.opened.close()


class Store(Protocol):
    """Keeps the results of stages, so that a later run continues where this run stopped: see ``RunStore``."""

    def check_beside(self, sink: Sink | None) -> None:
        """Check that the store works with this sink.

        Raises:
            ConfigError: The sink has another database, or there is none.
            TypeError: The store does not work with sinks of this kind.
        """
        ...

    def open_run(
        self, pipeline: Identity, sink: Sink | None, *, window: float, slots: float, quota: Quota | None = None
    ) -> RunPorts:
        """Begin a run, or continue one, as a worker of it. May block.

        Args:
            pipeline: Identifies the run; its checkpoints depend on it.
            sink: Keeps the rows.
            window: Number of items that the stages hold.
            slots: Number of calls that may run at once.
            quota: Number of items that all workers of the run write together; None for all.
        """
        ...


class OpenExecutor(Engine, Protocol):
    """An open executor, until it is closed."""

    def close(self) -> None:
        """Cancel running calls and free all resources. May block for a moment, and be called again."""
        ...


class ManagedExecutor(ABC):
    """An executor that is opened for a run and closed at its end: see ``rxpipe.executors``.

    Equal executors are opened once for all stages of a run.
    """

    @property
    @abstractmethod
    def width(self) -> int | None:
        """Number of calls that can run there at once; None if unknown."""

    @abstractmethod
    def packed(self, stage: str, function: Callable[[Any], Any]) -> object:
        """Check that a stage's function can be sent to the executor.

        Raises:
            TypeError: The function cannot be sent.
        """

    @abstractmethod
    def open(self, functions: Mapping[str, Callable[[Any], Any]]) -> OpenExecutor:
        """Open the executor. May block for a moment.

        Args:
            functions: The functions that it will call, by the names of their stages.

        Raises:
            ConfigError: Nothing can run there; or a function's module is missing there.
            TypeError: A function cannot be sent there.
        """
