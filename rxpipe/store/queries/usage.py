"""What the calls of runs have used, added up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, func, not_, select

from rxpipe.operators.core.running_call import Usage
from rxpipe.store.schema.tables import USAGE

_SUMS = (
    func.sum(USAGE.c.prompt_tokens).label("prompt_tokens"),
    func.sum(USAGE.c.completion_tokens).label("completion_tokens"),
    func.sum(USAGE.c.cost).label("cost"),
)

_IS_USED = not_(USAGE.c.saved)


def of_run(connection: Connection, run_id: int) -> Usage:
    """What all calls of a run have used, those of items that were done again included."""
    return by_run(connection, [run_id]).get(run_id, Usage())


def by_run(connection: Connection, numbers: Sequence[int]) -> dict[int, Usage]:
    """The same of several runs; those that used nothing are left out."""
    found: dict[int, Usage] = _grouped(connection, USAGE.c.run_id, USAGE.c.run_id.in_(numbers))
    return found


def by_stage(connection: Connection, run_id: int) -> dict[str, Usage]:
    """What a run's calls have used, by the stage's name; also of stages that the run has no longer."""
    found: dict[str, Usage] = _grouped(connection, USAGE.c.stage, USAGE.c.run_id == run_id)
    return found


def mean_costs(connection: Connection, run_id: int) -> dict[str, float]:
    """What a call of a run has cost on average, by the stage's name; of those that told what they used."""
    query = select(USAGE.c.stage, func.avg(USAGE.c.cost)).where(USAGE.c.run_id == run_id, _IS_USED)
    query = query.group_by(USAGE.c.stage)
    return {stage: float(mean) for stage, mean in connection.execute(query)}


def by_item(connection: Connection, run_id: int, keys: Sequence[str]) -> dict[str, Usage]:
    """What was used for each of these items; those for which nothing was are left out."""
    found: dict[str, Usage] = _grouped(
        connection, USAGE.c.item_key, USAGE.c.run_id == run_id, USAGE.c.item_key.in_(keys)
    )
    return found


def has_usage(connection: Connection, run_id: int) -> bool:
    """Whether any call of a run has told what it used."""
    query = select(USAGE.c.id).where(USAGE.c.run_id == run_id, _IS_USED).limit(1)
    return connection.execute(query).first() is not None


def saved_by_stage(connection: Connection, run_id: int) -> dict[str, tuple[int, Usage]]:
    """How often a run used a result of an earlier call, and what those calls had used, by the stage's name."""
    query = select(USAGE.c.stage, func.count(), *_SUMS).where(USAGE.c.run_id == run_id, USAGE.c.saved)
    return {stage: (count, _usage(*sums)) for stage, count, *sums in connection.execute(query.group_by(USAGE.c.stage))}


def _grouped(connection: Connection, key: Column[Any], *which: ColumnElement[bool]) -> dict[Any, Usage]:
    query = select(key, *_SUMS).where(_IS_USED, *which).group_by(key)
    return {one: _usage(*sums) for one, *sums in connection.execute(query)}


def _usage(prompt_tokens: Any, completion_tokens: Any, cost: Any) -> Usage:
    # PostgreSQL's sum of BIGINT is a NUMERIC.
    return Usage(
        prompt_tokens=int(prompt_tokens), completion_tokens=int(completion_tokens), cost=round(float(cost), 12)
    )
