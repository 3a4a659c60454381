"""The statements that claim items, each made once for all runs: making a statement takes longer than executing it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Executable,
    Integer,
    Select,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    not_,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from rxpipe.database.json_rows import is_among, json_lists, this_run
from rxpipe.store.schema.tables import IS_QUARANTINED, IS_READY, IS_RUNNING, IS_WAITING, ITEMS, db_now

# Parameters
OWNER = "this_owner"
CRASHES = "these_crashes"
COUNT = "this_many"


def _crashes() -> ColumnElement[int]:
    return bindparam(CRASHES, type_=ITEMS.c.crashes.type)


@cache
def quarantined_statement() -> Select[Any]:
    """The highest number of crashes, up to ``CRASHES``, of a quarantined item that waits."""
    ours = and_(ITEMS.c.run_id == this_run(), IS_READY, IS_QUARANTINED)
    return select(func.max(ITEMS.c.crashes)).where(ours, ITEMS.c.crashes <= _crashes())


@cache
def quarantined_claim_statement(dialect: str) -> Executable:
    """Claims at most ``COUNT`` quarantined items that have ``CRASHES`` crashes."""
    return _claim_statement(dialect, and_(IS_QUARANTINED, ITEMS.c.crashes == _crashes()))


@cache
def others_claim_statement(dialect: str) -> Executable:
    """Claims at most ``COUNT`` items that are not quarantined, or have more than ``CRASHES`` crashes."""
    return _claim_statement(dialect, not_(and_(IS_QUARANTINED, ITEMS.c.crashes <= _crashes())))


def _claim_statement(dialect: str, which: ColumnElement[bool]) -> Executable:
    waiting = select(ITEMS.c.item_key).where(ITEMS.c.run_id == this_run(), IS_READY, which)
    few = waiting.order_by(ITEMS.c.seq).limit(bindparam(COUNT, type_=Integer()))
    picked = few.with_for_update(skip_locked=True).cte("picked")
    return (
        update(ITEMS)
        .where(ITEMS.c.run_id == this_run(), is_among(dialect, ITEMS.c.item_key, select(picked.c.item_key)))
        .values(
            state="running",
            owner=bindparam(OWNER, type_=ITEMS.c.owner.type),
            fence=ITEMS.c.fence + 1,
            taken_at=func.coalesce(ITEMS.c.taken_at, db_now()),
        )
        .returning(*ITEMS.c)
    )


@cache
def left_statement() -> Executable:
    """Tells if any item waits for a worker; and if any worker has an item, or a parent waits for its children."""
    ours = ITEMS.c.run_id == this_run()
    return select(
        exists().where(ours, IS_READY), or_(exists().where(ours, IS_RUNNING), exists().where(ours, IS_WAITING))
    )


@cache
def add_statement(dialect: str) -> ReturningInsert[Any]:
    """Makes items of the IDs that the run does not know yet, claimed from the start."""
    owner = bindparam(OWNER, type_=ITEMS.c.owner.type)
    return _add_statement(dialect, "running", {ITEMS.c.fence: 1, ITEMS.c.owner: owner, ITEMS.c.taken_at: db_now()})


@cache
def add_ready_statement(dialect: str) -> ReturningInsert[Any]:
    """Makes items of the IDs that the run does not know yet, for any worker to claim."""
    return _add_statement(dialect, "ready", {ITEMS.c.fence: 0, ITEMS.c.ready_at: db_now()})


def _add_statement(dialect: str, state: str, more: Mapping[Any, Any]) -> ReturningInsert[Any]:
    columns = ITEMS.c
    ids = json_lists(dialect, columns.item_key, columns.is_integer, columns.seq)
    values: dict[Any, Any] = {
        columns.run_id: this_run(),
        columns.item_key: ids.c.item_key,
        columns.is_integer: ids.c.is_integer,
        columns.seq: ids.c.seq,
        columns.state: literal_column(f"'{state}'"),
        columns.stage: literal_column("0"),
        columns.attempts: literal_column("0"),
        columns.failures: literal_column("0"),
        columns.crashes: literal_column("0"),
        **{column: literal_column(str(value)) if isinstance(value, int) else value for column, value in more.items()},
    }
    module: Any = postgresql if dialect == "postgresql" else sqlite
    # SQLite takes the ON of ON CONFLICT for that of a join, unless there is a WHERE.
    insert = module.insert(ITEMS).from_select(list(values), select(*values.values()).where(true()))
    statement: ReturningInsert[Any] = insert.on_conflict_do_nothing().returning(columns.item_key)
    return statement
