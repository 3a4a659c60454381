"""Dead items that get another chance, and written ones whose rows are to be written again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, Row, select, update

from rxpipe.errors import StoreError
from rxpipe.store.queries.failures import IS_FAILED, stage_of_item
from rxpipe.store.queries.history import RunInfo
from rxpipe.store.schema.tables import ITEMS, RUNS

_Wrong: TypeAlias = Callable[[Row[Any, Any, str]], str | None]
"""Says why an item is none of those that are wanted."""

_IS_WRITTEN = ITEMS.c.state == "written"
_CHUNK = 500  # IDs in one statement
_MOST_NAMED = 5  # IDs that an error names


def requeue(connection: Connection, run: RunInfo, *, stage: str | None = None, ids: Sequence[str] | None = None) -> int:
    """Make failed items of a run ready again; what stages have returned for them stays, and is used.

    Args:
        connection: In a transaction that writes.
        run: The run.
        stage: Only those that failed there; ``database`` for those whose row was refused.
        ids: Only these.

    Returns:
        How many they are.

    Raises:
        StoreError: An ID is not that of an item that has failed, in the stage; or nobody would take them up.
    """
    which = IS_FAILED if stage is None else IS_FAILED & (stage_of_item(run) == stage)
    return _requeue(
        connection, run, which, ids, lambda row: _wrong_unless_failed(row, stage), failures=0, last_error=None
    )


def requeue_rows(connection: Connection, run: RunInfo, *, ids: Sequence[str] | None = None) -> int:
    """Make written items of a run ready again: the next run writes their rows from what is kept, without a call.

    Args:
        connection: In a transaction that writes.
        run: The run.
        ids: Only these.

    Returns:
        How many they are.

    Raises:
        StoreError: An ID is not that of an item that is written; or nobody would take them up.
    """
    return _requeue(connection, run, _IS_WRITTEN, ids, _wrong_unless_written)


def _requeue(
    connection: Connection,
    run: RunInfo,
    which: ColumnElement[bool],
    ids: Sequence[str] | None,
    wrong: _Wrong,
    **changes: Any,
) -> int:
    _check_is_continued(connection, run)
    if ids is None:
        count = _make_ready(connection, run, which, changes)
    else:
        _check(connection, run, ids, wrong)
        parts = (which & ITEMS.c.item_key.in_(some) for some in _chunks(ids))
        count = sum(_make_ready(connection, run, part, changes) for part in parts)
    if count:
        connection.execute(update(RUNS).where(RUNS.c.id == run.id).values(finished_at=None))
    return count


def _make_ready(connection: Connection, run: RunInfo, which: ColumnElement[bool], changes: Mapping[str, Any]) -> int:
    # Locked in the order in which workers lock them, lest each waits for the other.
    mine = ITEMS.c.run_id == run.id
    locked = select(ITEMS.c.item_key).where(mine, which).order_by(ITEMS.c.item_key).with_for_update()
    ready = update(ITEMS).where(mine, ITEMS.c.item_key.in_(locked.scalar_subquery()))
    values = {"state": "ready", "owner": None, "fence": ITEMS.c.fence + 1, "crashes": 0, **changes}
    return connection.execute(ready.values(values)).rowcount


def _check_is_continued(connection: Connection, run: RunInfo) -> None:
    if run.workers:
        return
    newest = select(RUNS.c.id).where(RUNS.c.name == run.name).order_by(RUNS.c.generation.desc()).limit(1)
    number = connection.execute(newest).scalar_one()
    if number != run.id:
        raise StoreError(f"run {run.id} is over: run {number} has taken its place, and is the one that is continued")


def _check(connection: Connection, run: RunInfo, ids: Sequence[str], wrong: _Wrong) -> None:
    stage_name = stage_of_item(run).label("stage_name")
    query = select(ITEMS.c.item_key, ITEMS.c.state, stage_name).where(ITEMS.c.run_id == run.id)
    found = {
        row.item_key: row
        for some in _chunks(ids)
        for row in connection.execute(query.where(ITEMS.c.item_key.in_(some)))
    }
    told = [f"there is no item {one}" if (row := found.get(one)) is None else wrong(row) for one in ids]
    texts = [text for text in told if text is not None]
    if texts:
        more = f" (and {len(texts) - _MOST_NAMED:,} more)" if len(texts) > _MOST_NAMED else ""
        raise StoreError(f"in run {run.id}, {'; '.join(texts[:_MOST_NAMED])}{more}: nothing was changed")


def _wrong_unless_failed(row: Row[Any, Any, str], stage: str | None) -> str | None:
    if row.state != "failed":
        return f"item {row.item_key} has not failed, it is {row.state}"
    if stage is not None and row.stage_name != stage:
        return f"item {row.item_key} did not fail in {stage}, but in {row.stage_name}"
    return None


def _wrong_unless_written(row: Row[Any, Any, str]) -> str | None:
    return None if row.state == "written" else f"item {row.item_key} is not written, but {row.state}"


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    unique = list(dict.fromkeys(ids))
    return (unique[first : first + _CHUNK] for first in range(0, len(unique), _CHUNK))
