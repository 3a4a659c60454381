"""What the calls of runs have used, added up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, func, select

from rxpipe.operators.core.running_call import Usage
from rxpipe.store.schema.tables import USAGE

_SUMS = (
    func.sum(USAGE.c.prompt_tokens).label("prompt_tokens"),
    func.sum(USAGE.c.completion_tokens).label("completion_tokens"),
    func.sum(USAGE.c.cost).label("cost"),
)


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
    query = select(USAGE.c.stage, func.avg(USAGE.c.cost)).where(USAGE.c.run_id == run_id).group_by(USAGE.c.stage)
    return {stage: float(mean) for stage, mean in connection.execute(query)}


def by_item(connection: Connection, run_id: int, keys: Sequence[str]) -> dict[str, Usage]:
    """What was used for each of these items; those for which nothing was are left out."""
    found: dict[str, Usage] = _grouped(
        connection, USAGE.c.item_key, USAGE.c.run_id == run_id, USAGE.c.item_key.in_(keys)
    )
    return found


def has_usage(connection: Connection, run_id: int) -> bool:
    """Whether any call of a run has told what it used."""
    return connection.execute(select(USAGE.c.id).where(USAGE.c.run_id == run_id).limit(1)).first() is not None


def _grouped(connection: Connection, key: Column[Any], *which: ColumnElement[bool]) -> dict[Any, Usage]:
    query = select(key, *_SUMS).where(*which).group_by(key)
    return {
        # PostgreSQL's sum of BIGINT is a NUMERIC.
        one: Usage(prompt_tokens=int(prompt_tokens), completion_tokens=int(completion_tokens), cost=float(cost))
        for one, prompt_tokens, completion_tokens, cost in connection.execute(query)
    }
