"""The numbers of a run at one moment. Terminal, page, JSON, health and advice are made of nothing else."""

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
    """A stage's counts and times, since its run began.

    A slot is at each moment busy (a call runs), blocked (a result waits for room downstream), limited (an item waits
    for a rate limit), held (an item waits for the store's database), or idle. Slot seconds are these times of all
    slots, added up.

    Attributes:
        name: The stage's name.
        concurrency: How many calls may run at once now; None for no bound.
        most: How many it may adapt to; as ``concurrency`` if it does not adapt.
        calls: Calls made, retries included.
        done: Items whose function returned.
        failed: Items that failed there.
        dropped: Items that its function dropped.
        sent_back: Items that its function sent back.
        spawned: Children that it made.
        cached: Items that got an earlier result instead of a call.
        retried: Failed calls that another one follows.
        pushed_back: Calls that the server refused for now, as a 429 does.
        refusal: What the server said with the last of those; empty if there was none.
        abandoned: Calls that could not be stopped.
        running: Calls that run now.
        waiting: Items that wait for a slot, a limit, or their next attempt.
        delayed: Of these, items whose next attempt is not due yet.
        blocked_now: Results that wait for room downstream now.
        arriving: Items that are looked up in the cache before they come to the stage, or wait for that.
        busy: Slot seconds in which calls ran.
        blocked: Slot seconds in which results waited for room downstream.
        limited: Slot seconds in which items waited for a rate limit.
        held: Slot seconds in which items waited for the store's database.
        slot_seconds: Slot seconds in all; None if there is no bound.
        seconds: How long each call took.
        waits: How long each call's item had waited in the queue.
        oldest: How long the oldest running call has been running, in seconds; None if none runs.
        last_end: How long ago the last call ended, in seconds; None if none has.
        limiters: The names of the limits that its calls wait for.
        usage: What its calls have used.
        saved: What cached results have saved.
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
        """Items that it has called with for the last time."""
        return self.done + self.failed + self.dropped + self.sent_back


@dataclass(frozen=True, slots=True, kw_only=True)
class LimiterSnapshot:
    """A rate limit, which stages may share.

    Attributes:
        name: As ``StageSnapshot.limiters`` has it.
        unit: What is counted: ``calls``, ``items`` or ``tokens``.
        rate: How many of these in a second.
        taken: How many were taken since the run began, by all stages of this process.
        paused: Seconds in which the server had everything pause.
        per_process: Whether each worker has such a limit of its own.
    """

    name: str
    unit: Literal["calls", "items", "tokens"]
    rate: float
    taken: float = 0.0
    paused: float = 0.0
    per_process: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSnapshot:
    """The sink, or the store which writes its rows.

    Attributes:
        name: What is written to: ``database`` or ``file``.
        outcomes: Outcomes that were committed.
        commits: Transactions.
        busy: Seconds spent in them; one runs at a time.
        waiting: Outcomes that wait for their commit now.
        away: For how long the database has been away, in seconds; None while it answers.
    """

    name: str
    outcomes: int = 0
    commits: int = 0
    busy: float = 0.0
    waiting: int = 0
    away: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSnapshot:
    """Where items come from.

    Attributes:
        length: How many it gives in all; None if nobody knows.
        waited: Seconds in which there was room for an item, and the source gave none.
        waits: The same of each item that was waited for, but the first: what is left of ``waited`` does not come again.
        is_over: Whether it gives no more.
    """

    length: int | None = None
    waited: float = 0.0
    waits: Durations = field(default_factory=Durations)
    is_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedError:
    """Items that failed in the same way, or were dropped for the same reason; see ``CommonError``."""

    stage: str
    text: str
    count: int = 1
    same: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A run at one moment. ``taken + spawned`` is the sum of all ends and of ``in_flight``.

    Attributes:
        at: The time, in seconds since 1970.
        elapsed: How long the run has lasted, in seconds.
        state: What the run is doing, or how it ended.
        strategy: See ``Pipeline``.
        pipeline: The pipeline's name; None if it has none.
        run: The run's number in its store; None without a store.
        workers: How many processes these are the numbers of.
        taken: IDs taken from the source.
        spawned: Children that stages have made.
        written: Items whose row is committed.
        failed: Items that failed.
        dropped: Items that a stage dropped.
        expanded: Items that ended with their children.
        collected: Children that ended in their parent.
        cancelled: Items that were cancelled.
        in_flight: Items that are on their way now.
        waiting_for_children: Of these, those that wait for their children.
        written_before: Items that earlier runs have written, which this one goes on with.
        failed_before: Items that failed in those.
        until: How many items are to be written in all; None for as many as come.
        stages: The stages, in order.
        limiters: The rate limits, each once.
        sink: The sink; None without one.
        source: The source.
        usage_before: What the calls of earlier runs have used, which this one goes on with.
        outlook: What is left, as far as somebody has estimated that; None for the sum of several workers.
        finding: What held it up, once it is over; None while it lasts, and for the sum of several workers.
        errors: The commonest errors.
        drops: The commonest reasons for drops.
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
        """Items that have ended, in whatever way."""
        return self.written + self.failed + self.dropped + self.expanded + self.collected + self.cancelled

    @property
    def usage(self) -> Usage:
        """What its calls have used."""
        return sum((stage.usage for stage in self.stages), Usage())

    @property
    def saved(self) -> Usage:
        """What cached results have saved."""
        return sum((stage.saved for stage in self.stages), Usage())


def merged(snapshots: Sequence[Snapshot]) -> Snapshot:
    """The sum of the workers of one run, each with its latest snapshot; times are those of the latest.

    Raises:
        ValueError: There is none, or their stages differ.
    """
    if not snapshots:
        raise ValueError("there is no snapshot to add up")
    if len({tuple(stage.name for stage in snapshot.stages) for snapshot in snapshots}) > 1:
        raise ValueError("the snapshots are not of the same stages")
    return reduce(_add, snapshots)


_SAME = {"name", "most", "limiters", "strategy", "pipeline", "run", "until", "unit", "per_process"}
_LATEST = {"at", "elapsed", "oldest", "away", "written_before", "failed_before"}  # the largest
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
    """That of the later one, if it went on alone, after the other was gone."""
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
    """Sums of the fields that can be added up, and the larger of those that cannot."""
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
