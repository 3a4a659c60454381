"""Rows of children that stages have made, and parents that wait for their children."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    Connection,
    Executable,
    Row,
    Select,
    Update,
    and_,
    bindparam,
    exists,
    literal_column,
    not_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from rxpipe.database.json_rows import (
    PARAMETER,
    as_parameter,
    is_among,
    is_in_keys,
    json_keys,
    json_rows,
    keys_as_parameter,
    this_run,
)
from rxpipe.errors import ConfigError
from rxpipe.store.commits.checkpoints import add_checkpoints
from rxpipe.store.commits.records import NewChild
from rxpipe.store.schema.tables import IS_WAITING, ITEMS, PENDING, db_now

_MANY = 1_000  # children in one statement
_MADE_BY = "this_maker"
_NOW = "this_time"
_GIVEN = ("item_key", "is_integer", "seq", "stage", "owner", "parent_key", "root_key", "number", "depth", "made_by")


def add_children(
    connection: Connection, of_run: Mapping[str, Any], children: Sequence[tuple[NewChild, Row[Any]]], now: float
) -> None:
    """Make items of children, and keep their values.

    A child whose ID belongs to another item of the run becomes no item. Its claim says so.

    Args:
        connection: In a transaction that has locked the parents.
        of_run: The parameter of the run's number.
        children: The children, with the rows of their parents.
        now: The time.
    """
    for first in range(0, len(children), _MANY):
        _add(connection, of_run, children[first : first + _MANY], now)


def _add(
    connection: Connection, of_run: Mapping[str, Any], children: Sequence[tuple[NewChild, Row[Any]]], now: float
) -> None:
    dialect = connection.dialect.name
    firsts: dict[str, NewChild] = {}
    for child, _ in children:
        if firsts.setdefault(child.claim.key, child) is not child:
            child.claim.conflict = _is_taken(child)
    rows = [_row(child, parent) for child, parent in children if firsts[child.claim.key] is child]
    parameters = {**of_run, _NOW: now, PARAMETER: as_parameter(rows)}
    added = set(connection.execute(_add_statement(dialect), parameters).scalars())
    others = [row["item_key"] for row in rows if row["item_key"] not in added]
    if others:  # from a commit whose answer was lost; or other items have these IDs
        parameters = {**of_run, PARAMETER: keys_as_parameter(others)}
        found = {row.item_key: row for row in connection.execute(_parents_statement(dialect), parameters)}
        for child, parent in children:
            row = found.get(child.claim.key)
            if row is not None and (row.parent_key, row.number) != (parent.item_key, child.claim.number):
                child.claim.conflict = _is_taken(child)
    checkpoints = [
        (child.claim.key, child.claim.first - 1, child.claim.fence, *child.output, now)
        for child, _ in children
        if child.output is not None and child.claim.key in added and firsts[child.claim.key] is child
    ]
    add_checkpoints(connection, of_run, checkpoints)


def _is_taken(child: NewChild) -> ConfigError:
    return ConfigError(f"another item of the run has the ID {child.claim.id!r}")


def _row(child: NewChild, parent: Row[Any]) -> dict[str, Any]:
    claim = child.claim
    return {
        "item_key": claim.key,
        "is_integer": not isinstance(claim.id, str) and not claim.outside,
        "seq": parent.seq,
        "stage": claim.first,
        "owner": claim.owner,
        "parent_key": parent.item_key,
        "root_key": parent.root_key or parent.item_key,
        "number": claim.number,
        "depth": parent.depth + 1,
        "made_by": claim.first - 1,
    }


def retire_children(connection: Connection, of_run: Mapping[str, Any], parents: Mapping[str, int]) -> None:
    """Mark children as those of an earlier round, by a number below 0. No stage is called with them.

    Args:
        connection: In a transaction that has locked the parents.
        of_run: The parameter of the run's number.
        parents: The keys of items that were sent back, with stages. Children of these and later stages are old.
    """
    keys: dict[int, list[str]] = {}
    for key, stage in parents.items():
        keys.setdefault(stage, []).append(key)
    for stage, some in keys.items():
        parameters = {**of_run, _MADE_BY: stage, PARAMETER: keys_as_parameter(some)}
        connection.execute(_retire_statement(connection.dialect.name), parameters)


def wake_parents(connection: Connection, of_run: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Make parents ready whose last child has now ended.

    Args:
        connection: In a transaction that has locked the parents, whatever their states were, before it reads children.
            Suppose that one worker ends a child while another ends the next child or lets the parent wait: then the
            second worker sees the first one's change.
        of_run: The parameter of the run's number.
        keys: The keys of the parents.
    """
    if keys:
        parameters = {**of_run, PARAMETER: keys_as_parameter(keys)}
        connection.execute(_wake_statement(connection.dialect.name), parameters)


def wake_all_parents(connection: Connection, of_run: Mapping[str, Any]) -> None:
    """Make all waiting parents of a run ready whose children have all ended."""
    if connection.execute(_lock_all_waiting_statement(), of_run).scalars().all():
        connection.execute(_wake_all_statement(), of_run)


def has_pending_children() -> Any:
    """Returns the condition that an item of ``ITEMS`` has children that have not ended."""
    child = ITEMS.alias("child")
    return exists().where(
        child.c.run_id == ITEMS.c.run_id, child.c.parent_key == ITEMS.c.item_key, child.c.state.in_(PENDING)
    )


@cache
def _add_statement(dialect: str) -> ReturningInsert[Any]:
    columns = [ITEMS.c[name] for name in _GIVEN]
    rows = json_rows(dialect, *columns)
    values: dict[Any, Any] = {ITEMS.c.run_id: this_run(), **{column: rows.c[column.name] for column in columns}}
    values[ITEMS.c.state] = literal_column("'running'")
    values[ITEMS.c.fence] = literal_column("1")
    values[ITEMS.c.taken_at] = bindparam(_NOW, type_=ITEMS.c.taken_at.type)
    for column in (ITEMS.c.attempts, ITEMS.c.failures, ITEMS.c.crashes):
        values[column] = literal_column("0")
    module: Any = postgresql if dialect == "postgresql" else sqlite
    insert = module.insert(ITEMS).from_select(list(values), select(*values.values()).where(true()))  # as in claims.py
    statement: ReturningInsert[Any] = insert.on_conflict_do_nothing().returning(ITEMS.c.item_key)
    return statement


@cache
def _retire_statement(dialect: str) -> Update:
    keys = json_keys(dialect)
    ours = and_(ITEMS.c.run_id == this_run(), is_among(dialect, ITEMS.c.parent_key, keys))
    old = and_(ours, ITEMS.c.number >= 0, ITEMS.c.made_by >= bindparam(_MADE_BY, type_=ITEMS.c.made_by.type))
    return update(ITEMS).where(old).values(number=-1 - ITEMS.c.number)


@cache
def _parents_statement(dialect: str) -> Executable:
    columns = ITEMS.c.item_key, ITEMS.c.parent_key, ITEMS.c.number
    return select(*columns).where(ITEMS.c.run_id == this_run(), is_in_keys(dialect, ITEMS.c.item_key))


@cache
def _lock_all_waiting_statement() -> Select[Any]:
    waiting = select(ITEMS.c.item_key).where(ITEMS.c.run_id == this_run(), IS_WAITING)
    return waiting.order_by(ITEMS.c.item_key).with_for_update()


@cache
def _wake_statement(dialect: str) -> Update:
    return _wake_all_statement().where(is_in_keys(dialect, ITEMS.c.item_key))


@cache
def _wake_all_statement() -> Update:
    over = and_(ITEMS.c.run_id == this_run(), IS_WAITING, not_(has_pending_children()))
    return update(ITEMS).where(over).values(state="ready", ready_at=db_now())
