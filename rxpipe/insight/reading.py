"""What a page reads of the runs of a database, and what it can change: the values and the protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from rxpipe.insight.snapshot import Snapshot
from rxpipe.operators.core.running_call import Usage

ItemStatus = Literal[
    "ready", "running", "waiting", "written", "failed", "dropped", "expanded", "collected", "cancelled"
]
Order = Literal["newest", "oldest", "slowest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run in the list of all runs.

    Attributes:
        number: The run's number.
        name: The pipeline's name.
        state: ``running``, ``unfinished`` or ``finished``.
        stages: The names of the stages, in order.
        counts: The number of items by status.
        workers: The number of workers that are alive.
        began_at: When the run began, in seconds since 1970.
        ended_at: When the last item ended, in seconds since 1970; None if the run is not finished.
        active_at: When a worker last sent a heartbeat, in seconds since 1970.
        usage: The tokens and the cost of the run's calls.
    """

    number: int
    name: str
    state: Literal["running", "unfinished", "finished"]
    stages: tuple[str, ...]
    counts: dict[str, int]
    workers: int
    began_at: float
    ended_at: float | None
    active_at: float
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A process that works on a run.

    Attributes:
        id: The store's ID for the worker.
        host: The name of the machine.
        pid: The process ID.
        state: ``alive``, ``late``, ``stopped`` or ``lost``.
        began_at: When the worker joined the run, in seconds since 1970.
        heartbeat_at: When the worker last sent a heartbeat, in seconds since 1970.
        held: The number of items that the worker has now.
        ended_at: When the worker stopped, or was found lost, in seconds since 1970; None until then.
    """

    id: str
    host: str
    pid: int
    state: str
    began_at: float
    heartbeat_at: float
    held: int
    ended_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRow:
    """A group of failures with the same stage and type, and with texts that differ in numbers at most.

    Attributes:
        stage: The stage.
        type: The error's class.
        text: The text of the latest error.
        items: The number of items that failed for good with this error.
        calls: The number of calls that failed with this error.
        last_at: When the latest call failed, in seconds since 1970.
    """

    stage: str
    type: str
    text: str
    items: int
    calls: int
    last_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFilter:
    """A filter of items. None stands for all.

    Attributes:
        status: The status of the items.
        stage: The stage that the items are at, or ended at.
        error: A part of the last error; upper and lower case are the same.
        text: A part of the ID. A whole ID is found at once.
        parent: The ID of the parent item.
        longer_than: The least seconds from taking an item to its end.
        since: Items last changed at this time or later, in seconds since 1970.
        until: Items last changed before this time, in seconds since 1970.
    """

    status: ItemStatus | None = None
    stage: str | None = None
    error: str | None = None
    text: str | None = None
    parent: str | None = None
    longer_than: float | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRow:
    """An item in a list.

    Attributes:
        id: The item's ID.
        status: How the item ended, or its state before the end.
        stage: The stage that the item is at, or ended at; None before the first stage and after the last.
        attempts: The number of calls made for the item.
        rounds: How often the item was sent back.
        parent: The ID of the parent item; None without a parent.
        children: The number of children made of the item.
        error: The last error, or the reason for the drop; None without either.
        began_at: When the item was taken, in seconds since 1970; None if that is not known.
        ended_at: When the item ended, in seconds since 1970; None if it has not ended, or if that is not known.
    """

    id: int | str
    status: ItemStatus
    stage: str | None
    attempts: int
    rounds: int = 0
    parent: int | str | None = None
    children: int = 0
    error: str | None = None
    began_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemPage:
    """One page of a list of items.

    Attributes:
        items: The items, at most as many as were asked for.
        following: The value of ``after`` for the next page; None on the last page.
    """

    items: tuple[ItemRow, ...]
    following: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request to a language model, with the reply.

    Attributes:
        model: The name of the model.
        messages: The messages sent, each with ``role`` and ``content``.
        reply: The text of the reply; None if the call failed.
    """

    model: str
    messages: tuple[dict[str, str], ...]
    reply: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRow:
    """A call made for an item.

    Attributes:
        stage: The stage.
        attempt: The number of the attempt, from 1.
        began_at: When the call began, in seconds since 1970; None if that was not kept.
        waited: Seconds that the item had waited in the stage's queue before the call.
        seconds: How long the call took, in seconds; None if that was not kept.
        in_flight: How many calls of the stage ran when this one began, this one included.
        ended: How the call ended: ``ok``, ``failed``, ``retried``, ``pushed_back``, ``dropped``, ``sent_back`` or
            ``cancelled``.
        usage: The tokens and the cost of the call.
        error: The error's text; None without an error.
        traceback: The error's traceback; None without an error.
        exchanges: The prompts and replies that were kept.
        cached: True if an earlier result was used instead of a call.
        worker: The ID of the worker that made the call; None if that was not kept.
    """

    stage: str
    attempt: int
    began_at: float | None
    waited: float | None
    seconds: float | None
    in_flight: int | None
    ended: str
    usage: Usage = field(default_factory=Usage)
    error: str | None = None
    traceback: str | None = None
    exchanges: tuple[Exchange, ...] = ()
    cached: bool = False
    worker: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemDetails:
    """All that is kept of an item.

    Attributes:
        row: The item as in a list.
        value: The value that the source gave, as JSON data; None without one.
        outputs: The values that the stages returned, as JSON data, by the stage's name, in order.
        calls: The calls made for the item, the first one first.
        parents: The parent and its ancestors, the nearest one first.
        children: The number of the item's children by status.
    """

    row: ItemRow
    value: Any = None
    outputs: tuple[tuple[str, Any], ...] = ()
    calls: tuple[CallRow, ...] = ()
    parents: tuple[int | str, ...] = ()
    children: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A call as a timeline shows it.

    Attributes:
        item: The item's ID.
        stage: The stage.
        began: Seconds from the run's start to the start of the call.
        seconds: How long the call took, in seconds.
        ended: How the call ended, as in ``CallRow.ended``.
    """

    item: int | str
    stage: str
    began: float
    seconds: float
    ended: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heights:
    """The number of running calls of a stage over time, as means over equal parts.

    Attributes:
        stage: The stage.
        running: The mean number of running calls in each part.
        failed: The mean number of running calls that did not end ``ok``, in each part.
    """

    stage: str
    running: tuple[float, ...]
    failed: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The calls that ran in a part of a run.

    Attributes:
        bars: The calls, in the order in which they began. If there are more than were asked for, the longest calls.
        calls: The number of calls. Approximate if ``heights`` is None.
        heights: The number of running calls, from all calls, in the order of the stages; None if there are too many
            calls to read.
    """

    bars: tuple[Bar, ...] = ()
    calls: int = 0
    heights: tuple[Heights, ...] | None = ()

    @property
    def is_cut(self) -> bool:
        """True if calls are missing from ``bars``."""
        return len(self.bars) < self.calls or self.heights is None


class RunsReader(Protocol):
    """Answers the page's questions. The methods block for a fraction of a second; worker threads call them."""

    def runs(self) -> Sequence[RunRow]:
        """Returns all runs, the latest first."""
        ...

    def run(self, number: int) -> RunRow | None:
        """Returns one run; None if no run has this number."""
        ...

    def snapshots(self, run: int, *, most: int = 600) -> Sequence[Snapshot]:
        """Returns at most ``most`` snapshots of the run's history, evenly spread. Each is the sum over the workers."""
        ...

    def latest(self, run: int) -> Snapshot | None:
        """Returns the newest snapshot summed over the workers of a run; None if none was kept."""
        ...

    def workers(self, run: int) -> Sequence[WorkerRow]:
        """Returns the run's workers, ended ones included."""
        ...

    def errors(self, run: int) -> Sequence[ErrorRow]:
        """Returns at most 50 groups of failures, the most common first."""
        ...

    def items(
        self, run: int, wanted: ItemFilter, *, order: Order = "newest", after: str | None = None, most: int = 100
    ) -> ItemPage:
        """Returns a page of items. ``after`` is the ``following`` of an earlier page."""
        ...

    def count(self, run: int, wanted: ItemFilter, *, most: int = 10_000) -> int:
        """Returns the number of items. The result ``most`` means that many or more."""
        ...

    def item(self, run: int, item: str) -> ItemDetails | None:
        """Returns all that is kept of an item; None if no item has this ID."""
        ...

    def timeline(self, run: int, *, since: float, seconds: float, most: int = 2_000, parts: int = 600) -> Timeline:
        """Returns the calls that ran in a part of the run.

        Args:
            run: The run's number.
            since: Where the part begins, in seconds from the run's start.
            seconds: The length of the part in seconds.
            most: The most bars to return.
            parts: The number of means in each of the heights.
        """
        ...


class RunsActor(Protocol):
    """Changes runs for the page. A read-only page has no actor."""

    def requeue(self, run: int, wanted: ItemFilter | Sequence[str]) -> int:
        """Makes failed or dropped items ready again, and returns how many."""
        ...

    def stop(self, run: int, *, abort: bool = False) -> int:
        """Tells the workers of a run to stop or to abort, and returns how many were told."""
        ...
