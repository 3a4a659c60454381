"""One run, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select

from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.stages.durations import Durations
from rxpipe.pipeline.outcome import CommonError
from rxpipe.store.queries import usage
from rxpipe.store.queries.failures import INDEX_OF_STAGE, IS_FAILED, Cause, causes, drops, item_id
from rxpipe.store.queries.history import DATABASE, RunInfo, WorkerInfo, unfinished_parents, workers
from rxpipe.store.reading.snapshot_history import SnapshotHistory
from rxpipe.store.schema.tables import CHECKPOINTS, FAILURES, ITEMS, PENDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Percentiles of durations, in seconds: at most this long for 50, 95 and 99 of 100 calls or waits."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, durations: Durations) -> Percentiles | None:
        """Returns the percentiles of a histogram; None if it is empty."""
        p50, p95, p99 = (durations.quantile(share) for share in (0.5, 0.95, 0.99))
        return None if p50 is None or p95 is None or p99 is None else cls(p50=p50, p95=p95, p99=p99)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageInfo:
    """A stage of a run.

    Attributes:
        name: The stage's name. ``database`` is the writing of rows; None is for failures that name no stage.
        call: The stage's function; None if there is none, or if the run no longer has the stage.
        version: The stage's version.
        checkpoints: Items for which the stage has returned.
        failed_calls: Calls that failed, including those that were tried again.
        failed: Items that failed at this stage.
        dropped: Items that the stage has dropped.
        usage: Usage of the stage's calls, including those whose results no longer apply.
        cached: How often the result of an earlier call was used instead of a call.
        saved: The usage of those earlier calls.
        seconds: Durations of the calls; None if they were not kept.
        waits: Times that items waited in the stage's queue; None if they were not kept.
    """

    name: str | None
    call: str | None = None
    version: str | None = None
    checkpoints: int = 0
    failed_calls: int = 0
    failed: int = 0
    dropped: int = 0
    usage: Usage = field(default_factory=Usage)
    cached: int = 0
    saved: Usage = field(default_factory=Usage)
    seconds: Percentiles | None = None
    waits: Percentiles | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """An item that waits for its children.

    Attributes:
        id: The item's ID.
        stage: The name of the stage that collects the children; None if no stage does.
        children: How many children the item has.
        unfinished: How many of them have not ended.
    """

    id: int | str
    stage: str | None
    children: int
    unfinished: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetails:
    """The details of a run.

    Attributes:
        run: The run.
        stages: The run's stages in order, and other places where calls failed.
        causes: The commonest errors of calls.
        drops: The commonest reasons of drops.
        parents: The first parents that wait for their children.
        workers: Workers that have not ended.
    """

    run: RunInfo
    stages: tuple[StageInfo, ...]
    causes: tuple[Cause, ...]
    drops: tuple[CommonError, ...]
    parents: tuple[Parent, ...]
    workers: tuple[WorkerInfo, ...]


def details(connection: Connection, run: RunInfo) -> RunDetails:
    """Returns the details of a run."""
    return RunDetails(
        run=run,
        stages=_stages(connection, run),
        causes=tuple(causes(connection, run)),
        drops=tuple(drops(connection, run)) if run.dropped else (),
        parents=tuple(waiting_parents(connection, run)) if run.waiting else (),
        workers=tuple(workers(connection, run.id)),
    )


def waiting_parents(connection: Connection, run: RunInfo, most: int = 5) -> list[Parent]:
    """Returns items whose children have not all ended, in the order in which the items were taken."""
    child = ITEMS.alias()
    is_unfinished = case((child.c.state.in_(PENDING), 1), else_=0)
    of_parent = and_(child.c.run_id == ITEMS.c.run_id, child.c.parent_key == ITEMS.c.item_key)
    is_above = and_(ITEMS.c.state == "expanded", ITEMS.c.item_key.in_(select(unfinished_parents(run.id).c.parent_key)))
    first = select(ITEMS).where(ITEMS.c.run_id == run.id, or_(ITEMS.c.state == "waiting", is_above))
    parents = connection.execute(first.order_by(ITEMS.c.seq, ITEMS.c.item_key).limit(most)).all()
    counts = select(ITEMS.c.item_key, func.count().label("children"), func.sum(is_unfinished).label("unfinished"))
    counts = counts.join(child, of_parent).where(ITEMS.c.run_id == run.id).group_by(ITEMS.c.item_key)
    found = connection.execute(counts.where(ITEMS.c.item_key.in_([row.item_key for row in parents])))
    by_key = {row.item_key: (row.children, int(row.unfinished)) for row in found}
    return [
        Parent(
            id=item_id(row.item_key, row.is_integer),
            stage=None if row.collected_by is None else run.stages[int(row.collected_by)].name,
            children=children,
            unfinished=unfinished,
        )
        for row in parents
        for children, unfinished in [by_key.get(row.item_key, (0, 0))]
    ]


def _by_stage(connection: Connection, run: RunInfo, which: ColumnElement[bool]) -> dict[int, int]:
    """Returns how many items meet a condition, by the index of the stage that they are at."""
    index = INDEX_OF_STAGE.label("stage_index")
    counts = select(index, func.count().label("items")).where(ITEMS.c.run_id == run.id, which).group_by(index)
    return {row.stage_index: row.items for row in connection.execute(counts)}


def _stages(connection: Connection, run: RunInfo) -> tuple[StageInfo, ...]:
    kept = select(CHECKPOINTS.c.stage, func.count().label("items")).where(CHECKPOINTS.c.run_id == run.id)
    checkpoints = {row.stage: row.items for row in connection.execute(kept.group_by(CHECKPOINTS.c.stage))}
    failed = _by_stage(connection, run, IS_FAILED)
    dropped = _by_stage(connection, run, ITEMS.c.state == "dropped") if run.dropped else {}
    calls = select(FAILURES.c.stage, func.count().label("calls")).where(
        FAILURES.c.run_id == run.id, FAILURES.c.attempt > 0
    )
    failed_calls = {row.stage: row.calls for row in connection.execute(calls.group_by(FAILURES.c.stage))}
    used = usage.by_stage(connection, run.id)
    saved = usage.saved_by_stage(connection, run.id)
    latest = SnapshotHistory().latest(connection, run.id)
    timed = {} if latest is None else {stage.name: stage for stage in latest.stages}
    stages = [
        StageInfo(
            name=stage.name,
            call=stage.call,
            version=stage.version,
            checkpoints=checkpoints.get(index, 0),
            failed_calls=failed_calls.pop(stage.name, 0),
            failed=failed.get(index, 0),
            dropped=dropped.get(index, 0),
            usage=used.pop(stage.name, Usage()),
            cached=saved.get(stage.name, (0, Usage()))[0],
            saved=saved.get(stage.name, (0, Usage()))[1],
            seconds=Percentiles.of(timed[stage.name].seconds) if stage.name in timed else None,
            waits=Percentiles.of(timed[stage.name].waits) if stage.name in timed else None,
        )
        for index, stage in enumerate(run.stages)
    ]
    through = sum(items for index, items in failed.items() if index >= len(run.stages))
    refused = failed_calls.pop(DATABASE, 0)
    if through or refused:
        stages.append(StageInfo(name=DATABASE, failed_calls=refused, failed=through))
    stages += [
        StageInfo(name=name or None, failed_calls=failed_calls.get(name, 0), usage=used.get(name, Usage()))
        for name in sorted(failed_calls.keys() | used.keys())
    ]
    return tuple(stages)
