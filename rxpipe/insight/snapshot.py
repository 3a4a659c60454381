"""The numbers of a run at one moment. The terminal, the page, JSON, health and advice use these numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from typing import Any, Literal

from rxpipe.insight.finding import Finding
from rxpipe.insight.outlook import Outlook
from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.stages.durations import Durations

State = Literal["running", "stopping", "finished", "failed", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSnapshot:
    """The counts and times of one stage since its run began.

    A slot is always in one of five states:

    - busy: a call runs
    - blocked: a result waits for room downstream
    - limited: an item waits for a rate limit
    - held: an item waits for the store's database
    - idle

    Slot seconds are the seconds that all slots together spend in a state.

    Attributes:
        name: The stage's name.
        concurrency: How many calls may run at once now; None for no bound.
        most: How many calls the stage may adapt to. Equals ``concurrency`` if the stage does not adapt.
        calls: The number of calls, retries included.
        done: The number of items for which the function returned.
        failed: The number of items that failed in this stage.
        dropped: The number of items that the function dropped.
        sent_back: The number of items that the function sent back.
        spawned: The number of children that the stage made.
        cached: The number of items that got an earlier result instead of a call.
        retried: The number of failed calls after which another attempt follows.
        pushed_back: The number of calls that the server refused for now, as with a 429.
        refusal: The server's message with the last refusal; empty if there was none.
        abandoned: The number of calls that could not be stopped.
        running: The number of calls that run now.
        waiting: The number of items that wait for a slot, a limit, or their next attempt.
        delayed: The number of waiting items whose next attempt is not due yet.
        blocked_now: The number of results that wait for room downstream now.
        arriving: The number of items that the cache looks up, or that wait for the lookup, before they enter the stage.
        busy: Slot seconds in which calls ran.
        blocked: Slot seconds in which results waited for room downstream.
        limited: Slot seconds in which items waited for a rate limit.
        held: Slot seconds in which items waited for the store's database.
        slot_seconds: All slot seconds; None if there is no bound.
        seconds: How long the calls took, in seconds.
        waits: How long items had waited in the queue before their calls, in seconds.
        oldest: How long the oldest running call has been running, in seconds; None if no call runs.
        last_end: How long ago the last call ended, in seconds; None if no call has ended.
        limiters: The names of the rate limits that the stage's calls wait for.
        usage: The tokens and the cost of the stage's calls.
        saved: The tokens and the cost that cached results have saved.
    """

    name: str
    concurrency: int | None
    most: int | None
    calls: int = 0
    done: int = 0
    failed: int = 0
    dropped: int = 0
    sent_back: int = 0
    spawned: int = 0
    cached: int = 0
    retried: int = 0
    pushed_back: int = 0
    refusal: str = ""
    abandoned: int = 0
    running: int = 0
    waiting: int = 0
    delayed: int = 0
    blocked_now: int = 0
    arriving: int = 0
    busy: float = 0.0
    blocked: float = 0.0
    limited: float = 0.0
    held: float = 0.0
    slot_seconds: float | None = 0.0
    seconds: Durations = field(default_factory=Durations)
    waits: Durations = field(default_factory=Durations)
    oldest: float | None = None
    last_end: float | None = None
    limiters: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    saved: Usage = field(default_factory=Usage)

    @property
    def finished(self) -> int:
        """The number of items whose last call in this stage has ended."""
        return self.done + self.failed + self.dropped + self.sent_back


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterSnapshot:
    """A rate limit. Several stages may share it.

    Attributes:
        name: The limit's name, as in ``StageSnapshot.limiters``.
        unit: What the limit counts: ``calls``, ``items`` or ``tokens``.
        rate: How many units per second the limit allows.
        taken: How many units all stages of this process have taken since the run began.
        paused: Seconds in which the server made all calls pause.
        per_process: True if each worker has its own limit of this kind.
    """

    name: str
    unit: Literal["calls", "items", "tokens"]
    rate: float
    taken: float = 0.0
    paused: float = 0.0
    per_process: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSnapshot:
    """The sink, or the store that writes the sink's rows.

    Attributes:
        name: What the sink writes to: ``database`` or ``file``.
        outcomes: The number of committed outcomes.
        commits: The number of transactions.
        busy: Seconds spent in transactions. One transaction runs at a time.
        waiting: The number of outcomes that wait for their commit now.
        away: How long the database has been away, in seconds; None while it answers.
    """

    name: str
    outcomes: int = 0
    commits: int = 0
    busy: float = 0.0
    waiting: int = 0
    away: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSnapshot:
    """The source of a run's items.

    Attributes:
        length: How many items the source gives in all; None if that is unknown.
        waited: Seconds in which there was room for an item, and the source gave none.
        waits: How long the run waited for each item except the first, in seconds. The rest of ``waited`` belongs to the
            start and the end of the run, and does not come again.
        is_over: True if the source gives no more items.
    """

    length: int | None = None
    waited: float = 0.0
    waits: Durations = field(default_factory=Durations)
    is_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedError:
    """A group of items that failed in the same way, or were dropped for the same reason; see ``CommonError``."""

    stage: str
    text: str
    count: int = 1
    same: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The numbers of a run at one moment.

    ``taken + spawned`` is always the sum of all ends and of ``in_flight``. The value is immutable, so threads may share
    it.

    Attributes:
        at: The time of the snapshot, in seconds since 1970.
        elapsed: How long the run has lasted, in seconds.
        state: What the run is doing, or how it ended.
        strategy: See ``Pipeline``.
        pipeline: The pipeline's name; None if it has none.
        run: The run's number in its store; None without a store.
        workers: How many processes the numbers are of.
        taken: The number of IDs taken from the source.
        spawned: The number of children that stages have made.
        written: The number of items whose row is committed.
        failed: The number of items that failed.
        dropped: The number of items that a stage dropped.
        expanded: The number of items that became children, all of which have ended.
        collected: The number of children that are now part of their parent.
        cancelled: The number of items that were cancelled.
        in_flight: The number of items that are on their way now.
        waiting_for_children: The number of items in flight that wait for their children.
        written_before: The number of items that earlier runs wrote, if this run continues them.
        failed_before: The number of items that failed in earlier runs, if this run continues them.
        until: How many items are to be written in all; None for all items of the source.
        stages: The stages, in order.
        limiters: The rate limits, each once.
        sink: The sink; None without a sink.
        source: The source.
        usage_before: The tokens and the cost of earlier runs, if this run continues them.
        outlook: The estimate of what is left; None if there is no estimate, and for the sum of several workers.
        finding: What held the run up. None until the run is over, and for the sum of workers that ran at the same time.
        errors: The most common errors.
        drops: The most common reasons for drops.
    """

    at: float
    elapsed: float
    stages: tuple[StageSnapshot, ...]
    state: State = "running"
    strategy: str = "per_stage"
    pipeline: str | None = None
    run: int | None = None
    workers: int = 1
    taken: int = 0
    spawned: int = 0
    written: int = 0
    failed: int = 0
    dropped: int = 0
    expanded: int = 0
    collected: int = 0
    cancelled: int = 0
    in_flight: int = 0
    waiting_for_children: int = 0
    written_before: int = 0
    failed_before: int = 0
    until: int | None = None
    limiters: tuple[LimiterSnapshot, ...] = ()
    sink: SinkSnapshot | None = None
    source: SourceSnapshot = field(default_factory=SourceSnapshot)
    usage_before: Usage = field(default_factory=Usage)
    outlook: Outlook | None = None
    finding: Finding | None = None
    errors: tuple[CountedError, ...] = ()
    drops: tuple[CountedError, ...] = ()

    @property
    def ended(self) -> int:
        """The number of items that have ended, with any status."""
        return self.written + self.failed + self.dropped + self.expanded + self.collected + self.cancelled

    @property
    def usage(self) -> Usage:
        """The tokens and the cost of all calls of this run."""
        return sum((stage.usage for stage in self.stages), Usage())

    @property
    def saved(self) -> Usage:
        """The tokens and the cost that cached results have saved."""
        return sum((stage.saved for stage in self.stages), Usage())


def merged(snapshots: Sequence[Snapshot]) -> Snapshot:
    """Returns the sum of the workers of one run.

    Times such as ``at`` and ``elapsed`` are those of the latest snapshot.

    Args:
        snapshots: The latest snapshot of each worker.

    Raises:
        ValueError: There is no snapshot, or the snapshots have different stages.
    """
    if not snapshots:
        raise ValueError("there is no snapshot to add up")
    if len({tuple(stage.name for stage in snapshot.stages) for snapshot in snapshots}) > 1:
        raise ValueError("the snapshots are not of the same stages")
    return reduce(_add, snapshots)


_SAME = {"name", "most", "limiters", "strategy", "pipeline", "run", "until", "unit", "per_process"}
_LATEST = {"at", "elapsed", "oldest", "away", "written_before", "failed_before"}  # the larger of two values
_OWN = {
    "stages",
    "limiters",
    "sink",
    "source",
    "errors",
    "drops",
    "state",
    "usage_before",
    "last_end",
    "refusal",
    "rate",
    "outlook",
    "finding",
}


def _add(one: Snapshot, other: Snapshot) -> Snapshot:
    sinks = [snapshot.sink for snapshot in (one, other) if snapshot.sink is not None]
    return replace(
        one,
        **_sums(one, other),
        outlook=None,
        finding=_finding(*sorted((one, other), key=lambda each: each.at)),
        state="running" if "running" in (one.state, other.state) else max(one, other, key=lambda each: each.at).state,
        stages=tuple(_add_stages(*pair) for pair in zip(one.stages, other.stages, strict=True)),
        limiters=_add_limiters((*one.limiters, *other.limiters)),
        sink=reduce(lambda left, right: replace(left, **_sums(left, right)), sinks) if sinks else None,
        source=SourceSnapshot(
            length=one.source.length,
            waited=one.source.waited + other.source.waited,
            waits=one.source.waits + other.source.waits,
            is_over=one.source.is_over and other.source.is_over,
        ),
        errors=_add_counted((*one.errors, *other.errors)),
        drops=_add_counted((*one.drops, *other.drops)),
    )


def _finding(early: Snapshot, late: Snapshot) -> Finding | None:
    """Returns the finding of the later snapshot if that worker ran alone, after the other was gone; otherwise None."""
    is_over = early.state not in ("running", "stopping") and early.at <= late.at - late.elapsed
    if early.workers and not is_over:
        return None
    return late.finding if late.taken else early.finding


def _add_stages(one: StageSnapshot, other: StageSnapshot) -> StageSnapshot:
    ends = [each.last_end for each in (one, other) if each.last_end is not None]
    most = None if one.most is None or other.most is None else one.most + other.most
    refusal = one.refusal or other.refusal
    return replace(one, **_sums(one, other), most=most, last_end=min(ends, default=None), refusal=refusal)


def _add_limiters(limiters: Sequence[LimiterSnapshot]) -> tuple[LimiterSnapshot, ...]:
    sums: dict[str, LimiterSnapshot] = {}
    for limiter in limiters:
        known = sums.get(limiter.name)
        if known is None:
            sums[limiter.name] = limiter
            continue
        rate = known.rate + limiter.rate if limiter.per_process else known.rate
        sums[limiter.name] = replace(known, **_sums(known, limiter), rate=rate)
    return tuple(sums.values())


def _add_counted(errors: Sequence[CountedError]) -> tuple[CountedError, ...]:
    sums: dict[tuple[str, str], CountedError] = {}
    for error in errors:
        key = (error.stage, error.text)
        known = sums.get(key)
        sums[key] = error if known is None else replace(known, count=known.count + error.count)
    return tuple(sorted(sums.values(), key=lambda error: -error.count)[:5])


def _sums(one: Any, other: Any) -> dict[str, Any]:
    """Returns the sums of the fields that can be added, and the larger value of those in ``_LATEST``."""
    added: dict[str, Any] = {}
    for name in (each.name for each in fields(one)):
        left, right = getattr(one, name), getattr(other, name)
        if name in _SAME or name in _OWN:
            continue
        if name in _LATEST:
            added[name] = max((each for each in (left, right) if each is not None), default=None)
        else:
            added[name] = None if left is None or right is None else left + right
    return added
