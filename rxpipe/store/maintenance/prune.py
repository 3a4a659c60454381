"""Deletes old runs. Rows that they have written to the user's tables stay."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, Table, and_, delete, func, select, true, update

from rxpipe.database.table import KEY_LENGTH
from rxpipe.errors import StoreError
from rxpipe.store.queries.existing_store import change
from rxpipe.store.queries.history import RunInfo, alive, run, workers
from rxpipe.store.schema.tables import (
    CALLS,
    CHECKPOINTS,
    ERRORS,
    EXCHANGES,
    FAILURES,
    ITEMS,
    RUNS,
    SNAPSHOTS,
    TALLIES,
    USAGE,
    WORKERS,
    db_now,
)

_CHUNK = 500  # items deleted in one transaction
_DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was deleted of a run, counted in rows.

    Attributes:
        items: Items.
        checkpoints: Stage results.
        failures: Failed calls.
        workers: Workers.
        usage: Usage of calls.
    """

    items: int
    checkpoints: int
    failures: int
    workers: int
    usage: int = 0


def chosen(
    connection: Connection,
    found: Sequence[RunInfo],
    *,
    numbers: Collection[int] = (),
    finished: bool = False,
    older_than: float | None = None,
    keep: int | None = None,
) -> list[RunInfo]:
    """Returns the runs that meet all conditions.

    Args:
        connection: In a transaction.
        found: All runs.
        numbers: Only runs with these numbers; all if empty.
        finished: Only finished runs.
        older_than: Only runs without a sign of life for this many days.
        keep: Leave out the latest runs of each name, this many.
    """
    now = connection.execute(select(db_now())).scalar_one()
    kept: set[int] = set()
    if keep is not None:
        for name in {one.name for one in found}:
            of_name = sorted((one for one in found if one.name == name), key=lambda one: one.generation, reverse=True)
            kept.update(one.id for one in of_name[:keep])
    return [
        one
        for one in found
        if (not numbers or one.id in numbers)
        and (not finished or one.state == "finished")
        and (older_than is None or one.active_at < now - older_than * _DAY)
        and one.id not in kept
    ]


def extent(connection: Connection, one: RunInfo) -> Pruned:
    """Returns what there is of a run."""

    def rows(table: Table) -> int:
        query = select(func.count()).select_from(table).where(table.c.run_id == one.id)
        return connection.execute(query).scalar_one()

    return Pruned(
        items=rows(ITEMS),
        checkpoints=rows(CHECKPOINTS),
        failures=rows(FAILURES),
        workers=rows(WORKERS),
        usage=rows(USAGE),
    )


def prune(engine: Engine, number: int) -> Pruned:
    """Delete a run, in many short transactions, so that none holds up others for long.

    The run gets another name first. So after an interruption, no pipeline continues the rest by mistake. Prune it again
    then.

    Raises:
        StoreError: There is no such run, or a worker is busy with it.
        SinkError: The database cannot be written to.
    """
    with change(engine) as connection:
        _rename(connection, number)
    items = checkpoints = failures = usage = 0
    before: str | None = ""
    while before is not None:
        with change(engine) as connection:
            _check_idle(connection, number)  # a worker might have come just before the name was changed
            last = _last_of_next(connection, number, before)
            checkpoints += _delete(connection, CHECKPOINTS, number, before, last)
            failures += _delete(connection, FAILURES, number, before, last)
            usage += _delete(connection, USAGE, number, before, last)
            _delete(connection, EXCHANGES, number, before, last)
            items += _delete(connection, ITEMS, number, before, last)
        before = last
    for table in (CALLS, SNAPSHOTS):
        _delete_in_parts(engine, table, number)
    with change(engine) as connection:
        for table in (TALLIES, ERRORS):
            connection.execute(delete(table).where(table.c.run_id == number))
        gone = connection.execute(delete(WORKERS).where(WORKERS.c.run_id == number)).rowcount
        connection.execute(delete(RUNS).where(RUNS.c.id == number))
    return Pruned(items=items, checkpoints=checkpoints, failures=failures, workers=gone, usage=usage)


def _last_of_next(connection: Connection, number: int, before: str) -> str | None:
    """Returns the last key of the next part; None if the rest is one part."""
    query = select(ITEMS.c.item_key).where(ITEMS.c.run_id == number, ITEMS.c.item_key > before)
    return connection.execute(query.order_by(ITEMS.c.item_key).offset(_CHUNK - 1).limit(1)).scalar_one_or_none()


def _delete(connection: Connection, table: Table, number: int, before: str, last: str | None) -> int:
    # A range: for a list of keys, PostgreSQL reads the whole run while it has no statistics of new tables.
    key = table.c.item_key
    part = and_(key > before if before else true(), key <= last if last is not None else true())
    return connection.execute(delete(table).where(table.c.run_id == number, part)).rowcount


def _delete_in_parts(engine: Engine, table: Table, number: int) -> None:
    """Delete rows that belong to no item, the oldest first."""
    ours = table.c.run_id == number
    while True:
        with change(engine) as connection:
            few = select(table.c.at).where(ours).order_by(table.c.at).offset(_CHUNK).limit(1)
            until = connection.execute(few).scalar()
            part = true() if until is None else table.c.at <= until
            connection.execute(delete(table).where(ours, part))
        if until is None:
            return


def _rename(connection: Connection, number: int) -> None:
    connection.execute(select(RUNS.c.id).where(RUNS.c.id == number).with_for_update())
    one = run(connection, number)
    _check_idle(connection, number)
    mark = f"pruned {number}: "
    if not one.name.startswith(mark):
        name = mark + one.name[: KEY_LENGTH - len(mark)]
        connection.execute(update(RUNS).where(RUNS.c.id == number).values(name=name))


def _check_idle(connection: Connection, number: int) -> None:
    busy = alive(workers(connection, number))
    if busy:
        one = busy[0]
        more = f" and {len(busy) - 1} more" if len(busy) > 1 else ""
        raise StoreError(f"run {number} is running, by process {one.pid} on {one.host}{more}: it must end first")
