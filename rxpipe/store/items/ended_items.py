"""Outcomes of requested IDs that have ended before in the run, or with another worker."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Row, and_, exists, not_, select

from rxpipe.database.json_rows import PARAMETER, is_in_keys, keys_as_parameter
from rxpipe.errors import CallFailed, CheckpointError
from rxpipe.pipeline.decisions import Drop
from rxpipe.pipeline.outcome import MOST_FAILURES, Origin, Outcome
from rxpipe.store.commits.outputs import decode
from rxpipe.store.schema.tables import CHECKPOINTS, ENDED, IS_NEWEST_CHECKPOINT, ITEMS, PENDING

KeyedId = tuple[str, int | str]
"""An ID with its key in front. An ID has the same key as a text and as a number."""


def ended(
    connection: Connection, run_id: int, ids: Set[KeyedId], stages: Sequence[str]
) -> list[tuple[KeyedId, Outcome[Any]]]:
    """Returns how items ended, for those that have ended.

    Args:
        connection: For reading.
        run_id: The run's number.
        ids: The IDs.
        stages: The names of the stages, and of the sink.

    Returns:
        Each ended ID with its outcome. Of an error only the text is left.
    """
    parent = ITEMS.alias("parent")
    query = (
        select(ITEMS, CHECKPOINTS.c.output, CHECKPOINTS.c.pickled, parent.c.is_integer.label("is_of_integer"))
        .select_from(ITEMS.outerjoin(parent, _is_parent(parent)).outerjoin(CHECKPOINTS, IS_NEWEST_CHECKPOINT))
        .where(ITEMS.c.run_id == run_id, is_in_keys(connection.dialect.name, ITEMS.c.item_key))
        .where(ITEMS.c.state.in_(ENDED), not_(_has_pending_descendants()))
    )
    by_key: dict[str, list[int | str]] = {}
    for key, one in ids:
        by_key.setdefault(key, []).append(one)
    found: list[tuple[KeyedId, Outcome[Any]]] = []
    for row in connection.execute(query, {PARAMETER: keys_as_parameter(by_key)}).all():
        failures = _failures(connection, row, stages) if row.state == "expanded" else ()
        parent_id = None if row.parent_key is None else _id(row.parent_key, is_integer=row.is_of_integer)
        origin = Origin(parent=parent_id, failures=failures)
        found += (
            ((row.item_key, one), replace(_outcome(row, one, stages), origin=origin)) for one in by_key[row.item_key]
        )
    return found


def _failures(connection: Connection, root: Row[Any], stages: Sequence[str]) -> tuple[Outcome[Any], ...]:
    """Returns the first failed children of an item, and their failed children, if no stage has collected them."""
    parent = ITEMS.alias("parent")
    query = (
        select(ITEMS, CHECKPOINTS.c.output, CHECKPOINTS.c.pickled, parent.c.is_integer.label("is_of_integer"))
        .select_from(ITEMS.join(parent, _is_parent(parent)).outerjoin(CHECKPOINTS, IS_NEWEST_CHECKPOINT))
        .where(ITEMS.c.run_id == root.run_id, ITEMS.c.root_key == root.item_key, ITEMS.c.state == "failed")
        .where(ITEMS.c.number >= 0, parent.c.state == "expanded")
        .order_by(ITEMS.c.depth, ITEMS.c.parent_key, ITEMS.c.number)
        .limit(MOST_FAILURES)
    )
    return tuple(
        replace(
            _outcome(row, _id(row.item_key, is_integer=row.is_integer), stages),
            origin=Origin(parent=_id(row.parent_key, is_integer=row.is_of_integer)),
        )
        for row in connection.execute(query)
    )


def _is_parent(parent: FromClause) -> ColumnElement[bool]:
    return and_(parent.c.run_id == ITEMS.c.run_id, parent.c.item_key == ITEMS.c.parent_key)


def _id(key: str, *, is_integer: bool) -> int | str:
    return int(key) if is_integer else key


def _outcome(row: Row[Any], item_id: int | str, stages: Sequence[str]) -> Outcome[Any]:
    error = error_of(row)
    return Outcome(
        id=item_id,
        status=row.state,
        value=item_id if row.output is None else _value(row),
        error=error,
        stage=None if error is None else stages[stage_of(row)],
        attempts=row.attempts,
        seconds=0.0,
    )


def error_of(row: Row[Any]) -> BaseException | None:
    """Returns the error or the drop of an item that has ended. Of an error only the text is left."""
    if row.state == "dropped":
        return Drop(row.last_error or "")
    return CallFailed(row.last_error or "it failed before") if row.state == "failed" else None


def stage_of(row: Row[Any]) -> int:
    """Returns the index of the stage that an item is at.

    For an item with children: the stage that is called with them.
    """
    return int(row.stage if row.collected_by is None else max(row.stage, row.collected_by))


def _has_pending_descendants() -> ColumnElement[bool]:
    below = ITEMS.alias("below")
    return exists().where(
        below.c.run_id == ITEMS.c.run_id, below.c.root_key == ITEMS.c.item_key, below.c.state.in_(PENDING)
    )


def _value(row: Row[Any]) -> Any:
    try:
        return decode(row.output, row.pickled)
    except CheckpointError:  # its class is gone; the row is safe
        return None
