"""Sums of the snapshots of a run's workers: now, and since the run's beginning."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, func, select, tuple_

from rxpipe.insight.snapshot import Snapshot, merged
from rxpipe.operators.core.running_call import Usage
from rxpipe.store.items.snapshot_log import from_text
from rxpipe.store.schema.tables import RUNS, SNAPSHOTS, WORKERS

_MOST_READ = 300  # snapshots read for one answer; each takes a fraction of a millisecond
_LEAST = 20  # least moments of a history, however many workers there are
_KEPT = 3_000  # snapshots, and sums of snapshots, that are remembered
_SILENT = 15.0  # seconds after its last snapshot until an ended worker counts as gone
_CHUNK = 200


class _Mark(NamedTuple):
    number: int
    at: float


class _Life(NamedTuple):
    began: float
    ended: float | None


class SnapshotHistory:
    """Adds up snapshots, and remembers those that it has read. Snapshots never change."""

    def __init__(self) -> None:
        self._read: OrderedDict[tuple[int, str, int, float], Snapshot | None] = OrderedDict()
        self._added: OrderedDict[tuple[Any, ...], Snapshot] = OrderedDict()

    def latest(self, connection: Connection, run_id: int) -> Snapshot | None:
        """Returns the newest sum; None if there is none."""
        newest = select(SNAPSHOTS.c.worker, func.max(SNAPSHOTS.c.number).label("number"))
        newest_rows = newest.where(SNAPSHOTS.c.run_id == run_id).group_by(SNAPSHOTS.c.worker).subquery()
        query = select(SNAPSHOTS.c.worker, SNAPSHOTS.c.number, SNAPSHOTS.c.at).where(SNAPSHOTS.c.run_id == run_id)
        is_newest = (SNAPSHOTS.c.worker == newest_rows.c.worker) & (SNAPSHOTS.c.number == newest_rows.c.number)
        rows = connection.execute(query.join(newest_rows, is_newest)).all()
        if not rows:
            return None
        marks = {row.worker: [_Mark(row.number, row.at)] for row in rows}
        found = self._sums(connection, run_id, marks, [max(row.at for row in rows)])
        return found[-1] if found else None

    def all(self, connection: Connection, run_id: int, most: int) -> list[Snapshot]:
        """Returns the history, thinned to at most ``most`` moments; fewer if there are many workers."""
        query = select(SNAPSHOTS.c.worker, SNAPSHOTS.c.number, SNAPSHOTS.c.at).where(SNAPSHOTS.c.run_id == run_id)
        marks: dict[str, list[_Mark]] = {}
        for row in connection.execute(query.order_by(SNAPSHOTS.c.worker, SNAPSHOTS.c.number)):
            marks.setdefault(row.worker, []).append(_Mark(row.number, row.at))
        moments = sorted({mark.at for of_worker in marks.values() for mark in of_worker})
        if not moments:
            return []
        few = min(most, max(_LEAST, _MOST_READ // len(marks)))
        return self._sums(connection, run_id, marks, _thinned(moments, few))

    def _sums(
        self, connection: Connection, run_id: int, marks: dict[str, list[_Mark]], moments: Sequence[float]
    ) -> list[Snapshot]:
        workers = connection.execute(select(WORKERS).where(WORKERS.c.run_id == run_id))
        lives = {row.id: _life(row, marks.get(row.id, ())) for row in workers}
        began = connection.execute(select(RUNS.c.created_at).where(RUNS.c.id == run_id)).scalar()
        chosen = [_at(marks, moment) for moment in moments]
        wanted = {(worker, mark.number, mark.at) for one in chosen for worker, mark in one.items()}
        first = min(((of_worker[0].at, worker) for worker, of_worker in marks.items()), default=None)
        firsts: set[tuple[str, int, float]] = set()
        if first is not None:
            firsts.add((first[1], marks[first[1]][0].number, first[0]))
        snapshots = self._snapshots(connection, run_id, wanted | firsts)
        newest = max(
            (one for one in snapshots.values() if one is not None), key=lambda snapshot: snapshot.at, default=None
        )
        if newest is None:
            return []
        names = tuple(stage.name for stage in newest.stages)
        before = next((one for key in firsts if (one := snapshots[key]) is not None), newest)
        found: list[Snapshot] = []
        for moment, at_work in zip(moments, chosen, strict=True):
            newest_began = max((lives[worker].began for worker in at_work if worker in lives), default=0.0)
            over = {
                worker: mark == marks[worker][-1]
                and _is_over(lives.get(worker), newest_began, moment > mark.at + _SILENT)
                for worker, mark in at_work.items()
            }
            key: tuple[Any, ...] = (
                run_id,
                moment,
                names,
                *((worker, mark, over[worker]) for worker, mark in at_work.items()),
            )
            if (known := self._added.get(key)) is not None:
                found.append(known)
                continue
            parts: list[Snapshot] = []
            for worker, mark in at_work.items():
                snapshot = snapshots[worker, mark.number, mark.at]
                if snapshot is None or tuple(stage.name for stage in snapshot.stages) != names:
                    continue
                parts.append(_as_gone(snapshot) if over[worker] else snapshot)
            if parts:
                found.append(_summed(parts, moment, before, began))
                self._added[key] = found[-1]
        while len(self._added) > _KEPT:
            self._added.popitem(last=False)
        return found

    def _snapshots(
        self, connection: Connection, run_id: int, wanted: set[tuple[str, int, float]]
    ) -> dict[tuple[str, int, float], Snapshot | None]:
        missing = [one for one in wanted if (run_id, *one) not in self._read]
        place = tuple_(SNAPSHOTS.c.worker, SNAPSHOTS.c.number)
        for first in range(0, len(missing), _CHUNK):
            some = missing[first : first + _CHUNK]
            query = select(SNAPSHOTS).where(SNAPSHOTS.c.run_id == run_id, place.in_([one[:2] for one in some]))
            for row in connection.execute(query):
                self._read[run_id, row.worker, row.number, row.at] = _readable(row)
        found = {one: self._read.get((run_id, *one)) for one in wanted}
        while len(self._read) > _KEPT:
            self._read.popitem(last=False)
        return found


def workers_began(connection: Connection, run_id: int) -> list[float]:
    """Returns when workers of a run began, in seconds since 1970 by their clocks, from the first snapshot of each.

    Workers that used cached results at once are left out: their first call does not show how long a start takes.
    """
    query = select(SNAPSHOTS).where(SNAPSHOTS.c.run_id == run_id, SNAPSHOTS.c.number == 0).limit(_MOST_READ)
    found = [snapshot for row in connection.execute(query) if (snapshot := _readable(row)) is not None]
    return [one.at - one.elapsed for one in found if not any(stage.cached for stage in one.stages)]


def _life(row: Row[Any], marks: Sequence[_Mark]) -> _Life:
    if row.ended_as != "lost":
        return _Life(row.started_at, row.ended_at)
    # It was gone before another worker noticed.
    return _Life(row.started_at, max(row.heartbeat_at, *(mark.at for mark in marks[-1:])))


def _is_over(life: _Life | None, newest_began: float, was_silent: bool) -> bool:
    """Returns True if a worker was gone at a moment: it was silent for long, or had ended before another one began.

    Workers that end together keep their slots until then, so the last sum of a run has the slots of all of them.
    """
    if life is None or life.ended is None:
        return life is None and was_silent
    return was_silent or life.ended <= newest_began


def _readable(row: Row[Any]) -> Snapshot | None:
    try:
        return from_text(row.snapshot)
    except ValueError:  # from another version of rxpipe
        return None


def _thinned(moments: Sequence[float], most: int) -> list[float]:
    """Returns at most ``most`` moments, evenly spaced, and the last one.

    With a few more moments the result is nearly the same, so most sums are remembered.
    """
    stride = 1
    while (len(moments) + stride - 1) // stride + 1 > max(2, most):
        stride *= 2
    found = list(moments[::stride])
    return found if found[-1] == moments[-1] else [*found, moments[-1]]


def _at(marks: dict[str, list[_Mark]], moment: float) -> dict[str, _Mark]:
    """Returns the latest snapshot of each worker at a moment."""
    found: dict[str, _Mark] = {}
    for worker, of_worker in marks.items():
        place = bisect_right(of_worker, moment, key=lambda mark: mark.at)
        if place:
            found[worker] = of_worker[place - 1]
    return found


def _as_gone(snapshot: Snapshot) -> Snapshot:
    """Returns the snapshot of a gone worker: its counts, with nothing running and no capacity."""
    now_nothing: dict[str, Any] = {"running": 0, "waiting": 0, "delayed": 0, "blocked_now": 0, "oldest": None}
    stages = tuple(
        replace(
            stage,
            **now_nothing,
            concurrency=None if stage.concurrency is None else 0,
            most=None if stage.most is None else 0,
        )
        for stage in snapshot.stages
    )
    limiters = tuple(replace(one, rate=0.0) if one.per_process else one for one in snapshot.limiters)
    sink = None if snapshot.sink is None else replace(snapshot.sink, waiting=0, away=None)
    state = "failed" if snapshot.state in ("running", "stopping") else snapshot.state
    gone: dict[str, Any] = {"stages": stages, "limiters": limiters, "sink": sink, "state": state, "workers": 0}
    return replace(snapshot, **gone, in_flight=0, waiting_for_children=0)


def _summed(parts: Sequence[Snapshot], moment: float, first: Snapshot, began: float | None) -> Snapshot:
    """Returns the sum of workers, with the counts from before the first worker.

    Those of later workers are in the sum.
    """
    before: dict[str, Any] = {"written_before": first.written_before, "failed_before": first.failed_before}
    before["usage_before"] = first.usage_before or Usage()
    elapsed = max(one.elapsed for one in parts) if began is None else max(0.0, moment - began)
    return replace(merged(parts), at=moment, elapsed=elapsed, **before)
