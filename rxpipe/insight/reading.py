"""What a page asks of the runs of a database, and does to them: the values, and who answers."""

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
        number: Its number.
        name: The pipeline's name.
        state: ``running``, ``unfinished`` or ``finished``.
        stages: The names of its stages.
        counts: How many items there are of each status.
        workers: How many are alive.
        began_at: When it began, in seconds since 1970.
        ended_at: When its last item ended; None if it is not finished.
        active_at: When a worker last showed a sign of life.
        usage: What its calls have used.
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
    """A process's part in a run.

    Attributes:
        id: What the store calls it.
        host: The machine's name.
        pid: The process's number.
        state: ``alive``, ``late``, ``stopped`` or ``lost``.
        began_at: When it came, in seconds since 1970.
        heartbeat_at: When it last showed a sign of life.
        held: Items that it has now.
    """

    id: str
    host: str
    pid: int
    state: str
    began_at: float
    heartbeat_at: float
    held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRow:
    """Failures of one kind: of one stage and type, whose texts differ in numbers at most.

    Attributes:
        stage: The stage.
        type: The error's class.
        text: The latest one's text.
        items: How many items failed for good with it.
        calls: How many calls failed with it.
        last_at: When the last one did, in seconds since 1970.
    """

    stage: str
    type: str
    text: str
    items: int
    calls: int
    last_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFilter:
    """Which items are wanted; None stands for all.

    Attributes:
        status: Their status.
        stage: The stage that they are at, or ended at.
        error: A part of their last error, in any case.
        text: A part of their ID; a whole ID is found at once.
        parent: The ID of the item that they were made of.
        longer_than: Seconds that they took at least, from being taken to their end.
        since: They were last changed at this time or later, in seconds since 1970.
        until: They were last changed before this time.
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
        id: Its ID.
        status: How it ended, or what it does.
        stage: The stage that it is at or ended at; None before the first and behind the last.
        attempts: Calls made for it.
        rounds: How often it was sent back.
        parent: The ID of the item that it was made of, or None.
        children: How many were made of it.
        error: Its last error, or why it was dropped; None without.
        began_at: When it was taken, in seconds since 1970; None if that is not known.
        ended_at: When it ended; None if it has not, or that is not known.
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
    """A page of a list of items.

    Attributes:
        items: At most as many as were asked for.
        following: What to ask for the next page with; None if this is the last one.
    """

    items: tuple[ItemRow, ...]
    following: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request to a language model, and the reply.

    Attributes:
        model: The model.
        messages: What was sent: ``role`` and ``content`` of each message.
        reply: The reply's text; None if the call failed.
    """

    model: str
    messages: tuple[dict[str, str], ...]
    reply: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRow:
    """A call made for an item.

    Attributes:
        stage: The stage.
        attempt: Its number, from 1.
        began_at: When it began, in seconds since 1970; None if that was not kept.
        waited: Seconds that the item had waited in the stage's queue before.
        seconds: How long it took; None if that was not kept.
        in_flight: How many calls of the stage ran when it began, this one included.
        ended: How it ended: ``ok``, ``failed``, ``retried``, ``pushed_back``, ``dropped``, ``sent_back`` or
            ``cancelled``.
        usage: What it used.
        error: The error's text; None without.
        traceback: The error's traceback; None without.
        exchanges: The prompts and replies that were kept.
        cached: Whether an earlier result was used instead of a call.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemDetails:
    """All that is kept of an item.

    Attributes:
        row: As in a list.
        value: What the source gave, as JSON data; None without.
        outputs: What each stage returned, as JSON data, by the stage's name, in order.
        calls: The calls made for it, the first one first.
        parents: The items above it, the nearest one first.
        children: How many of its children there are of each status.
    """

    row: ItemRow
    value: Any = None
    outputs: tuple[tuple[str, Any], ...] = ()
    calls: tuple[CallRow, ...] = ()
    parents: tuple[int | str, ...] = ()
    children: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A call, as a timeline draws it.

    Attributes:
        item: The item's ID.
        stage: The stage.
        began: Seconds from the run's beginning.
        seconds: How long it took.
        ended: As ``CallRow.ended``.
    """

    item: int | str
    stage: str
    began: float
    seconds: float
    ended: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heights:
    """How many calls of a stage ran, as means over equal parts of a time.

    Attributes:
        stage: The stage.
        running: The means, one for each part.
        failed: The same of the calls that did not end ``ok``.
    """

    stage: str
    running: tuple[float, ...]
    failed: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Calls that ran in a part of a run.

    Attributes:
        bars: The calls in the order in which they began. If there are more than were asked for: the longest.
        calls: How many calls there are; about, where ``heights`` is None.
        heights: How many calls ran, from all of them, in the order of the stages; None if they are too many to read.
    """

    bars: tuple[Bar, ...] = ()
    calls: int = 0
    heights: tuple[Heights, ...] | None = ()

    @property
    def is_cut(self) -> bool:
        """Whether calls are missing from ``bars``."""
        return len(self.bars) < self.calls or self.heights is None


class RunsReader(Protocol):
    """Answers a page. Its functions block, for a fraction of a second; they are called on worker threads."""

    def runs(self) -> Sequence[RunRow]:
        """All runs, the latest first."""
        ...

    def run(self, number: int) -> RunRow | None:
        """One run; None if there is none of this number."""
        ...

    def snapshots(self, run: int, *, most: int = 600) -> Sequence[Snapshot]:
        """The run's history: sums over its workers from its beginning, evenly thinned out to so many."""
        ...

    def latest(self, run: int) -> Snapshot | None:
        """The newest sum over the workers of a run; None if none was kept."""
        ...

    def workers(self, run: int) -> Sequence[WorkerRow]:
        """The run's workers, also those that have ended."""
        ...

    def errors(self, run: int) -> Sequence[ErrorRow]:
        """Failures in groups, the commonest first; 50 at most."""
        ...

    def items(
        self, run: int, wanted: ItemFilter, *, order: Order = "newest", after: str | None = None, most: int = 100
    ) -> ItemPage:
        """A page of items; ``after`` is an earlier page's ``following``."""
        ...

    def count(self, run: int, wanted: ItemFilter, *, most: int = 10_000) -> int:
        """How many items there are; ``most`` stands for that many or more."""
        ...

    def item(self, run: int, item: str) -> ItemDetails | None:
        """All that is kept of an item; None if there is none of this ID."""
        ...

    def timeline(self, run: int, *, since: float, seconds: float, most: int = 2_000, parts: int = 600) -> Timeline:
        """Calls that ran in a part of the run, ``since`` in seconds from its beginning.

        ``most`` is the number of bars at most, ``parts`` the number of means in each of the heights.
        """
        ...


class RunsActor(Protocol):
    """Does to runs what a page asks for; not there in a read-only mode."""

    def requeue(self, run: int, wanted: ItemFilter | Sequence[str]) -> int:
        """Have failed or dropped items processed again; returns how many."""
        ...

    def stop(self, run: int, *, abort: bool = False) -> int:
        """Have the workers of a run stop, or abort; returns how many were told."""
        ...
