"""Calls of a part of a run, as a timeline draws them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, tuple_

from rxpipe.database.json_rows import PARAMETER, is_in_keys, keys_as_parameter
from rxpipe.insight.reading import Bar
from rxpipe.store.commits.call_groups import KeptCall, calls_of
from rxpipe.store.queries.failures import item_id
from rxpipe.store.schema.tables import CALLS, ITEMS, RUNS

_MOST_GROUPS = 50_000  # that are looked through
_LATE = 600.0  # seconds after its end by which a call is committed: more only if the database was away
_EARLY = 1.0  # seconds by which clocks differ
_SPARE = 2  # times as many calls are looked at as are drawn, as some are of another time
_MOST_READ = 30  # groups that are read


def bars(
    connection: Connection, run_id: int, stages: Sequence[str], *, since: float, seconds: float, most: int
) -> list[Bar]:
    """Calls that ran in a part of a run; of more than ``most``, so many, evenly.

    Args:
        connection: In a transaction that reads.
        run_id: The run.
        stages: The names of its stages.
        since: The part's beginning, in seconds from the run's.
        seconds: Its length.
        most: How many bars at most.
    """
    began = connection.execute(select(RUNS.c.created_at).where(RUNS.c.id == run_id)).scalar()
    if began is None or most < 1:
        return []
    first, last = began + since, began + since + seconds
    columns = CALLS.c.worker, CALLS.c.number, CALLS.c["count"].label("calls")
    ours = CALLS.c.run_id == run_id, CALLS.c.at >= first - _EARLY, CALLS.c.at <= last + _LATE
    query = select(*columns).where(*ours, CALLS.c.to_at >= first, CALLS.c.from_at <= last)
    groups = connection.execute(query.order_by(CALLS.c.at).limit(_MOST_GROUPS)).all()
    chosen = [(group.worker, group.number) for group in groups[:: max(1, -(-len(groups) // _MOST_READ))]]
    calls = sum(group.calls for group in groups) * len(chosen) // max(1, len(groups))
    step = max(1, calls // (_SPARE * most))
    place = tuple_(CALLS.c.worker, CALLS.c.number)
    found: list[KeptCall] = []
    for row in connection.execute(select(CALLS).where(CALLS.c.run_id == run_id, place.in_(chosen))):
        found += (one for one in calls_of(row, step) if one.began <= last and one.began + one.seconds >= first)
    found.sort(key=lambda call: (call.began, call.item))
    if len(found) > most:
        found = [found[place * len(found) // most] for place in range(most)]
    integers = _integers(connection, run_id, {call.item for call in found})
    return [
        Bar(
            item=item_id(call.item, call.item in integers),
            stage=stages[call.stage] if call.stage < len(stages) else str(call.stage),
            began=call.began - began,
            seconds=call.seconds,
            ended=call.ended,
        )
        for call in found
    ]


def _integers(connection: Connection, run_id: int, keys: set[str]) -> set[str]:
    """Those of which the source gave whole numbers."""
    query = select(ITEMS.c.item_key).where(ITEMS.c.run_id == run_id, ITEMS.c.is_integer)
    query = query.where(is_in_keys(connection.dialect.name, ITEMS.c.item_key))
    return set(connection.execute(query, {PARAMETER: keys_as_parameter(sorted(keys))}).scalars())
