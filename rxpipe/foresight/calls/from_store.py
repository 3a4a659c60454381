"""Reads the calls of runs from a store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import islice, pairwise
from typing import Any

from sqlalchemy import URL, Connection, Engine, func, select

from rxpipe.errors import ConfigError
from rxpipe.foresight.calls.record import RecordedCall, RecordedRun, together
from rxpipe.store.commits.call_groups import recorded_calls
from rxpipe.store.queries.existing_store import checked_engine, snapshot
from rxpipe.store.queries.failures import item_id
from rxpipe.store.queries.history import RunInfo, run
from rxpipe.store.reading.snapshot_history import workers_began
from rxpipe.store.schema.tables import CHECKPOINTS, ITEMS

_MOST = 200_000  # the most calls and the most items that are read: more would not improve a forecast


def recorded(database: str | URL | Engine, number: int | None = None, *further: int) -> RecordedRun:
    """Reads the recorded calls of one or several runs from a store, for ``simulate``.

    ::

        record = rxpipe.recorded("sqlite:///bank.db", 3, 4)

    Several runs at different loads show best how the server slows down. If several runs have an item, the item draws
    the calls of the latest run. Other items draw from all calls.

    Args:
        database: The store's database, as an SQLAlchemy URL or an engine.
        number: The run's number, as shown by ``rxpipe runs``. The default is the latest run.
        further: The numbers of further runs of the same pipeline.

    Raises:
        ConfigError: A run has no recorded calls, is named twice, or belongs to another pipeline.
        SinkError: The run does not exist, or the database has no store or cannot be read.
    """
    numbers = [number] if number is None else sorted([number, *further])
    if twice := [one for one, following in pairwise(numbers) if one == following]:
        raise ConfigError(f"run {twice[0]} is named twice")
    engine = checked_engine(database)
    try:
        with snapshot(engine) as connection:
            found = [run(connection, each) for each in numbers]
            _check_names(found)
            return together([_record(connection, each, _MOST // len(found)) for each in found])
    finally:
        if engine is not database:
            engine.dispose()


def _check_names(found: Sequence[RunInfo]) -> None:
    first = found[0]
    if other := next((each for each in found if each.name != first.name), None):
        raise ConfigError(
            f"run {first.id} is one of {first.name!r} and run {other.id} one of {other.name!r}; give runs of one "
            "pipeline"
        )


def _record(connection: Connection, found: RunInfo, most: int) -> RecordedRun:
    names = [stage.name for stage in found.stages]
    calls = [
        RecordedCall(one.item, names[one.stage], one.attempt, one.began, one.seconds, one.ended, one.usage)
        for one in islice(recorded_calls(connection, found.id), most)
        if one.stage < len(names)
    ]
    if not calls:
        raise ConfigError(f"run {found.id} has no recorded calls: it was made by an earlier rxpipe, or made none")
    return RecordedRun(
        calls=calls,
        roots=_roots(connection, found.id),
        children=_children(connection, found.id, names, calls),
        passed=_passed(connection, found.id, names, calls),
        startup=_startup(connection, found.id, min(call.began for call in calls)),
    )


def _startup(connection: Connection, run_id: int, first_call: float) -> float:
    """Returns the seconds from the start of the worker that made the first call to that call."""
    before = [began for began in workers_began(connection, run_id) if began <= first_call]
    return first_call - max(before) if before else 0.0


def _roots(connection: Connection, run_id: int) -> list[int | str]:
    query = select(ITEMS.c.item_key, ITEMS.c.is_integer).where(ITEMS.c.run_id == run_id, ITEMS.c.parent_key.is_(None))
    rows = connection.execute(query.order_by(ITEMS.c.seq).limit(_MOST))
    return [item_id(row.item_key, row.is_integer) for row in rows]


def _children(
    connection: Connection, run_id: int, names: list[str], calls: list[RecordedCall]
) -> dict[str, dict[str, int]]:
    columns: list[Any] = [ITEMS.c.made_by, ITEMS.c.parent_key]
    query = select(*columns, func.count().label("children")).where(
        ITEMS.c.run_id == run_id, ITEMS.c.parent_key.is_not(None), ITEMS.c.made_by.is_not(None)
    )
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in connection.execute(query.group_by(*columns).limit(_MOST)):
        if row.made_by < len(names):
            found[names[row.made_by]][row.parent_key] = row.children
    for call in calls:
        if call.stage in found and call.ended == "ok":
            found[call.stage].setdefault(call.item, 0)
    return dict(found)


def _passed(connection: Connection, run_id: int, names: list[str], calls: list[RecordedCall]) -> dict[str, set[str]]:
    """Returns the items that passed each stage without a call. They also left a checkpoint."""
    called, returned = (defaultdict[str, set[str]](set) for _ in range(2))
    for call in calls:
        called[call.stage].add(call.item)
        if call.ended == "ok":
            returned[call.stage].add(call.item)
    of_run = CHECKPOINTS.c.run_id == run_id
    query = select(CHECKPOINTS.c.stage, func.count().label("items")).where(of_run).group_by(CHECKPOINTS.c.stage)
    found: dict[str, set[str]] = {}
    for row in connection.execute(query).all():
        if row.stage < 0 or row.stage >= len(names) or row.items <= len(returned[names[row.stage]]):
            continue  # the checkpoints are values of records, or a call was made for each item
        kept = select(CHECKPOINTS.c.item_key).where(of_run, CHECKPOINTS.c.stage == row.stage).limit(_MOST)
        found[names[row.stage]] = set(connection.execute(kept).scalars()) - called[names[row.stage]]
    return found
