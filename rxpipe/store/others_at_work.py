"""Checks and warnings when a store is opened: other processes at work, and changes since the last run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, Row, select

from rxpipe.store.items.lease import at_work
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.migrations import schema_version
from rxpipe.store.schema.tables import WORKERS

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def tell_edited(names: Sequence[str]) -> None:
    """Warn of stages whose code has changed, though their results stay."""
    if names:
        one = len(names) == 1
        stages, them = ("stage", "the stage") if one else ("stages", "the stages")
        _log.warning(
            f"the code of {stages} {' and '.join(names)} has changed. After a mend that is fine: what is left is done "
            f"by the new code, and results of the old code are kept. To have those made again, give {them} another "
            "version and use --resume (in a script RunStore(resume=True), for one run)"
        )


def tell_missing(run_id: int, place: str, missing: int, found_by: str) -> None:
    """Warn of rows that somebody has deleted."""
    if missing:
        _log.warning(
            "rows of items that were written are missing",
            run=run_id,
            place=place,
            missing=missing,
            hint=f"rxpipe requeue {run_id} --rows {found_by} has the next run write the rows again, without a call",
        )


def holder(connection: Connection) -> str:
    """Returns the process that has an SQLite file, as far as its store tells."""
    if not schema_version(connection):
        return "another process"
    query = select(WORKERS).where(WORKERS.c.ended_at.is_(None))
    row = connection.execute(query.order_by(WORKERS.c.heartbeat_at.desc()).limit(1)).first()
    return "another process" if row is None else _named(row)


def refuse_others(database: Database, connection: Connection) -> None:
    """Raise if another process is at work in an SQLite file, though the file's lock was free.

    Raises:
        StoreError: Another process is at work.
    """
    if database.is_sqlite and (others := at_work(connection)):
        raise database.in_use_by(_named(others[-1]))


def _named(worker: Row[Any]) -> str:
    return f"process {worker.pid} on {worker.host}"
