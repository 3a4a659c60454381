"""``StoreRunsActor``: changes the runs of a store for the page."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy import URL, ColumnElement, Connection, Engine, and_, not_, select, update

from rxpipe.errors import StoreError
from rxpipe.insight.reading import ItemFilter
from rxpipe.store.items.lease import HAS_EXPIRED
from rxpipe.store.maintenance.requeue import requeue_where
from rxpipe.store.queries.existing_store import change, checked_engine
from rxpipe.store.queries.history import run as run_info
from rxpipe.store.reading.item_filters import conditions, narrowed
from rxpipe.store.schema.tables import ITEMS, WORKERS, db_now

_AGAIN = ("failed", "dropped")
_MOST_IDS = 500  # IDs in one statement

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class StoreRunsActor:
    """Changes the runs of a database; see ``RunsActor``. A context manager: leaving it closes its connections."""

    def __init__(self, database: str | URL | Engine) -> None:
        """Connect, like ``StoreRunsReader``."""
        self._engine = checked_engine(database)
        self._is_ours = self._engine is not database

    def close(self) -> None:
        """Close the connections, unless the engine belongs to the caller."""
        if self._is_ours:
            self._engine.dispose()

    def __enter__(self) -> StoreRunsActor:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def requeue(self, run: int, wanted: ItemFilter | Sequence[str]) -> int:
        """Process failed or dropped items again. Their stage results stay, and are used.

        Args:
            run: The run's number.
            wanted: A filter of items, or their IDs. Items that have neither failed nor been dropped stay as they are.

        Returns:
            How many items are requeued.

        Raises:
            StoreError: There is no such run, or a newer run has replaced it.
        """
        with change(self._engine) as connection:
            found = sum(
                requeue_where(connection, run_info(connection, run), state, condition)
                for condition in _conditions(connection, run, wanted)
                for state in _AGAIN
                if not isinstance(wanted, ItemFilter) or wanted.status in (None, state)
            )
        _log.info("items were requeued", run=run, items=found, wanted=_told(wanted))
        return found

    def stop(self, run: int, *, abort: bool = False) -> int:
        """Ask the workers of a run to stop, or to abort. Each does so at its next sign of life.

        Args:
            run: The run's number.
            abort: Cancel running calls, where that is possible.

        Returns:
            How many workers were asked.
        """
        how = "abort" if abort else "stop"
        live = and_(WORKERS.c.run_id == run, WORKERS.c.ended_at.is_(None), not_(HAS_EXPIRED))
        with change(self._engine) as connection:
            told = connection.execute(update(WORKERS).where(live).values(asked=how)).rowcount
        _log.info("a run was asked to end", run=run, how=how, workers=told)
        return told


def _conditions(connection: Connection, run: int, wanted: ItemFilter | Sequence[str]) -> list[ColumnElement[bool]]:
    if not isinstance(wanted, ItemFilter):
        ids = list(dict.fromkeys(wanted))
        return [ITEMS.c.item_key.in_(ids[first : first + _MOST_IDS]) for first in range(0, len(ids), _MOST_IDS)]
    if wanted.status not in (None, *_AGAIN):
        raise StoreError(f"items that are {wanted.status} cannot be requeued, only those that failed or were dropped")
    stages = [stage.name for stage in run_info(connection, run).stages]
    now = connection.execute(select(db_now())).scalar_one()
    return [and_(ITEMS.c.ended_at.is_not(None), *conditions(narrowed(wanted), stages, segment="ended", now=now))]


def _told(wanted: ItemFilter | Sequence[str]) -> str:
    return str(wanted) if isinstance(wanted, ItemFilter) else f"{len(wanted)} IDs"
