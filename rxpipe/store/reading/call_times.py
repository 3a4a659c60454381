"""The calls of a part of a run, as a timeline draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Select, func, select

from rxpipe.database.json_rows import PARAMETER, is_in_keys, keys_as_parameter
from rxpipe.insight.reading import Bar, Heights, Timeline
from rxpipe.store.commits.call_groups import KeptCall, calls_of
from rxpipe.store.queries.failures import item_id
from rxpipe.store.reading.call_heights import CallHeights
from rxpipe.store.schema.tables import CALLS, ITEMS, RUNS

_MOST_READ = 25_000  # calls; a page should not wait for more
_LATE = 86_400.0  # most seconds from a call's beginning to its commit
_EARLY = 1.0  # seconds by which clocks differ


def timeline(
    connection: Connection,
    run_id: int,
    stages: Sequence[str],
    *,
    since: float,
    seconds: float,
    most: int,
    parts: int,
) -> Timeline:
    """Returns the calls that ran in a part of a run.

    Args:
        connection: In a transaction that reads.
        run_id: The run's number.
        stages: The names of the run's stages.
        since: The beginning of the part, in seconds from the beginning of the run.
        seconds: The length of the part in seconds.
        most: Most bars to return: those of the longest calls.
        parts: How many means each of the heights has.
    """
    began = connection.execute(select(RUNS.c.created_at).where(RUNS.c.id == run_id)).scalar()
    if began is None:
        return Timeline()
    first, last = began + since, began + since + seconds
    calls = connection.execute(select(func.sum(CALLS.c["count"])).where(*_ran(run_id, first, last))).scalar() or 0
    is_read = calls <= _MOST_READ
    query = select(CALLS).where(*_ran(run_id, first, last)) if is_read else _some(run_id, first, last, int(calls))
    found: list[KeptCall] = []
    for row in connection.execute(query.order_by(CALLS.c.at, CALLS.c.worker, CALLS.c.number)):
        found += (one for one in calls_of(row) if one.began <= last and one.began + one.seconds >= first)
    heights = _heights(found, stages, first, seconds, parts) if is_read else None
    drawn = sorted(found, key=lambda call: call.seconds, reverse=True)[:most]
    drawn.sort(key=lambda call: (call.began, call.item))
    return Timeline(
        bars=_bars(connection, run_id, stages, began, drawn),
        calls=len(found) if is_read else int(calls),
        heights=heights,
    )


def _ran(run_id: int, first: float, last: float) -> tuple[ColumnElement[bool], ...]:
    """Returns the conditions for groups with calls in a time."""
    of_run, at = CALLS.c.run_id == run_id, CALLS.c.at
    return of_run, at >= first - _EARLY, at <= last + _LATE, CALLS.c.to_at >= first, CALLS.c.from_at <= last


def _some(run_id: int, first: float, last: float, calls: int) -> Select[Any]:
    """Returns a query for some of these groups, evenly spread, with no more calls than can be read."""
    order = func.row_number().over(order_by=(CALLS.c.at, CALLS.c.worker, CALLS.c.number))
    columns = CALLS.c.worker, CALLS.c.number, order.label("place")
    groups = select(*columns).where(*_ran(run_id, first, last)).subquery()
    key = (CALLS.c.worker == groups.c.worker) & (CALLS.c.number == groups.c.number)
    wanted = (groups.c.place - 1) % (calls // _MOST_READ + 1) == 0
    return cast("Select[Any]", select(CALLS).join(groups, key).where(CALLS.c.run_id == run_id, wanted))


def _heights(
    found: Sequence[KeptCall], stages: Sequence[str], first: float, seconds: float, parts: int
) -> tuple[Heights, ...]:
    running, failed = ([CallHeights(first, seconds, parts) for _ in stages] for _ in range(2))
    for call in found:
        if call.stage >= len(stages):
            continue
        running[call.stage].add(call.began, call.seconds)
        if call.ended != "ok":
            failed[call.stage].add(call.began, call.seconds)
    return tuple(
        Heights(stage=name, running=all_of_it.means(), failed=of_failed.means())
        for name, all_of_it, of_failed in zip(stages, running, failed, strict=True)
    )


def _bars(
    connection: Connection, run_id: int, stages: Sequence[str], began: float, calls: Sequence[KeptCall]
) -> tuple[Bar, ...]:
    integers = _integers(connection, run_id, {call.item for call in calls})
    return tuple(
        Bar(
            item=item_id(call.item, call.item in integers),
            stage=stages[call.stage] if call.stage < len(stages) else str(call.stage),
            began=call.began - began,
            seconds=call.seconds,
            ended=call.ended,
        )
        for call in calls
    )


def _integers(connection: Connection, run_id: int, keys: set[str]) -> set[str]:
    """Returns the keys whose IDs the source gave as whole numbers."""
    query = select(ITEMS.c.item_key).where(ITEMS.c.run_id == run_id, ITEMS.c.is_integer)
    query = query.where(is_in_keys(connection.dialect.name, ITEMS.c.item_key))
    return set(connection.execute(query, {PARAMETER: keys_as_parameter(sorted(keys))}).scalars())
