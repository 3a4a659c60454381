"""Lets workers of an older rxpipe finish and end before a newer rxpipe changes the store's schema."""

from __future__ import annotations

import time

import structlog
from sqlalchemy import Connection, not_, select, update

from rxpipe.errors import StoreError
from rxpipe.store.items.lease import HAS_EXPIRED, UPGRADE
from rxpipe.store.items.process_identity import is_gone
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.migrations import migrate, newest_version, schema_version, take_turns
from rxpipe.store.schema.tables import ITEMS, WORKERS

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

_ASKED_SINCE = 6  # the first schema whose workers read what is asked of them
_PATIENCE = 240.0  # seconds; less than a starting worker waits for the lock that this process holds meanwhile
_REST = 0.5  # seconds between two looks
_OWNS_THE_TABLES = f"SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = CAST('{ITEMS.name}' AS regclass)"


def bring_up_to_date(database: Database, connection: Connection) -> None:
    """Migrate the store, once no worker of an older version is at work in it.

    The workers are asked to end, and waited for. Any worker that starts meanwhile, of whatever version, waits for the
    end of this transaction, so none takes their place. If this process dies, the store is unchanged.

    On SQLite nobody else is at work: the file is locked.

    Args:
        database: The store's database.
        connection: In a transaction that has done nothing yet.

    Raises:
        StoreError: A newer rxpipe made the store, or workers of an older one do not end.
    """
    take_turns(connection)
    is_older = _ASKED_SINCE <= schema_version(connection) < newest_version()
    # A role that does not own the tables cannot change them, and must not stop others for nothing.
    if is_older and not database.is_sqlite and connection.exec_driver_sql(_OWNS_THE_TABLES).scalar():
        _wait_for_workers(database, connection)
    migrate(connection)


def _wait_for_workers(database: Database, connection: Connection) -> None:
    told, deadline = "", time.monotonic() + _PATIENCE
    while workers := ", ".join(_asked(database)):
        if time.monotonic() > deadline:
            raise StoreError(
                f"workers of an older rxpipe are still at work after {_PATIENCE:g} s ({workers}), so the run store was "
                "left as it is: stop them, then start this one again"
            )
        if workers != told:
            _log.warning("waiting for workers of an older rxpipe, which finish what they have", workers=workers)
            told = workers
        time.sleep(_REST)
        connection.exec_driver_sql("SELECT 1")  # keeps the server from taking this transaction for a stuck one


def _asked(database: Database) -> list[str]:
    """Ask all workers to end. Returns those that are alive."""
    # Columns that an older store has.
    columns = (WORKERS.c.id, WORKERS.c.pid, WORKERS.c.host, WORKERS.c.process, WORKERS.c.asked)
    live = select(*columns).where(WORKERS.c.ended_at.is_(None), not_(HAS_EXPIRED)).order_by(WORKERS.c.started_at)
    with database.transaction() as connection:
        workers = [row for row in connection.execute(live) if not is_gone(row.process)]
        if new := [row.id for row in workers if row.asked is None]:
            connection.execute(update(WORKERS).where(WORKERS.c.id.in_(new)).values(asked=UPGRADE))
    return [f"process {row.pid} on {row.host}" for row in workers]
