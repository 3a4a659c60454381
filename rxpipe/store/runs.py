"""Which run goes on: the latest of its name, if its stages are those of today, or a new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, case, delete, exists, func, not_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from rxpipe.errors import StagesChanged, StoreError
from rxpipe.operators.running_call import Usage
from rxpipe.store import usage
from rxpipe.store.lease import HAS_EXPIRED, not_ended, reap
from rxpipe.store.schema import CHECKPOINTS, ITEMS, RUNS, WORKERS, db_now
from rxpipe.store.signature import StageSignature, changes, from_text, kept, to_text


class Latest(NamedTuple):
    """The latest run of a name."""

    id: int
    generation: int
    stages: tuple[StageSignature, ...]


class Before(NamedTuple):
    """What there was of a run when a process began to work on it.

    Attributes:
        counts: How many items, by state.
        usage: What its calls had used.
        mean_costs: What a call had cost on average, by the stage's name; of those that told what they used.
    """

    counts: dict[str, int]
    usage: Usage
    mean_costs: dict[str, float]

    @classmethod
    def of(cls, connection: Connection, run_id: int) -> Before:
        """A run's."""
        return cls(counts(connection, run_id), usage.of_run(connection, run_id), usage.mean_costs(connection, run_id))


def begin_or_continue(
    connection: Connection, name: str, stages: Sequence[StageSignature], *, fresh: bool, resume: bool
) -> int:
    """The run to work on.

    Args:
        connection: In a transaction.
        name: The run's name.
        stages: Today's.
        fresh: Begin a new one in any case.
        resume: Go on also with other stages: what they have in common from the first on still applies.

    Returns:
        Its number.

    Raises:
        StagesChanged: The stages are others than those of the run, and ``resume`` was not asked for.
        StoreError: Workers are busy with the stages that it had.
    """
    latest = latest_of(connection, name)
    if latest is not None and fresh and has_workers(connection, latest.id):
        raise StoreError(f"run {latest.id} has workers that write into the same table: stop them first")
    if latest is None or fresh:
        return _begin(connection, name, stages, 1 if latest is None else latest.generation + 1)
    found = changes(latest.stages, stages)
    if found and not resume:
        raise StagesChanged(_told(connection, latest, stages, found))
    if found:
        _adopt(connection, latest, stages)
    return latest.id


def latest_of(connection: Connection, name: str) -> Latest | None:
    """The latest run of a name; nobody else begins, adopts or prunes it until the transaction ends."""
    query = select(RUNS.c.id, RUNS.c.generation, RUNS.c.stages).where(RUNS.c.name == name)
    row = connection.execute(query.order_by(RUNS.c.generation.desc()).limit(1).with_for_update()).first()
    return None if row is None else Latest(row.id, row.generation, from_text(row.stages))


def counts(connection: Connection, run_id: int) -> dict[str, int]:
    """How many items a run has, by state."""
    query = select(ITEMS.c.state, func.count().label("items")).where(ITEMS.c.run_id == run_id).group_by(ITEMS.c.state)
    return {row.state: row.items for row in connection.execute(query)}


def has_workers(connection: Connection, run_id: int) -> bool:
    """Whether any worker is, or may be, busy with a run."""
    live = and_(WORKERS.c.run_id == run_id, WORKERS.c.ended_at.is_(None), not_(HAS_EXPIRED))
    return bool(connection.execute(select(exists().where(live))).scalar_one())


def _begin(connection: Connection, name: str, stages: Sequence[StageSignature], generation: int) -> int:
    module = postgresql if connection.dialect.name == "postgresql" else sqlite
    row = {"name": name, "generation": generation, "stages": to_text(stages), "created_at": db_now()}
    # Where another process has begun the same one at this moment, this is its run, too.
    connection.execute(module.insert(RUNS).values(**row).on_conflict_do_nothing())
    query = select(RUNS.c.id, RUNS.c.stages).where(RUNS.c.name == name, RUNS.c.generation == generation)
    begun = connection.execute(query).one()
    if found := changes(from_text(begun.stages), stages):
        raise StagesChanged(f"run {begun.id} was begun by another process at this moment: {'; '.join(found)}")
    return int(begun.id)


def _outdated(run_id: int, keep: int) -> ColumnElement[bool]:
    """The items that have been further than the stages that are kept, or failed behind them."""
    return and_(ITEMS.c.run_id == run_id, ITEMS.c.stage >= keep, ITEMS.c.state.in_(("done", "dead")))


def _told(connection: Connection, latest: Latest, stages: Sequence[StageSignature], found: Sequence[str]) -> str:
    keep = kept(latest.stages, stages)
    condition = _outdated(latest.id, keep)
    again = connection.execute(select(func.count()).select_from(ITEMS).where(condition)).scalar_one()
    reused = ", ".join(stage.name for stage in stages[:keep])
    goes_on = f"keeps what {reused} returned, and calls the rest again" if keep else "calls all of them again"
    return (
        f"run {latest.id} has other stages: {'; '.join(found)}. --resume (RunStore(resume=True)) {goes_on}, also for "
        f"{again:,} items that had ended; --fresh (RunStore(fresh=True)) begins a new run"
    )


def _adopt(connection: Connection, latest: Latest, stages: Sequence[StageSignature]) -> None:
    if has_workers(connection, latest.id):
        raise StoreError(
            f"run {latest.id} has workers that are busy with other stages: stop them first (rxpipe workers)"
        )
    reap(connection, latest.id, not_ended(connection, latest.id))  # all of them silent for longer than their leases
    keep = kept(latest.stages, stages)
    connection.execute(delete(CHECKPOINTS).where(CHECKPOINTS.c.run_id == latest.id, CHECKPOINTS.c.stage >= keep))
    ready = update(ITEMS).where(_outdated(latest.id, keep))
    connection.execute(ready.values(state="ready", owner=None, fence=ITEMS.c.fence + 1, failures=0, crashes=0))
    least = case((ITEMS.c.stage > keep, keep), else_=ITEMS.c.stage)
    connection.execute(update(ITEMS).where(ITEMS.c.run_id == latest.id).values(stage=least))
    connection.execute(update(RUNS).where(RUNS.c.id == latest.id).values(stages=to_text(stages)))
