"""The usage of the calls of runs, added up."""

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
    """Returns the usage of all calls of a run, including calls of items that were done again."""
    return by_run(connection, [run_id]).get(run_id, Usage())


def by_run(connection: Connection, numbers: Sequence[int]) -> dict[int, Usage]:
    """Returns the usage of several runs. Runs without usage are left out."""
    found: dict[int, Usage] = _grouped(connection, USAGE.c.run_id, USAGE.c.run_id.in_(numbers))
    return found


def by_stage(connection: Connection, run_id: int) -> dict[str, Usage]:
    """Returns the usage of a run's calls, by the stage's name. Includes stages that the run no longer has."""
    found: dict[str, Usage] = _grouped(connection, USAGE.c.stage, USAGE.c.run_id == run_id)
    return found


def mean_costs(connection: Connection, run_id: int) -> dict[str, float]:
    """Returns the mean cost of a call of a run, by the stage's name. Only calls that reported their usage count."""
    query = select(USAGE.c.stage, func.avg(USAGE.c.cost)).where(USAGE.c.run_id == run_id, _IS_USED)
    query = query.group_by(USAGE.c.stage)
    return {stage: float(mean) for stage, mean in connection.execute(query)}


def by_item(connection: Connection, run_id: int, keys: Sequence[str]) -> dict[str, Usage]:
    """Returns the usage of each of these items. Items without usage are left out."""
    found: dict[str, Usage] = _grouped(
        connection, USAGE.c.item_key, USAGE.c.run_id == run_id, USAGE.c.item_key.in_(keys)
    )
    return found


def has_usage(connection: Connection, run_id: int) -> bool:
    """Returns True if any call of a run has reported usage."""
    query = select(USAGE.c.id).where(USAGE.c.run_id == run_id, _IS_USED).limit(1)
    return connection.execute(query).first() is not None


def saved_by_stage(connection: Connection, run_id: int) -> dict[str, tuple[int, Usage]]:
    """Returns how often a run used a result of an earlier call, with the usage of those calls, by the stage's name."""
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
