"""What happened between two snapshots of a run, and which two are worth looking at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rxpipe.insight.snapshot import LimiterSnapshot, SinkSnapshot, Snapshot, StageSnapshot

_ENOUGH = 3_000  # items: a window of more is hardly more exact, and tells of changes later
_SOME = 100  # items: a rate of fewer says little
_CHANGED = 4 / 3  # times as fast: then a run goes otherwise than it did
_SECONDS = 10.0  # a window's least length, where there is enough to look at
_ROUNDS = 3  # after so many times the time that the first item took, a run has filled up
_LEAST = 1e-9  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A part of a run.

    Attributes:
        seconds: How long it lasted.
        counts: What was counted in it: sums are those of the window alone, all else is as at its end.
        end: The snapshot at its end.
    """

    seconds: float
    counts: Snapshot
    end: Snapshot

    @property
    def items(self) -> float:
        """How many items went through: the mean of those that came in and those that went out."""
        return (self.counts.taken + self.counts.spawned + self.counts.ended) / 2

    @property
    def rate(self) -> float:
        """Items in a second."""
        return self.items / self.seconds

    def slots(self, stage: StageSnapshot) -> float | None:
        """How many slots a stage of ``counts`` had on average; None for no bound."""
        if stage.concurrency is None:
            return None
        if stage.slot_seconds is None or stage.slot_seconds <= 0:
            return float(stage.concurrency)
        return stage.slot_seconds / self.seconds


def between(earlier: Snapshot, later: Snapshot) -> Window | None:
    """The window between two snapshots of a run.

    Returns:
        None if no time has gone by, or if something that is counted has become less: a worker has gone.
    """
    seconds = later.elapsed - earlier.elapsed
    if not _LEAST < seconds < float("inf") or not _grew(earlier, later):
        return None
    counts = replace(
        later,
        stages=tuple(_stage(*pair) for pair in zip(earlier.stages, later.stages, strict=True)),
        limiters=_limiters(earlier, later),
        sink=_sink(earlier.sink, later.sink),
        source=replace(
            later.source,
            waited=max(0.0, later.source.waited - earlier.source.waited),
            waits=later.source.waits - earlier.source.waits,
        ),
        **{name: getattr(later, name) - getattr(earlier, name) for name in _ITEMS},
    )
    return Window(seconds=seconds, counts=counts, end=later)


def whole(snapshot: Snapshot) -> Window | None:
    """All of a run up to a snapshot; None if no time has gone by."""
    seconds = snapshot.elapsed
    return Window(seconds=seconds, counts=snapshot, end=snapshot) if _LEAST < seconds < float("inf") else None


_ITEMS = ("taken", "spawned", "written", "failed", "dropped", "expanded", "collected", "cancelled")
_COUNTS = ("calls", "done", "failed", "dropped", "sent_back", "spawned", "cached", "retried", "pushed_back")
_TIMES = ("busy", "blocked", "limited", "held")


def _grew(earlier: Snapshot, later: Snapshot) -> bool:
    if [stage.name for stage in earlier.stages] != [stage.name for stage in later.stages]:
        return False
    return (
        earlier.workers == later.workers
        and all(getattr(earlier, name) <= getattr(later, name) for name in _ITEMS)
        and all(
            getattr(before, name) <= getattr(after, name)
            for before, after in zip(earlier.stages, later.stages, strict=True)
            for name in (*_COUNTS, "abandoned")
        )
    )


def _stage(before: StageSnapshot, after: StageSnapshot) -> StageSnapshot:
    slot_seconds = None
    if before.slot_seconds is not None and after.slot_seconds is not None:
        slot_seconds = max(0.0, after.slot_seconds - before.slot_seconds)
    return replace(
        after,
        **{name: getattr(after, name) - getattr(before, name) for name in (*_COUNTS, "abandoned")},
        **{name: max(0.0, getattr(after, name) - getattr(before, name)) for name in _TIMES},
        slot_seconds=slot_seconds,
        seconds=after.seconds - before.seconds,
        waits=after.waits - before.waits,
    )


def _limiters(earlier: Snapshot, later: Snapshot) -> tuple[LimiterSnapshot, ...]:
    before = {limiter.name: limiter for limiter in earlier.limiters}
    return tuple(
        replace(
            limiter,
            taken=max(0.0, limiter.taken - before[limiter.name].taken),
            paused=max(0.0, limiter.paused - before[limiter.name].paused),
        )
        if limiter.name in before
        else limiter
        for limiter in later.limiters
    )


def _sink(before: SinkSnapshot | None, after: SinkSnapshot | None) -> SinkSnapshot | None:
    if before is None or after is None:
        return after
    return replace(
        after,
        outcomes=max(0, after.outcomes - before.outcomes),
        commits=max(0, after.commits - before.commits),
        busy=max(0.0, after.busy - before.busy),
    )


def settled(snapshots: Sequence[Snapshot]) -> Window | None:
    """The window that says most of how a run goes now.

    It begins when the run has filled up, ends before its source does, and is as long as it needs to be for 3,000 items,
    or for 10 seconds. It does not reach back to when the run was a third faster or slower. A run that began a moment
    ago has no such window.

    Args:
        snapshots: Those of one run, the latest last.
    """
    flowing = [each for each in snapshots if not each.source.is_over] or list(snapshots)
    full = _full(flowing)
    if len(full) < 2:
        return None
    end = begin = rest = full[-1]
    for start in reversed(full[:-1]):
        if not _grew(start, end):
            break
        seconds, items = end.elapsed - begin.elapsed, _items(begin, end)
        older_seconds, older = begin.elapsed - start.elapsed, _items(start, begin)
        if seconds >= _SECONDS and items >= _ENOUGH:
            break
        rest = start
        if seconds >= _SECONDS and items >= _SOME and older < _SOME:
            continue  # too few to tell whether they went as fast
        is_told = min(items, older) >= _SOME and min(seconds, older_seconds) > _LEAST
        if is_told and not _is_alike(older / older_seconds, items / seconds):
            rest = begin
            break
        begin = start
    return between(rest, end)


def _items(earlier: Snapshot, later: Snapshot) -> float:
    return sum(sign * (each.taken + each.spawned + each.ended) / 2 for sign, each in ((1, later), (-1, earlier)))


def _is_alike(one: float, other: float) -> bool:
    return max(one, other) <= min(one, other) * _CHANGED


def _full(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """Those from the moment on at which as many items have ended as are on their way, or are about to."""
    ending = [each for each in snapshots if each.ended > 0]
    if not ending:
        return []
    late = _ROUNDS * ending[0].elapsed if len(ending) < len(snapshots) else float("inf")
    for place, each in enumerate(ending):
        if each.ended >= each.in_flight or each.elapsed >= late:
            return ending[place:]
    return []


class History:
    """The latest snapshots of a run, closely, and the earlier ones at ever greater distances, in constant memory."""

    def __init__(self, most: int = 240) -> None:
        """Keep so many, at least 4."""
        self._most = max(4, most)
        self._kept: list[Snapshot] = []

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """What is kept, the latest last."""
        return tuple(self._kept)

    def add(self, snapshot: Snapshot) -> tuple[Snapshot, ...]:
        """Keep a snapshot, and return what is kept; one of another run makes it forget those before."""
        if self._kept and (self._kept[-1].elapsed > snapshot.elapsed or self._kept[-1].run != snapshot.run):
            self._kept.clear()
        if len(self._kept) >= self._most:
            half = self._most // 2
            self._kept[:half] = self._kept[:half:2]
        self._kept.append(snapshot)
        return tuple(self._kept)
