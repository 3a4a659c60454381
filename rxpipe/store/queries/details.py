"""One run, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from rxpipe.operators.core.running_call import Usage
from rxpipe.store.queries import usage
from rxpipe.store.queries.failures import IS_FAILED, Cause, causes
from rxpipe.store.queries.history import DATABASE, RunInfo, WorkerInfo, workers
from rxpipe.store.schema.tables import CHECKPOINTS, FAILURES, ITEMS


@dataclass(frozen=True, slots=True, kw_only=True)
class StageInfo:
    """A stage of a run.

    Attributes:
        name: Its name; ``database`` stands for the writing of rows, and None for failures that name no stage.
        call: Its function; None where there is none, and for a stage that the run has no longer.
        version: Its version.
        checkpoints: Items for which it has returned.
        failed_calls: Calls that failed, also those that another one followed.
        failed: Items that have failed, and had come to it.
        usage: What its calls used, also for results that do not apply any more.
    """

    name: str | None
    call: str | None = None
    version: str | None = None
    checkpoints: int = 0
    failed_calls: int = 0
    failed: int = 0
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetails:
    """What there is to know of a run.

    Attributes:
        run: The run.
        stages: Its stages in order, and what else calls failed in.
        causes: The errors that most calls failed with.
        workers: Those that have not ended.
    """

    run: RunInfo
    stages: tuple[StageInfo, ...]
    causes: tuple[Cause, ...]
    workers: tuple[WorkerInfo, ...]


def details(connection: Connection, run: RunInfo) -> RunDetails:
    """All of a run."""
    return RunDetails(
        run=run,
        stages=_stages(connection, run),
        causes=tuple(causes(connection, run)),
        workers=tuple(workers(connection, run.id)),
    )


def _stages(connection: Connection, run: RunInfo) -> tuple[StageInfo, ...]:
    kept = select(CHECKPOINTS.c.stage, func.count().label("items")).where(CHECKPOINTS.c.run_id == run.id)
    checkpoints = {row.stage: row.items for row in connection.execute(kept.group_by(CHECKPOINTS.c.stage))}
    ended = select(ITEMS.c.stage, func.count().label("items")).where(ITEMS.c.run_id == run.id, IS_FAILED)
    failed = {row.stage: row.items for row in connection.execute(ended.group_by(ITEMS.c.stage))}
    calls = select(FAILURES.c.stage, func.count().label("calls")).where(
        FAILURES.c.run_id == run.id, FAILURES.c.attempt > 0
    )
    failed_calls = {row.stage: row.calls for row in connection.execute(calls.group_by(FAILURES.c.stage))}
    used = usage.by_stage(connection, run.id)
    stages = [
        StageInfo(
            name=stage.name,
            call=stage.call,
            version=stage.version,
            checkpoints=checkpoints.get(index, 0),
            failed_calls=failed_calls.pop(stage.name, 0),
            failed=failed.get(index, 0),
            usage=used.pop(stage.name, Usage()),
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
