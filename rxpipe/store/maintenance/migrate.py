"""Makes a store's tables, or brings them up to date, without a run. Meant for the owner of the tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from sqlalchemy import URL

from rxpipe.store.older_workers import bring_up_to_date
from rxpipe.store.others_at_work import holder
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.migrations import newest_version, schema_version
from rxpipe.store.schema.tables import METADATA


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    """The result of a migration.

    Attributes:
        before: The version of the schema before; 0 if there was no store.
        schema: The version now.
        tables: How many tables the store has.
    """

    before: int
    schema: int
    tables: int


def migrate_store(database: str | URL) -> Migrated:
    """Make the tables of a store, or bring those of an earlier rxpipe up to date. Begins no run.

    Asks workers of an earlier rxpipe to end first, and waits for them.

    Args:
        database: SQLite (a file) or PostgreSQL, as an SQLAlchemy URL.

    Raises:
        StoreError: A newer rxpipe made the store, or its workers do not end, or another process has the SQLite file.
        SinkError: The database cannot be opened, or the role may not make or change its tables.
        ConfigError: The database cannot hold a store.
    """
    store = Database(database)
    try:
        before = store.first(schema_version)
        store.lock(holder)
        store.first(partial(bring_up_to_date, store))
        return Migrated(before=before, schema=newest_version(), tables=len(METADATA.tables))
    finally:
        store.close()
