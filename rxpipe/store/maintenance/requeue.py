"""Makes dead letters ready again, and written items whose rows are to be written again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, Row, and_, exists, func, or_, select, update

from rxpipe.errors import StoreError
from rxpipe.store.commits.tallies import take_from_tally
from rxpipe.store.queries.failures import IS_FAILED, stage_of_item
from rxpipe.store.queries.history import RunInfo
from rxpipe.store.schema.tables import ITEMS, RUNS, db_now
from rxpipe.store.wakeups import wake_workers

_Wrong: TypeAlias = Callable[[Row[Any, Any, str]], str | None]
"""Returns why an item is not one of the wanted items; None if it is."""

_IS_WRITTEN = ITEMS.c.state == "written"
_IS_COLLECTED_NEXT = ITEMS.c.collected_by >= ITEMS.c.stage
_CHUNK = 500  # IDs in one statement
_MOST_NAMED = 5  # IDs that an error names


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Parents and children among the failed items that are to be requeued.

    Attributes:
        expanding: Items that failed while they were expanded, and have children. The children stay.
        collecting: Parents that failed when their children were collected, and some of whose children are requeued,
            too. They wait for these children.
        collected: Children whose parents were collected without them. They are not collected again.
    """

    expanding: int = 0
    collecting: int = 0
    collected: int = 0


def family(
    connection: Connection, run: RunInfo, *, stage: str | None = None, ids: Sequence[str] | None = None
) -> Family:
    """Returns the effect that ``requeue`` with the same arguments has on parents and children."""
    which = _failed(run, stage)
    parent = ITEMS.alias()
    is_parent = and_(parent.c.run_id == ITEMS.c.run_id, parent.c.item_key == ITEMS.c.parent_key)
    # The call of the collecting stage has returned, has dropped the parent, or is running.
    is_past = or_(parent.c.stage > parent.c.collected_by, parent.c.state.in_(("written", "dropped", "running")))
    was_collected = exists().where(is_parent, parent.c.collected_by.is_not(None), is_past)

    def count(kind: ColumnElement[bool]) -> int:
        query = select(func.count()).select_from(ITEMS).where(ITEMS.c.run_id == run.id, kind)
        return sum(connection.execute(query.where(part)).scalar_one() for part in _parts(which, ids))

    parents = _parents(connection, run, which, ids)
    return Family(
        expanding=count(and_(ITEMS.c.children > 0, ITEMS.c.collected_by.is_(None))),
        collecting=sum(count(and_(_IS_COLLECTED_NEXT, ITEMS.c.item_key.in_(some))) for some in _chunks(parents)),
        collected=count(was_collected),
    )


def requeue(connection: Connection, run: RunInfo, *, stage: str | None = None, ids: Sequence[str] | None = None) -> int:
    """Make failed items of a run ready again. Their stage results stay, and are used.

    Existing children stay. A parent that failed while its children were collected waits for children that are ready
    again.

    Args:
        connection: In a transaction that writes.
        run: The run.
        stage: Only items that failed in this stage; ``database`` for items whose row was refused.
        ids: Only these items.

    Returns:
        How many items are ready again.

    Raises:
        StoreError: An ID belongs to no item that has failed in the stage; or a newer run has replaced this one.
    """
    which = _failed(run, stage)
    parents = _parents(connection, run, which, ids)

    def wrong(row: Row[Any, Any, str]) -> str | None:
        return _wrong_unless_failed(row, stage)

    count = _requeue(connection, run, which, ids, "failed", wrong, failures=0, last_error=None)
    _let_wait(connection, run, parents)
    return count


def requeue_where(connection: Connection, run: RunInfo, state: str, which: ColumnElement[bool]) -> int:
    """Make items of a run ready again that have a state and meet a condition.

    Args:
        connection: In a transaction that writes.
        run: The run.
        state: ``failed`` or ``dropped``.
        which: The condition.

    Returns:
        How many items are ready again.

    Raises:
        StoreError: A newer run has replaced this one, so nobody would take the items up.
    """
    of_state = and_(ITEMS.c.state == state, which)
    parents = _parents(connection, run, of_state, None)
    count = _requeue(connection, run, of_state, None, state, lambda row: None, failures=0, last_error=None)
    _let_wait(connection, run, parents)
    return count


def requeue_rows(connection: Connection, run: RunInfo, *, ids: Sequence[str] | None = None) -> int:
    """Make written items of a run ready again. The next run writes their rows from the kept results, without a call.

    Args:
        connection: In a transaction that writes.
        run: The run.
        ids: Only these items.

    Returns:
        How many items are ready again.

    Raises:
        StoreError: An ID belongs to no written item; or a newer run has replaced this one.
    """
    return _requeue(connection, run, _IS_WRITTEN, ids, "written", _wrong_unless_written)


def _failed(run: RunInfo, stage: str | None) -> ColumnElement[bool]:
    return IS_FAILED if stage is None else IS_FAILED & (stage_of_item(run) == stage)


def _parents(connection: Connection, run: RunInfo, which: ColumnElement[bool], ids: Sequence[str] | None) -> list[str]:
    """Returns the keys of the items' parents."""
    query = select(ITEMS.c.parent_key).where(ITEMS.c.run_id == run.id, ITEMS.c.parent_key.is_not(None)).distinct()
    found = (connection.execute(query.where(part)).scalars() for part in _parts(which, ids))
    return sorted({key for keys in found for key in keys if key is not None})


def _let_wait(connection: Connection, run: RunInfo, parents: Sequence[str]) -> None:
    """Make parents wait that are ready to be collected, as some of their children are ready again."""
    ready = update(ITEMS).where(ITEMS.c.run_id == run.id, ITEMS.c.state == "ready")
    for some in _chunks(parents):
        connection.execute(ready.where(_IS_COLLECTED_NEXT, ITEMS.c.item_key.in_(some)).values(state="waiting"))


def _parts(which: ColumnElement[bool], ids: Sequence[str] | None) -> list[ColumnElement[bool]]:
    """Returns the condition, once for each chunk of IDs."""
    return [which] if ids is None else [which & ITEMS.c.item_key.in_(some) for some in _chunks(ids)]


def _requeue(
    connection: Connection,
    run: RunInfo,
    which: ColumnElement[bool],
    ids: Sequence[str] | None,
    state: str,
    wrong: _Wrong,
    **changes: Any,
) -> int:
    _check_is_continued(connection, run)
    if ids is not None:
        _check(connection, run, ids, wrong)
    count = sum(_make_ready(connection, run, part, changes) for part in _parts(which, ids))
    take_from_tally(connection, run.id, {state: count})
    if count:
        connection.execute(update(RUNS).where(RUNS.c.id == run.id).values(finished_at=None))
        wake_workers(connection, run.id)
    return count


def _make_ready(connection: Connection, run: RunInfo, which: ColumnElement[bool], changes: Mapping[str, Any]) -> int:
    # Locked in the order in which workers lock them, so that neither waits for the other.
    mine = ITEMS.c.run_id == run.id
    locked = select(ITEMS.c.item_key).where(mine, which).order_by(ITEMS.c.item_key).with_for_update()
    ready = update(ITEMS).where(mine, ITEMS.c.item_key.in_(locked.scalar_subquery()))
    values = {"state": "ready", "owner": None, "fence": ITEMS.c.fence + 1, "crashes": 0, **changes}
    values |= {"ready_at": db_now(), "taken_at": None, "ended_at": None, "seconds": None}
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
