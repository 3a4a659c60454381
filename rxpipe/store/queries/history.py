"""The runs and workers of a store, and how far they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import CTE, ColumnElement, Connection, Row, and_, func, select, true

from rxpipe.errors import StoreError
from rxpipe.identity.signature import StageSignature, from_text
from rxpipe.operators.core.running_call import Usage
from rxpipe.store.items.process_identity import is_gone
from rxpipe.store.queries import usage
from rxpipe.store.schema.tables import IS_RUNNING, ITEMS, PENDING, RUNS, WORKERS, db_now

RunState = Literal["running", "unfinished", "finished"]
WorkerState = Literal["alive", "late", "stopped", "lost"]

DATABASE = "database"
"""The place of an item that has passed all stages: only its row is left to write."""

_LARGEST = 2**31 - 1  # highest number of a run, in PostgreSQL
_MOST_NAMED = 10  # runs that an error names


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A process's part in a run.

    Attributes:
        id: The worker's name in the store.
        run_id: The run's number.
        host: The machine's name.
        pid: The process's number on that machine.
        started_at: When the worker began, in seconds since 1970, like all times here.
        heartbeat_at: The worker's last sign of life.
        ended_at: When it left, or was found to be lost; None if it has not ended.
        held: Items that the worker has.
        state: ``alive``; ``late``: its lease ran out, and nobody has taken its items yet; ``stopped`` by itself;
            ``lost``: its process is gone.
    """

    id: str
    run_id: int
    host: str
    pid: int
    started_at: float
    heartbeat_at: float
    ended_at: float | None
    held: int
    state: WorkerState


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """A run, with all of its workers.

    Attributes:
        id: The run's number.
        name: The name by which the run is continued.
        generation: Of the runs of a name, the one with the highest generation is continued.
        stages: The stages of the run's checkpoints.
        state: ``running``: a worker is alive; ``finished``: nothing is left to do; ``unfinished`` otherwise.
        workers: How many workers are alive.
        written: Items that are written.
        failed: Items that failed for good.
        ready: Items that wait for a worker.
        running: Items that workers have.
        waiting: Items whose children have not all ended.
        dropped: Items that a stage has dropped.
        expanded: Items that ended with their children, as a report counts them.
        collected: Children that ended in their parent.
        calls: Calls made for all items, failed calls included.
        created_at: When the run began, in seconds since 1970, like all times here.
        finished_at: When the last item ended; None if the run is not finished.
        active_at: The last sign of life of a worker.
        usage: Usage of the run's calls, as far as they reported it.
    """

    id: int
    name: str
    generation: int
    stages: tuple[StageSignature, ...]
    state: RunState
    workers: int
    written: int
    failed: int
    ready: int
    running: int
    calls: int
    created_at: float
    finished_at: float | None
    active_at: float
    usage: Usage = field(default_factory=Usage)
    waiting: int = 0
    dropped: int = 0
    expanded: int = 0
    collected: int = 0

    @property
    def items(self) -> int:
        """All items of the run, children included."""
        ended = self.written + self.failed + self.dropped + self.expanded + self.collected
        return ended + self.ready + self.running + self.waiting


def runs(connection: Connection) -> list[RunInfo]:
    """Returns all runs, the first one first."""
    return _runs(connection, true())


def run(connection: Connection, number: int | None = None) -> RunInfo:
    """Returns a run by its number, or the latest run.

    Raises:
        StoreError: There is no such run. The error names the existing runs.
    """
    latest = select(func.max(RUNS.c.id)).scalar_subquery()
    which = RUNS.c.id == (latest if number is None else number)
    found = [] if number is not None and number > _LARGEST else _runs(connection, which)
    if not found:
        raise StoreError(_no_such_run(connection, number))
    return found[0]


def workers(connection: Connection, run_id: int | None = None, *, ended: bool = False) -> list[WorkerInfo]:
    """Returns workers, the first one first.

    Args:
        connection: In a transaction.
        run_id: Only workers of this run.
        ended: Include workers that have stopped or are lost.
    """
    held = select(ITEMS.c.owner, func.count().label("held")).where(IS_RUNNING).group_by(ITEMS.c.owner).subquery()
    query = select(WORKERS, held.c.held, db_now().label("now")).outerjoin(held, held.c.owner == WORKERS.c.id)
    if run_id is not None:
        query = query.where(WORKERS.c.run_id == run_id)
    if not ended:
        query = query.where(WORKERS.c.ended_at.is_(None))
    rows = connection.execute(query.order_by(WORKERS.c.started_at, WORKERS.c.id)).all()
    return [
        WorkerInfo(
            id=row.id,
            run_id=row.run_id,
            host=row.host,
            pid=row.pid,
            started_at=row.started_at,
            heartbeat_at=row.heartbeat_at,
            ended_at=row.ended_at,
            held=row.held or 0,
            state=_state(row),
        )
        for row in rows
    ]


def alive(found: Iterable[WorkerInfo]) -> list[WorkerInfo]:
    """Returns the workers that are alive."""
    return [worker for worker in found if worker.state == "alive"]


def _state(row: Row[Any]) -> WorkerState:
    if row.ended_at is not None:
        return "stopped" if row.ended_as == "stopped" else "lost"
    if is_gone(row.process):
        return "lost"  # though no other worker has noticed
    # A mark in the future is not valid either, as for the workers that judge others; see lease.py.
    return "late" if abs(row.now - row.heartbeat_at) > row.lease else "alive"


def _runs(connection: Connection, which: ColumnElement[bool]) -> list[RunInfo]:
    rows = connection.execute(select(RUNS).where(which).order_by(RUNS.c.id)).all()
    numbers = [row.id for row in rows]
    counts, calls = _items(connection, numbers)
    used = usage.by_run(connection, numbers)
    live = [worker.run_id for worker in alive(workers(connection))]
    signs = _signs(connection)
    found: list[RunInfo] = []
    for row in rows:
        states, at_work = counts.get(row.id, {}), live.count(row.id)
        is_finished = row.finished_at is not None
        parents = _unfinished_parents(connection, row.id) if states.get("expanded") and _is_pending(states) else 0
        info = RunInfo(
            id=row.id,
            name=row.name,
            generation=row.generation,
            stages=from_text(row.stages),
            state="running" if at_work else "finished" if is_finished else "unfinished",
            workers=at_work,
            written=states.get("written", 0),
            failed=states.get("failed", 0),
            ready=states.get("ready", 0),
            running=states.get("running", 0),
            calls=calls.get(row.id, 0),
            created_at=row.created_at,
            # An earlier end does not count while there is more to do.
            finished_at=row.finished_at if is_finished and not at_work else None,
            active_at=max(row.created_at, row.finished_at or 0, signs.get(row.id, 0)),
            usage=used.get(row.id, Usage()),
            waiting=states.get("waiting", 0) + parents,
            dropped=states.get("dropped", 0),
            expanded=states.get("expanded", 0) - parents,
            collected=states.get("collected", 0),
        )
        found.append(info)
    return found


def _items(connection: Connection, numbers: Sequence[int]) -> tuple[dict[int, dict[str, int]], dict[int, int]]:
    """Returns how many items runs have, by state, and how many calls were made for them."""
    columns = ITEMS.c.run_id, ITEMS.c.state
    query = select(*columns, func.count().label("items"), func.sum(ITEMS.c.attempts).label("calls"))
    if len(numbers) == 1:
        query = query.where(ITEMS.c.run_id == numbers[0])
    counts: dict[int, dict[str, int]] = {}
    calls: dict[int, int] = {}
    for row in connection.execute(query.group_by(*columns)):
        counts.setdefault(row.run_id, {})[row.state] = row.items
        calls[row.run_id] = calls.get(row.run_id, 0) + int(row.calls)
    return counts, calls


def _is_pending(states: Mapping[str, int]) -> bool:
    return any(states.get(state) for state in PENDING)


def _unfinished_parents(connection: Connection, run_id: int) -> int:
    """Returns how many expanded items have descendants that have not ended."""
    unfinished = unfinished_parents(run_id)
    query = select(func.count()).select_from(ITEMS).where(ITEMS.c.run_id == run_id, ITEMS.c.state == "expanded")
    return connection.execute(query.where(ITEMS.c.item_key.in_(select(unfinished.c.parent_key)))).scalar_one()


def unfinished_parents(run_id: int) -> CTE:
    """Returns a query for the keys of all items above those that have not ended."""
    pending = and_(ITEMS.c.run_id == run_id, ITEMS.c.state.in_(PENDING), ITEMS.c.parent_key.is_not(None))
    above = select(ITEMS.c.parent_key).where(pending).cte("above", recursive=True)
    parent = ITEMS.alias("parent")
    is_its = and_(parent.c.run_id == run_id, parent.c.item_key == above.c.parent_key, parent.c.parent_key.is_not(None))
    return above.union(select(parent.c.parent_key).where(is_its))


def _signs(connection: Connection) -> dict[int, float]:
    """Returns the last sign of life of each run's workers."""
    last = func.max(WORKERS.c.heartbeat_at).label("at")
    rows = connection.execute(select(WORKERS.c.run_id, last).group_by(WORKERS.c.run_id))
    return {row.run_id: row.at for row in rows}


def _no_such_run(connection: Connection, number: int | None) -> str:
    numbers = [str(one) for one in connection.execute(select(RUNS.c.id).order_by(RUNS.c.id.desc())).scalars()]
    if not numbers:
        return "the store has no runs"
    more = ", …" if len(numbers) > _MOST_NAMED else ""
    return f"there is no run {number}; known: {', '.join(numbers[:_MOST_NAMED])}{more}"
