"""Decides which run goes on: the latest of its name, if it is this pipeline's with these stages, or a new run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import structlog
from sqlalchemy import (
    ColumnElement,
    Connection,
    UnaryExpression,
    and_,
    exists,
    func,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from rxpipe.database.table_owner import Owner
from rxpipe.errors import OtherPipeline, StagesChanged, StoreError
from rxpipe.identity import Identity
from rxpipe.identity.identity import told
from rxpipe.identity.signature import StageSignature, changes, edited, from_text, kept, merged, to_text
from rxpipe.operators.core.running_call import Usage
from rxpipe.store.commits.row_writer import Forget
from rxpipe.store.items.lease import HAS_EXPIRED, not_ended, reap
from rxpipe.store.items.other_stages import go_back
from rxpipe.store.queries import usage
from rxpipe.store.schema.tables import ENDED, ITEMS, RUNS, WORKERS, db_now

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Latest(NamedTuple):
    """The latest run of a name."""

    id: int
    name: str
    generation: int
    stages: tuple[StageSignature, ...]
    origin: str | None


class How(NamedTuple):
    """The user's options: see ``RunStore``.

    Attributes:
        fresh: Begin a new run.
        resume: Go on even if the stages have changed.
        found_by: The options by which commands find the database.
    """

    fresh: bool
    resume: bool
    found_by: str


class Before(NamedTuple):
    """The state of a run when a process began to work on it.

    Attributes:
        counts: Number of items, by state.
        usage: Usage of the run's calls.
        mean_costs: Mean cost of a call, by the stage's name. Only calls that reported their usage count.
    """

    counts: dict[str, int]
    usage: Usage
    mean_costs: dict[str, float]

    @classmethod
    def of(cls, connection: Connection, run_id: int) -> Before:
        """Returns the state of a run."""
        return cls(counts(connection, run_id), usage.of_run(connection, run_id), usage.mean_costs(connection, run_id))


def begin_or_continue(
    connection: Connection,
    latest: Latest | None,
    name: str,
    pipeline: Identity,
    how: How,
    *,
    replace: bool,
    forget: Forget | None = None,
) -> int:
    """Returns the run to work on.

    Args:
        connection: In a transaction.
        latest: The latest run, found by ``find``.
        name: The name of the run.
        pipeline: The pipeline.
        how: The options: begin a new run, or go on even with changed stages.
        replace: True if rows of another pipeline may be overwritten.
        forget: Deletes the rows of children that are made anew.

    Returns:
        The run's number.

    Raises:
        OtherPipeline: The run belongs to another pipeline.
        StagesChanged: The stages differ from those of the run, and ``resume`` is not set.
        StoreError: Workers are busy with the run, or with its former stages.
    """
    stages = pipeline.stages
    is_other = latest is not None and pipeline.is_other(pipeline.name, latest.origin, latest.stages)
    if latest is not None and is_other and not (replace or how.resume):
        raise OtherPipeline(_told_other(latest, pipeline))
    is_new = latest is None or how.fresh or (is_other and not how.resume)
    if latest is not None and is_new and has_workers(connection, latest.id):
        raise StoreError(f"run {latest.id} has workers that write into the same table: stop them first")
    if latest is None or is_new:
        generation = latest.generation + 1 if latest is not None and latest.name == name else 1
        return _begin(connection, name, pipeline, generation)
    found = changes(latest.stages, stages)
    if found and not how.resume:
        raise StagesChanged(_told(connection, latest, stages, found))
    if found:
        _tell_adopted(latest.id, found, _adopt(connection, latest, pipeline, how.found_by, forget))
    _keep(connection, latest, name, pipeline, is_settled=is_other or pipeline.is_given)
    return latest.id


def run_to_submit_to(connection: Connection, name: str, pipeline: Identity) -> int:
    """Returns the run that takes submitted items: the latest of its name, whatever its stages, or a new run.

    Args:
        connection: In a transaction. Until it ends, nobody else begins, adopts or prunes the run.
        name: The name of the run.
        pipeline: The pipeline.

    Raises:
        OtherPipeline: The run belongs to another pipeline.
        StoreError: The store has a run from a version of rxpipe that did not name pipelines. It may be this pipeline's.
    """
    latest = find(connection, name, None)
    if latest is None:
        nameless = connection.execute(select(RUNS.c.id).where(RUNS.c.origin.is_(None)).limit(1)).scalar()
        if nameless is not None:
            raise StoreError(
                f"run {nameless} is of an older rxpipe, and may be this pipeline's: run it once, then submit"
            )
        return _begin(connection, name, pipeline, 1)
    if pipeline.is_other(pipeline.name, latest.origin, latest.stages):
        raise OtherPipeline(_told_other(latest, pipeline))
    reopen(connection, latest.id)
    return latest.id


def reopen(connection: Connection, run_id: int) -> float | None:
    """Mark a run as unfinished while somebody works on it. Returns its former end, if it was finished."""
    finished_at = connection.execute(select(RUNS.c.finished_at).where(RUNS.c.id == run_id)).scalar_one()
    if finished_at is not None:
        connection.execute(update(RUNS).where(RUNS.c.id == run_id).values(finished_at=None))
    return None if finished_at is None else float(finished_at)


def check_owner_is_idle(connection: Connection, table: str, owner: Owner | None, pipeline: Identity) -> None:
    """Raise if a table is to be taken from another pipeline whose workers write into it.

    Raises:
        StoreError: Its workers write into the table.
    """
    if owner is None or not owner.is_other_than(pipeline):
        return
    theirs = _latest(connection, RUNS.c.name == owner.pipeline)
    if theirs is not None and has_workers(connection, theirs.id):
        raise StoreError(f"run {theirs.id} of pipeline {owner.pipeline} has workers that write into {table}: stop them")


def find(connection: Connection, name: str, former: str | None) -> Latest | None:
    """Returns the latest run of a name. Nobody else begins, adopts or prunes it until the transaction ends.

    Args:
        connection: In a transaction.
        name: The name.
        former: The run's name if a version of rxpipe began it that did not name pipelines.
    """
    is_wanted = RUNS.c.name == name
    if former is not None:
        is_wanted = or_(is_wanted, and_(RUNS.c.name == former, RUNS.c.origin.is_(None)))
    return _latest(connection, is_wanted, (RUNS.c.name == name).desc())


def _latest(connection: Connection, condition: ColumnElement[bool], *first: UnaryExpression[Any]) -> Latest | None:
    columns = RUNS.c.id, RUNS.c.name, RUNS.c.generation, RUNS.c.stages, RUNS.c.origin
    query = select(*columns).where(condition).order_by(*first, RUNS.c.generation.desc()).limit(1).with_for_update()
    row = connection.execute(query).first()
    return None if row is None else Latest(row.id, row.name, row.generation, from_text(row.stages), row.origin)


def _keep(connection: Connection, latest: Latest, name: str, pipeline: Identity, *, is_settled: bool) -> None:
    """Keep the identity by which the run is known from now on."""
    # Kept results were made by the code of their time. Its hash stays until they are made again.
    values = {"stages": to_text(merged(latest.stages, pipeline.stages))}
    if latest.origin is None or is_settled:
        values["origin"] = pipeline.origin
    connection.execute(update(RUNS).where(RUNS.c.id == latest.id).values(values))
    if latest.name != name:  # together with the earlier runs of that name
        is_former = and_(RUNS.c.name == latest.name, or_(RUNS.c.origin.is_(None), RUNS.c.id == latest.id))
        connection.execute(update(RUNS).where(is_former).values(name=name, origin=pipeline.origin))


def stages_of(connection: Connection, run_id: int) -> tuple[StageSignature, ...]:
    """Returns a run's stages, as they were when its checkpoints were made."""
    return from_text(connection.execute(select(RUNS.c.stages).where(RUNS.c.id == run_id)).scalar_one())


def counts(connection: Connection, run_id: int) -> dict[str, int]:
    """Returns how many items a run has, by state."""
    query = select(ITEMS.c.state, func.count().label("items")).where(ITEMS.c.run_id == run_id).group_by(ITEMS.c.state)
    return {row.state: row.items for row in connection.execute(query)}


def has_workers(connection: Connection, run_id: int) -> bool:
    """Returns True if any worker is, or may be, busy with a run."""
    live = and_(WORKERS.c.run_id == run_id, WORKERS.c.ended_at.is_(None), not_(HAS_EXPIRED))
    return bool(connection.execute(select(exists().where(live))).scalar_one())


def _begin(connection: Connection, name: str, pipeline: Identity, generation: int) -> int:
    module = postgresql if connection.dialect.name == "postgresql" else sqlite
    row = {"name": name, "generation": generation, "stages": to_text(pipeline.stages), "created_at": db_now()}
    row["origin"] = pipeline.origin
    # If another process has just begun the same run, this process works on that run, too.
    connection.execute(module.insert(RUNS).values(**row).on_conflict_do_nothing())
    query = select(RUNS.c.id, RUNS.c.stages).where(RUNS.c.name == name, RUNS.c.generation == generation)
    begun = connection.execute(query).one()
    if found := changes(from_text(begun.stages), pipeline.stages):
        raise StagesChanged(f"run {begun.id} was begun by another process at this moment: {'; '.join(found)}")
    return int(begun.id)


def _outdated(run_id: int, keep: int) -> ColumnElement[bool]:
    """Returns the condition for ended items that have been beyond the stages that are kept."""
    is_behind = or_(ITEMS.c.stage >= keep, _is_next_collected_behind(keep))
    return and_(ITEMS.c.run_id == run_id, is_behind, ITEMS.c.state.in_(ENDED))


def _is_next_collected_behind(keep: int) -> ColumnElement[bool]:
    """Returns the condition for items whose next call, with their children, is in a stage that is not kept."""
    return and_(ITEMS.c.collected_by >= keep, ITEMS.c.stage <= ITEMS.c.collected_by)


def _told(connection: Connection, latest: Latest, stages: Sequence[StageSignature], found: Sequence[str]) -> str:
    keep = kept(latest.stages, stages)
    condition = _outdated(latest.id, keep)
    again = connection.execute(select(func.count()).select_from(ITEMS).where(condition)).scalar_one()
    reused = ", ".join(stage.name for stage in stages[:keep])
    goes_on = f"keeps what {reused} returned, and calls the rest again" if keep else "calls all of them again"
    return (
        f"run {latest.id} has other stages: {'; '.join(found)}. --resume (RunStore(resume=True)) {goes_on}, also for "
        f"{again:,} items that had ended. It is for one run: take it out afterwards. "
        "--fresh (RunStore(fresh=True)) begins a new run"
    )


def _told_other(latest: Latest, pipeline: Identity) -> str:
    before = changes(latest.stages, pipeline.stages)
    before += [f"stage {name} has other code" for name in edited(latest.stages, pipeline.stages)]
    return (
        f"run {latest.id} is probably another pipeline's: {told(latest.name, latest.origin)} began it, this is "
        f"{pipeline}, and {'; '.join(before)}. If they are two, give this one a name of its own, name: in a config or "
        "Pipeline(name=...), and a table of its own; or --replace (DatabaseSink(replace=True)) begins a new run that "
        "overwrites rows. If they are one, --resume (RunStore(resume=True)) goes on with it"
    )


def _adopt(connection: Connection, latest: Latest, pipeline: Identity, found_by: str, forget: Forget | None) -> int:
    """Give a run other stages. Returns how many items had come beyond the unchanged stages."""
    stages = pipeline.stages
    if has_workers(connection, latest.id):
        raise StoreError(
            f"run {latest.id} has workers that are busy with other stages: stop them first "
            f"(rxpipe workers {found_by} lists them)"
        )
    reap(connection, latest.id, not_ended(connection, latest.id))  # all of them silent for longer than their leases
    keep = kept(latest.stages, stages)
    further = or_(_outdated(latest.id, keep), and_(ITEMS.c.run_id == latest.id, ITEMS.c.stage > keep))
    again = connection.execute(select(func.count()).select_from(ITEMS).where(further)).scalar_one()
    go_back(connection, latest.id, keep, _outdated(latest.id, keep), pipeline.collectors, forget)
    return again


def _tell_adopted(run_id: int, found: Sequence[str], again: int) -> None:
    _log.warning(
        f"run {run_id} goes on with other stages: {'; '.join(found)}. {again:,} items that had come further are called "
        "again. --resume (RunStore(resume=True)) is for one run: take it out now, or the next change calls them again"
    )
