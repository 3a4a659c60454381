"""The statements of commits, each made once for all runs: making a statement takes longer than executing it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Column, Delete, Integer, Select, Update, and_, bindparam, case, delete, select, true, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from rxpipe.database.json_rows import is_in_keys, json_rows, this_run
from rxpipe.store.schema.tables import CHECKPOINTS, FAILURES, ITEMS, db_now

_SEEN: Sequence[Column[Any]] = (
    *(ITEMS.c.item_key, ITEMS.c.state, ITEMS.c.stage, ITEMS.c.owner, ITEMS.c.fence, ITEMS.c.seq),
    *(ITEMS.c.attempts, ITEMS.c.failures, ITEMS.c.last_error),
    *(ITEMS.c.root_key, ITEMS.c.depth, ITEMS.c.children, ITEMS.c.collected_by, ITEMS.c.rounds, ITEMS.c.feedback),
)


@cache
def lock_statement(dialect: str) -> Select[Any]:
    """Locks items, and returns the columns that a batch is compared with."""
    return (
        select(*_SEEN, db_now().label("now"))
        .where(ITEMS.c.run_id == this_run(), is_in_keys(dialect, ITEMS.c.item_key))
        .order_by(ITEMS.c.item_key)  # otherwise two workers might wait for each other
        .with_for_update(of=ITEMS)
    )


CHANGED = (
    *("to_state", "to_stage", "to_attempts", "to_failures", "to_error"),
    *("to_children", "to_collected_by", "to_rounds", "to_feedback"),
)
"""The parameters of the items' new values."""

ERASE_FROM = "erase_from"
ENDED_AT = "has_ended_at"
MAX_CRASHES = "max_crashes"


@cache
def advance_statement(dialect: str) -> Update:
    """Moves items on, as ``CHANGED`` says."""
    moved = update(ITEMS).where(ITEMS.c.run_id == this_run(), is_in_keys(dialect, ITEMS.c.item_key))
    columns = (
        *(ITEMS.c.state, ITEMS.c.stage, ITEMS.c.attempts, ITEMS.c.failures, ITEMS.c.last_error),
        *(ITEMS.c.children, ITEMS.c.collected_by, ITEMS.c.rounds, ITEMS.c.feedback),
    )
    to = {column: bindparam(name, type_=column.type) for column, name in zip(columns, CHANGED, strict=True)}
    # A stage that has returned killed no worker: the next stage is tried alone as often as this one was.
    max_crashes = bindparam(MAX_CRASHES, type_=ITEMS.c.crashes.type)
    is_acquitted = and_(ITEMS.c.stage < to[ITEMS.c.stage], ITEMS.c.crashes > max_crashes)
    ended_at = bindparam(ENDED_AT, type_=ITEMS.c.ended_at.type)
    times: dict[Any, Any] = {ITEMS.c.ended_at: ended_at, ITEMS.c.seconds: ended_at - ITEMS.c.taken_at}
    return moved.values({**to, **times, ITEMS.c.crashes: case((is_acquitted, max_crashes), else_=ITEMS.c.crashes)})


@cache
def give_back_statement(dialect: str) -> Update:
    """Moves items on, and makes them wait for a worker."""
    return advance_statement(dialect).values({ITEMS.c.ready_at: db_now()})


@cache
def erase_statement(dialect: str) -> Delete:
    """Deletes the checkpoints of a stage and of later stages."""
    ours = and_(CHECKPOINTS.c.run_id == this_run(), is_in_keys(dialect, CHECKPOINTS.c.item_key))
    return delete(CHECKPOINTS).where(ours, CHECKPOINTS.c.stage >= bindparam(ERASE_FROM, type_=Integer()))


@cache
def failures_statement(dialect: str) -> ReturningInsert[Any]:
    """Keeps each failed call once."""
    columns = [column for column in FAILURES.c if column is not FAILURES.c.run_id]
    rows = json_rows(dialect, *columns)
    values = select(this_run(), *(rows.c[column.name] for column in columns)).where(true())  # as in claims.py
    module: Any = postgresql if dialect == "postgresql" else sqlite
    kept = module.insert(FAILURES).from_select([FAILURES.c.run_id, *columns], values)
    statement: ReturningInsert[Any] = kept.on_conflict_do_nothing().returning(FAILURES.c.id)
    return statement
