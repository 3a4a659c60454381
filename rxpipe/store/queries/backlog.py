"""What waits in a store: for whoever watches a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from rxpipe.store.reading.item_order import is_in_state
from rxpipe.store.schema.tables import IS_READY, ITEMS, PENDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Items of a run that have not ended, of all workers.

    Attributes:
        ready: Items that wait for a worker.
        running: Items that a worker has.
        waiting: Items that wait for their children.
        ends: The keys of the first and the last item that are ready, in the order in which workers take them.
        still_ready: Which of the keys that were asked for are ready.
    """

    ready: int
    running: int
    waiting: int
    ends: frozenset[str] = frozenset()
    still_ready: frozenset[str] = frozenset()


def backlog_of(connection: Connection, run: int, asked: Sequence[str] = ()) -> Backlog:
    """What waits in a run; along indexes, so that items that have ended cost nothing.

    Args:
        connection: In a transaction.
        run: The run's number.
        asked: Keys of items that were ready before.
    """
    counts = {state: pending_counts(connection, state, run).get(run, 0) for state in PENDING}
    ready = select(ITEMS.c.item_key).where(ITEMS.c.run_id == run, IS_READY)
    ends = [
        connection.execute(ready.order_by(order).limit(1)).scalar() for order in (ITEMS.c.seq.asc(), ITEMS.c.seq.desc())
    ]
    still = connection.execute(ready.where(ITEMS.c.item_key.in_(asked))).scalars() if asked else ()
    return Backlog(**counts, ends=frozenset(key for key in ends if key is not None), still_ready=frozenset(still))


def pending_counts(connection: Connection, state: str, run: int | None = None) -> dict[int, int]:
    """How many items of each run, or of one, are in a state in which they have not ended."""
    which = [is_in_state(state)] if run is None else [is_in_state(state), ITEMS.c.run_id == run]
    query = select(ITEMS.c.run_id, func.count().label("items")).where(*which).group_by(ITEMS.c.run_id)
    query = query.with_hint(ITEMS, f"INDEXED BY rxpipe_items_{state}", "sqlite")
    return {row.run_id: row.items for row in connection.execute(query)}
