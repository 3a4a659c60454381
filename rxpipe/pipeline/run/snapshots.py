"""Snapshots: the numbers of a run at one moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxpipe.insight.insight import Insight, insight_of
from rxpipe.insight.snapshot import (
    CountedError,
    LimiterSnapshot,
    SinkSnapshot,
    Snapshot,
    SourceSnapshot,
    StageSnapshot,
)
from rxpipe.insight.window import History
from rxpipe.operators.core.clock import Clock
from rxpipe.operators.core.machine import Producer
from rxpipe.operators.stages.limiter import CountingLimiter, Limiter, LimitUse, Unit
from rxpipe.operators.stages.settings import Settings, StageStats
from rxpipe.pipeline.commit_counts import CommitCounts
from rxpipe.pipeline.outcome import CommonError
from rxpipe.pipeline.run.cache_lookup import CacheStage
from rxpipe.pipeline.run.counts import Counts

_FIRST_LOOK = 16  # ended items at the first kept snapshot
_LOOKS = 1.2  # the factor of ended items from one kept snapshot to the next: 60 for a million items


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Facts that do not change while a run lasts.

    Attributes:
        pipeline: The pipeline's name, or None.
        strategy: The pipeline's strategy.
        length: Number of items that the source gives, or None.
        limiters: The limiters of each stage, with the unit for limiters that do not name one.
        most: The most calls of each stage that may run at once; ``math.inf`` for no bound.
        lookups: The cache lookups that run before stages, by the stage's index.
        counts: The counts of the sink's commits; None without a sink, or if they are not counted.
        wall_time: Returns the seconds since 1970.
        is_simulated: True if calls are only simulated, so warnings are not wanted.
    """

    pipeline: str | None = None
    strategy: str = "per_stage"
    length: int | None = None
    limiters: Sequence[Sequence[tuple[Limiter, Unit]]] = ()
    most: Sequence[float] = ()
    lookups: Mapping[int, CacheStage] = field(default_factory=dict[int, CacheStage])
    counts: CommitCounts | None = None
    wall_time: Callable[[], float] = time.time
    is_simulated: bool = False


@dataclass(slots=True)
class _NamedUse:
    """A limit, and the stages that share it."""

    use: LimitUse
    stages: list[str] = field(default_factory=list[str])

    @property
    def name(self) -> str:
        whose = self.use.name or " and ".join(self.stages)
        return f"{whose} {self.use.unit}"


class Watch:
    """Makes snapshots of a run, and keeps some of them to find the bottleneck.

    Attributes:
        look_at: Number of ended items at which ``look`` is called next.
    """

    def __init__(self, run: Counts, facts: RunFacts) -> None:
        self._run = run
        self._facts = facts
        self.look_at = _FIRST_LOOK
        self._history = History()
        self._concluded: Insight | None = None

    def look(self, ends: int) -> None:
        """Keep a snapshot, when ``ends`` items have ended. Needs no timer."""
        self.look_at = int(ends * _LOOKS) + 1
        self._history.add(self.snapshot())

    def snapshot(self) -> Snapshot:
        """Returns the numbers of the run at this moment. From any thread."""
        now = _snapshot_of(self._run, self._facts)
        return now if now.state in ("running", "stopping") else self.conclude(now, again=False)

    def conclude(self, last: Snapshot, *, again: bool = True) -> Snapshot:
        """Returns the last snapshot with the bottleneck added.

        Args:
            last: The snapshot.
            again: True to look for the bottleneck again if it was found before.
        """
        if again or self._concluded is None:
            self._concluded = insight_of((*self._history.snapshots, last))
        return replace(last, finding=self._concluded.finding)

    def snapshots(self, seconds: float) -> Observable[Snapshot]:
        """Returns an observable of the numbers: now, every ``seconds`` seconds, and at the end.

        A slow observer gets fewer snapshots, and always the newest.

        Raises:
            ValueError: ``seconds`` is not above 0.
        """
        if not seconds > 0:
            raise ValueError(f"seconds must be above 0, not {seconds}")

        def subscribe(observer: ObserverBase[Snapshot], scheduler: SchedulerBase | None = None) -> DisposableBase:
            ticker = _Ticker(observer, self.snapshot, self._run.clock, seconds)
            ticker.post(ticker.tick)
            self._run.finished.add_done_callback(lambda _: ticker.post(ticker.finish))
            return ticker

        return reactivex.create(subscribe)

    def insight(self) -> Insight:
        """Returns the present bottleneck, the gain of a change, and the stages that stand still. From any thread."""
        now = self.snapshot()
        if now.finding is not None and self._concluded is not None:
            return self._concluded
        return insight_of((*self._history.snapshots, now))


def _snapshot_of(run: Counts, facts: RunFacts) -> Snapshot:
    """Returns the numbers of the run at this moment. Numbers that are read one after the other may differ by a call."""
    now = run.clock.now()
    limits = _limits(run.stages, facts)
    return Snapshot(
        at=facts.wall_time(),
        elapsed=run.seconds,
        state=run.state,
        strategy=facts.strategy,
        pipeline=facts.pipeline,
        run=run.number,
        taken=run.taken,
        spawned=run.spawned,
        written=run.written,
        failed=run.failed,
        dropped=run.dropped,
        expanded=run.expanded,
        collected=run.collected,
        cancelled=run.cancelled,
        in_flight=max(0, run.in_flight),
        waiting_for_children=run.waiting_for_children,
        written_before=run.before[0],
        failed_before=run.before[1],
        until=None if run.quota is None else run.quota.until,
        stages=tuple(_stage(run, index, now, facts, limits) for index in range(len(run.stages))),
        limiters=tuple(_limiter(limit) for limit in limits.values()),
        sink=None if facts.counts is None else _sink(run, facts.counts),
        source=SourceSnapshot(
            length=facts.length,
            waited=run.source_waited,
            waits=run.source_waits,
            is_over=run.source_is_over,
        ),
        usage_before=run.usage_before,
        outlook=None if run.outlook is None else run.outlook.later(run.seconds, (run.usage_before + run.usage).cost),
        errors=_counted(run.errors),
        drops=_counted(run.drops),
    )


def _limits(stages: Sequence[StageStats], facts: RunFacts) -> dict[tuple[int, str], _NamedUse]:
    found: dict[tuple[int, str], _NamedUse] = {}
    for stage, limiters in zip(stages, facts.limiters, strict=False):
        for use in _uses(limiters):
            found.setdefault((id(use.limiter), use.unit), _NamedUse(use)).stages.append(stage.name)
    return found


def limiters_of(settings: Settings[Any, Any]) -> list[tuple[Limiter, Unit]]:
    """Returns the limiters of a stage's calls and of its items, with their units."""
    limiters: list[tuple[Limiter, Unit]] = []
    if settings.rate_limit is not None:
        limiters.append((settings.rate_limit, "calls"))
    if settings.batch is not None and settings.batch.item_rate is not None:
        limiters.append((settings.batch.item_rate, "items"))
    return limiters


def _uses(limiters: Sequence[tuple[Limiter, Unit]]) -> list[LimitUse]:
    return [
        use if use.unit == "tokens" else replace(use, unit=unit)
        for limiter, unit in limiters
        if isinstance(limiter, CountingLimiter)
        for use in limiter.uses()
    ]


def _limiter(limit: _NamedUse) -> LimiterSnapshot:
    use = limit.use
    return LimiterSnapshot(name=limit.name, unit=use.unit, rate=use.rate, taken=use.taken, paused=use.paused)


def _stage(
    run: Counts, index: int, now: float, facts: RunFacts, limits: dict[tuple[int, str], _NamedUse]
) -> StageSnapshot:
    stage = run.stages[index]
    times = stage.times
    seconds = stage.slot_seconds(run.began, run.began + run.seconds)
    most = max(stage.concurrency, facts.most[index] if index < len(facts.most) else 0)
    own = _uses(facts.limiters[index]) if index < len(facts.limiters) else []
    return StageSnapshot(
        name=stage.name,
        concurrency=_whole(stage.concurrency),
        most=_whole(most),
        calls=stage.started,
        done=stage.done,
        failed=stage.failed,
        dropped=stage.dropped,
        sent_back=stage.sent_back,
        spawned=stage.spawned,
        cached=stage.cached,
        retried=stage.retried,
        pushed_back=stage.pushed_back,
        refusal=stage.refusal,
        abandoned=stage.abandoned,
        running=max(0, stage.running),
        waiting=max(0, stage.waiting),
        delayed=len(times.delayed()),
        blocked_now=times.blocked.now,
        arriving=facts.lookups[index].inside if index in facts.lookups else 0,
        busy=times.busy(stage.busy, now),
        blocked=times.blocked.total(now),
        limited=times.limited.total(now),
        held=times.held.total(now),
        slot_seconds=None if _whole(stage.concurrency) is None else seconds,
        seconds=times.seconds.copy(),
        waits=times.waits.copy(),
        oldest=times.oldest(now),
        last_end=None if times.last_end is None else max(0.0, now - times.last_end),
        limiters=tuple(limits[id(use.limiter), use.unit].name for use in own),
        usage=stage.usage,
        saved=stage.saved,
    )


def _whole(count: float) -> int | None:
    return None if count == float("inf") else int(count)


def _sink(run: Counts, counts: CommitCounts) -> SinkSnapshot:
    return SinkSnapshot(
        name=counts.name,
        outcomes=counts.outcomes,
        commits=counts.commits,
        busy=counts.busy,
        waiting=max(0, run.waiting_for_commit),
        away=counts.away,
    )


def _counted(errors: Sequence[CommonError]) -> tuple[CountedError, ...]:
    return tuple(CountedError(stage=one.stage, text=one.text, count=one.count, same=one.same) for one in errors)


class _Ticker(Producer[Snapshot]):
    """One subscription to a run's snapshots."""

    def __init__(
        self, observer: ObserverBase[Snapshot], snapshot: Callable[[], Snapshot], clock: Clock, seconds: float
    ) -> None:
        super().__init__(observer)
        self._snapshot = snapshot
        self._clock = clock
        self._seconds = seconds
        self._is_due = self._is_last = False
        self._timer: DisposableBase | None = None

    def tick(self) -> None:
        """Take a snapshot, and schedule the next one."""
        if not (self._is_last or self.over):
            self._is_due = True
            self._timer = self._clock.call_later(self._seconds, lambda: self.post(self.tick))

    def finish(self) -> None:
        """The run is over."""
        self._is_due = self._is_last = True
        self._stop_timer()

    def advance(self) -> None:
        """Emit the waiting snapshot."""
        if self._is_due and not self.over and self.may_emit():
            self._is_due = False
            self.emit(self._snapshot())
            if self._is_last:
                self.end()

    def free(self) -> None:
        """Take no more snapshots."""
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.dispose()
            self._timer = None
