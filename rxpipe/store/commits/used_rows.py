"""Rows with the usage of calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, exists, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from rxpipe.database.json_rows import PARAMETER, as_parameter, json_rows, this_run
from rxpipe.operators.core.running_call import Usage
from rxpipe.store.commits.records import Used
from rxpipe.store.schema.tables import RUNS, USAGE, db_now


def add_usage(connection: Connection, of_run: Mapping[str, Any], records: Sequence[Used]) -> Usage | None:
    """Keep the usage of each call once.

    Args:
        connection: In a transaction.
        of_run: The parameter of the run's number.
        records: The usage records.

    Returns:
        The sum of the new usage, without saved usage; None if nothing is new.
    """
    if not records:
        return None
    rows = [
        {
            "id": used.id,
            "item_key": used.claim.key,
            "stage": used.stage,
            "attempt": used.attempt,
            "prompt_tokens": used.usage.prompt_tokens,
            "completion_tokens": used.usage.completion_tokens,
            "cost": used.usage.cost,
            "worker": used.claim.owner,
            "saved": used.saved,
        }
        for used in records
    ]
    added = set(
        connection.execute(
            _usage_statement(connection.dialect.name), {**of_run, PARAMETER: as_parameter(rows)}
        ).scalars()
    )
    new = [used.usage for used in records if used.id in added and not used.saved]
    return sum(new, Usage()) if new else None


@cache
def _usage_statement(dialect: str) -> ReturningInsert[Any]:
    columns = [column for column in USAGE.c if column.name not in ("run_id", "at")]
    rows = json_rows(dialect, *columns)
    # A run that was pruned meanwhile must leave nothing behind.
    there = exists(select(RUNS.c.id).where(RUNS.c.id == this_run()))
    values = select(this_run(), *(rows.c[column.name] for column in columns), db_now()).where(there)
    module: Any = postgresql if dialect == "postgresql" else sqlite
    added = module.insert(USAGE).from_select([USAGE.c.run_id, *columns, USAGE.c.at], values)
    statement: ReturningInsert[Any] = added.on_conflict_do_nothing().returning(USAGE.c.id)
    return statement
