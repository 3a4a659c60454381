"""The numbers between two snapshots of a run, and the choice of the two snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rxpipe.insight.snapshot import LimiterSnapshot, SinkSnapshot, Snapshot, StageSnapshot

_ENOUGH = 3_000  # items: a larger window is hardly more exact, and shows changes later
_SOME = 100  # items: a rate of fewer says little
_CHANGED = 4 / 3  # ratio of two rates above which the run counts as changed
_SECONDS = 10.0  # a window's shortest length, if there are enough items
_ROUNDS = 3  # a run counts as filled after this many times the seconds of its first item
_LEAST = 1e-9  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A part of a run.

    Attributes:
        seconds: The length of the window in seconds.
        counts: The numbers of the window. Sums are those of the window alone; other numbers are those at its end.
        end: The snapshot at the end of the window.
    """

    seconds: float
    counts: Snapshot
    end: Snapshot

    @property
    def items(self) -> float:
        """The number of items that went through: the mean of the items that came in and the items that ended."""
        return (self.counts.taken + self.counts.spawned + self.counts.ended) / 2

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.items / self.seconds

    def slots(self, stage: StageSnapshot) -> float | None:
        """Returns the average number of slots of a stage of ``counts``; None for no bound."""
        if stage.concurrency is None:
            return None
        if stage.slot_seconds is None or stage.slot_seconds <= 0:
            return float(stage.concurrency)
        return stage.slot_seconds / self.seconds


def between(earlier: Snapshot, later: Snapshot) -> Window | None:
    """Returns the window between two snapshots of a run.

    Returns:
        The window; None if no time has passed, or if a count has become smaller because a worker has gone.
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
    """Returns the run up to a snapshot as a window; None if no time has passed."""
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
    """Returns the window that shows best how a run goes now.

    The window begins after the run has filled up, and ends before the source does. It is long enough for 3,000 items
    and at least 10 seconds, as far as the run allows. It does not reach back to a time when the run was a third faster
    or slower.

    Args:
        snapshots: The snapshots of one run, the latest last.

    Returns:
        The window; None if the run has only just begun.
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
            continue  # too few items to compare the rates
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
    """Returns the snapshots after the run has filled up: as many items have ended as are in flight, or it is late."""
    ending = [each for each in snapshots if each.ended > 0]
    if not ending:
        return []
    late = _ROUNDS * ending[0].elapsed if len(ending) < len(snapshots) else float("inf")
    for place, each in enumerate(ending):
        if each.ended >= each.in_flight or each.elapsed >= late:
            return ending[place:]
    return []


class History:
    """Keeps recent snapshots of a run densely and older ones ever more sparsely, in constant memory."""

    def __init__(self, most: int = 240) -> None:
        """Keeps at most ``most`` snapshots, and at least 4."""
        self._most = max(4, most)
        self._kept: list[Snapshot] = []

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """The kept snapshots, the latest last."""
        return tuple(self._kept)

    def add(self, snapshot: Snapshot) -> tuple[Snapshot, ...]:
        """Adds a snapshot, and returns all kept ones. A snapshot of another run replaces all earlier ones."""
        if self._kept and (self._kept[-1].elapsed > snapshot.elapsed or self._kept[-1].run != snapshot.run):
            self._kept.clear()
        if len(self._kept) >= self._most:
            half = self._most // 2
            self._kept[:half] = self._kept[:half:2]
        self._kept.append(snapshot)
        return tuple(self._kept)
