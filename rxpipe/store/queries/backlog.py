"""Counts the unfinished items of a run, for those who watch it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from rxpipe.store.reading.item_order import is_in_state
from rxpipe.store.schema.tables import ITEMS, TALLIES, db_now


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Unfinished items and dead letters of a run, over all workers.

    Attributes:
        ready: Items that wait for a worker.
        running: Items that a worker has.
        waiting: Items that wait for their children.
        dead_letters: Items that failed for good.
        lag: Seconds that the oldest ready item has waited; 0 if no item is ready.
    """

    ready: int
    running: int
    waiting: int
    dead_letters: int = 0
    lag: float = 0.0


def backlog_of(connection: Connection, run: int) -> Backlog:
    """Returns the backlog of a run. Reads along indexes, so items that have ended cost nothing."""
    running, waiting = (pending_counts(connection, state, run).get(run, 0) for state in ("running", "waiting"))
    since = db_now() - func.min(ITEMS.c.ready_at)
    query = select(func.count(), since).where(is_in_state("ready"), ITEMS.c.run_id == run)
    ready, lag = connection.execute(query.with_hint(ITEMS, "INDEXED BY rxpipe_items_ready", "sqlite")).one()
    failed = connection.execute(select(func.sum(TALLIES.c.failed)).where(TALLIES.c.run_id == run)).scalar()
    return Backlog(
        ready=ready, running=running, waiting=waiting, dead_letters=int(failed or 0), lag=max(0.0, lag or 0.0)
    )


def pending_counts(connection: Connection, state: str, run: int | None = None) -> dict[int, int]:
    """Returns how many items of each run, or of one run, are in a state in which items have not ended."""
    which = [is_in_state(state)] if run is None else [is_in_state(state), ITEMS.c.run_id == run]
    query = select(ITEMS.c.run_id, func.count().label("items")).where(*which).group_by(ITEMS.c.run_id)
    query = query.with_hint(ITEMS, f"INDEXED BY rxpipe_items_{state}", "sqlite")
    return {row.run_id: row.items for row in connection.execute(query)}
