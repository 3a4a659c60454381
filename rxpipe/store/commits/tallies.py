"""Sums that every commit adds to: adding up the rows of a large run would take a second.

Each worker has a row of its own, so no worker waits for another. Code that changes ended items in another way adds its
change to the sums, too.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, literal, not_, select, true
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from rxpipe.database.json_rows import RUN, this_run
from rxpipe.operators.core.running_call import Usage
from rxpipe.store.schema.tables import ENDED, ITEMS, RUNS, TALLIES, USAGE

_OF_USAGE = ("prompt_tokens", "completion_tokens", "cost")
_SUMS = (*ENDED, *_OF_USAGE)
_BEFORE = "before"  # has what there was before sums were kept


def add_tally(
    connection: Connection, of_run: Mapping[str, Any], worker: str, ended: Mapping[str, int], used: Usage | None = None
) -> None:
    """Add to a run's sums.

    Args:
        connection: In a transaction.
        of_run: The parameter of the run's number.
        worker: The worker whose row grows. Changes that are not commits of a worker have a row of their own.
        ended: How many more items there are in each state that ends an item. Other states do not count.
        used: Additional usage of calls.
    """
    sums: dict[str, float] = {f"to_{state}": ended.get(state, 0) for state in ENDED}
    if used is None and not any(sums.values()):
        return
    used = used or Usage()
    sums |= {"to_prompt_tokens": used.prompt_tokens, "to_completion_tokens": used.completion_tokens}
    parameters = {**of_run, **sums, "to_cost": used.cost, "to_worker": worker}
    connection.execute(_add_statement(connection.dialect.name), parameters)


def take_from_tally(connection: Connection, run_id: int, ended: Mapping[str, int]) -> None:
    """Subtract items that had ended and are open again, by state."""
    less = {state: -count for state, count in ended.items() if state in ENDED}
    add_tally(connection, {RUN: run_id}, uuid.uuid4().hex, less)


def tallies(connection: Connection, run_ids: list[int] | None = None) -> dict[int, tuple[dict[str, int], Usage]]:
    """Returns, for each run, how many items have ended, by state, and the usage of calls."""
    sums = [func.sum(TALLIES.c[name]).label(name) for name in _SUMS]
    query = select(TALLIES.c.run_id, *sums).group_by(TALLIES.c.run_id)
    if run_ids is not None:
        query = query.where(TALLIES.c.run_id.in_(run_ids))
    return {
        row.run_id: (
            {state: int(getattr(row, state)) for state in ENDED},
            Usage(
                prompt_tokens=max(0, int(row.prompt_tokens)),
                completion_tokens=max(0, int(row.completion_tokens)),
                cost=max(0.0, float(row.cost)),
            ),
        )
        for row in connection.execute(query)
    }


def recount(connection: Connection, run_id: int) -> None:
    """Add up a run's rows anew, in a transaction in which the run has no workers."""
    connection.execute(delete(TALLIES).where(TALLIES.c.run_id == run_id))
    _count(connection, run_id)


def begin_tallies(connection: Connection) -> None:
    """Add up the rows of all runs, whose sums were not kept so far."""
    for run_id in connection.execute(select(RUNS.c.id)).scalars().all():
        _count(connection, run_id)


def _count(connection: Connection, run_id: int) -> None:
    counts = select(ITEMS.c.state, func.count()).where(ITEMS.c.run_id == run_id).group_by(ITEMS.c.state)
    states = {state: count for state, count in connection.execute(counts) if state in ENDED}
    sums = (func.coalesce(func.sum(USAGE.c[name]), 0) for name in _OF_USAGE)
    used = connection.execute(select(*sums).where(USAGE.c.run_id == run_id, not_(USAGE.c.saved))).one()
    row = dict.fromkeys(ENDED, 0) | states | dict(zip(_OF_USAGE, used, strict=True))
    connection.execute(insert(TALLIES).values(run_id=run_id, worker=_BEFORE, **row))


@cache
def _add_statement(dialect: str) -> Insert:
    new = {TALLIES.c[name]: bindparam(f"to_{name}", type_=TALLIES.c[name].type) for name in _SUMS}
    values = {
        TALLIES.c.run_id: this_run(),
        TALLIES.c.worker: bindparam("to_worker", type_=TALLIES.c.worker.type),
        **new,
    }
    # A run that was pruned meanwhile must leave nothing behind.
    there = select(literal(1)).select_from(RUNS).where(RUNS.c.id == this_run()).exists()
    module: Any = postgresql if dialect == "postgresql" else sqlite
    added = module.insert(TALLIES).from_select(list(values), select(*values.values()).where(true(), there))
    sums = {name: TALLIES.c[name] + added.excluded[name] for name in _SUMS}
    statement: Insert = added.on_conflict_do_update(index_elements=list(TALLIES.primary_key), set_=sums)
    return statement
