"""Dead items that get another chance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select, update

from rxpipe.errors import StoreError
from rxpipe.store.failures import IS_DEAD, stage_of_item
from rxpipe.store.history import RunInfo
from rxpipe.store.schema import ITEMS, RUNS

_CHUNK = 500  # IDs in one statement
_MOST_NAMED = 5  # IDs that an error names


def requeue(connection: Connection, run: RunInfo, *, stage: str | None = None, ids: Sequence[str] | None = None) -> int:
    """Make dead items of a run ready again; what stages have returned for them stays, and is used.

    Args:
        connection: In a transaction that writes.
        run: The run.
        stage: Only those that failed there; ``database`` for those whose row was refused.
        ids: Only these.

    Returns:
        How many they are.

    Raises:
        StoreError: An ID is not that of an item that is dead and failed in the stage; or nobody would take them up.
    """
    _check_is_continued(connection, run)
    mine = ITEMS.c.run_id == run.id
    if ids is None:
        count = _make_ready(connection, mine, IS_DEAD if stage is None else IS_DEAD & (stage_of_item(run) == stage))
    else:
        _check_dead(connection, run, stage, ids)
        count = sum(_make_ready(connection, mine, IS_DEAD & ITEMS.c.item_key.in_(some)) for some in _chunks(ids))
    if count:
        connection.execute(update(RUNS).where(RUNS.c.id == run.id).values(finished_at=None))
    return count


def _make_ready(connection: Connection, mine: ColumnElement[bool], which: ColumnElement[bool]) -> int:
    # Locked in the order in which workers lock them, lest each waits for the other.
    locked = select(ITEMS.c.item_key).where(mine, which).order_by(ITEMS.c.item_key).with_for_update()
    ready = update(ITEMS).where(mine, ITEMS.c.item_key.in_(locked.scalar_subquery()))
    changes: dict[str, Any] = {"state": "ready", "owner": None, "fence": ITEMS.c.fence + 1}
    return connection.execute(ready.values(**changes, failures=0, crashes=0, last_error=None)).rowcount


def _check_is_continued(connection: Connection, run: RunInfo) -> None:
    if run.workers:
        return
    newest = select(RUNS.c.id).where(RUNS.c.name == run.name).order_by(RUNS.c.generation.desc()).limit(1)
    number = connection.execute(newest).scalar_one()
    if number != run.id:
        raise StoreError(f"run {run.id} is over: run {number} has taken its place, and is the one that is continued")


def _check_dead(connection: Connection, run: RunInfo, stage: str | None, ids: Sequence[str]) -> None:
    stage_name = stage_of_item(run).label("stage_name")
    query = select(ITEMS.c.item_key, ITEMS.c.state, stage_name).where(ITEMS.c.run_id == run.id)
    found = {
        row.item_key: row
        for some in _chunks(ids)
        for row in connection.execute(query.where(ITEMS.c.item_key.in_(some)))
    }
    wrong = [text for one in ids if (text := _wrong(one, found.get(one), stage)) is not None]
    if wrong:
        more = f" (and {len(wrong) - _MOST_NAMED:,} more)" if len(wrong) > _MOST_NAMED else ""
        raise StoreError(f"in run {run.id}, {'; '.join(wrong[:_MOST_NAMED])}{more}: nothing was changed")


def _wrong(one: str, row: Row[Any, Any, str] | None, stage: str | None) -> str | None:
    if row is None:
        return f"there is no item {one}"
    if row.state != "dead":
        return f"item {one} is not dead, it is {row.state}"
    if stage is not None and row.stage_name != stage:
        return f"item {one} did not fail in {stage}, but in {row.stage_name}"
    return None


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    unique = list(dict.fromkeys(ids))
    return (unique[first : first + _CHUNK] for first in range(0, len(unique), _CHUNK))
