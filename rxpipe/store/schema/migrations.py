"""How a new store is made, and how an older one becomes one of today."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, inspect, select, update

from rxpipe.errors import StoreError
from rxpipe.store.schema.tables import ITEMS, METADATA, USAGE, VERSION


def _add_usage(connection: Connection) -> None:
    METADATA.create_all(connection, [USAGE], checkfirst=False)


def _add_origin(connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE rxpipe_runs ADD COLUMN origin TEXT")


def _say_written_and_failed(connection: Connection) -> None:
    """Call how items end by the names that they have everywhere."""
    connection.exec_driver_sql(
        "UPDATE rxpipe_items SET state = CASE state WHEN 'done' THEN 'written' ELSE 'failed' END "
        "WHERE state IN ('done', 'dead')"
    )
    connection.exec_driver_sql("DROP INDEX rxpipe_items_suspect")
    next(one for one in ITEMS.indexes if one.name == "rxpipe_items_quarantined").create(connection)


# The first makes a store of version 2 of one of version 1, and so on; none is ever changed once released.
MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_add_usage, _add_origin, _say_written_and_failed)

_ADVISORY_LOCK = 7_275_637_263  # any number that others do not take


def migrate(connection: Connection) -> None:
    """Bring the store of a database up to date, in the transaction that the connection is in.

    Raises:
        StoreError: It was made by a newer rxpipe.
    """
    if connection.dialect.name == "postgresql":  # SQLite's transaction is exclusive anyway
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
    found, newest = schema_version(connection), newest_version()
    if found > newest:
        raise StoreError(
            f"its run store has schema {found}, and this rxpipe knows {newest} at most: "
            "it was made by a newer rxpipe; upgrade this one"
        )
    if found == 0:
        METADATA.create_all(connection, checkfirst=False)
        connection.execute(VERSION.insert().values(version=newest))
    elif found < newest:
        for migration in MIGRATIONS[found - 1 :]:
            migration(connection)
        connection.execute(update(VERSION).values(version=newest))


def newest_version() -> int:
    """The version of a store that is made today."""
    return 1 + len(MIGRATIONS)


def schema_version(connection: Connection) -> int:
    """The version of a database's store; 0 if it has none."""
    if not inspect(connection).has_table(VERSION.name):
        return 0
    return int(connection.execute(select(VERSION.c.version)).scalar_one())
