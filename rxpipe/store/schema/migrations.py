"""Makes a new store, and brings an older store up to date."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, inspect, select, update

from rxpipe.database.table_rights import tables_of_owner
from rxpipe.errors import StoreError
from rxpipe.store.commits.tallies import begin_tallies
from rxpipe.store.schema.tables import (
    CACHE,
    ENDED,
    IS_READY,
    ITEMS,
    METADATA,
    OF_LOOKERS,
    USAGE,
    VERSION,
    db_now,
)


def _add_usage(connection: Connection) -> None:
    METADATA.create_all(connection, [USAGE], checkfirst=False)


def _add_origin(connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE rxpipe_runs ADD COLUMN origin TEXT")


def _say_written_and_failed(connection: Connection) -> None:
    """Rename the states of ended items to the names used everywhere else."""
    connection.exec_driver_sql(
        "UPDATE rxpipe_items SET state = CASE state WHEN 'done' THEN 'written' ELSE 'failed' END "
        "WHERE state IN ('done', 'dead')"
    )
    connection.exec_driver_sql("DROP INDEX rxpipe_items_suspect")
    next(one for one in ITEMS.indexes if one.name == "rxpipe_items_quarantined").create(connection)


def _add_children(connection: Connection) -> None:
    """Give items parents, rounds and feedback; keep results for other runs."""
    if connection.dialect.name == "postgresql":  # SQLite has no lengths
        connection.exec_driver_sql("ALTER TABLE rxpipe_items ALTER COLUMN state TYPE VARCHAR(16)")
    for column in (
        "parent_key TEXT",
        "root_key TEXT",
        "number BIGINT",
        "depth INTEGER NOT NULL DEFAULT 0",
        "made_by INTEGER",
        "children BIGINT NOT NULL DEFAULT 0",
        "collected_by INTEGER",
        "rounds INTEGER NOT NULL DEFAULT 0",
        "feedback TEXT",
    ):
        connection.exec_driver_sql(f"ALTER TABLE rxpipe_items ADD COLUMN {column}")
    connection.exec_driver_sql("ALTER TABLE rxpipe_runs ADD COLUMN written BIGINT")
    METADATA.create_all(connection, [CACHE], checkfirst=False)
    # If _add_usage did not make it.
    if all(column["name"] != "saved" for column in inspect(connection).get_columns(USAGE.name)):
        connection.exec_driver_sql("ALTER TABLE rxpipe_usage ADD COLUMN saved BOOLEAN NOT NULL DEFAULT false")
    new = ("rxpipe_items_children", "rxpipe_items_below", "rxpipe_items_waiting")
    for index in ITEMS.indexes:
        if index.name in new:
            index.create(connection)


def _add_insight(connection: Connection) -> None:
    """Give items times; keep calls, sums, snapshots, prompts and replies.

    Nobody knows when an older item was taken. Its end is that of its last checkpoint or failure, as far as these tell.
    """
    for column in ("taken_at", "ended_at", "seconds"):
        connection.exec_driver_sql(f"ALTER TABLE rxpipe_items ADD COLUMN {column} {_SECONDS[connection.dialect.name]}")
    connection.exec_driver_sql("ALTER TABLE rxpipe_workers ADD COLUMN asked VARCHAR(16)")
    is_its = "its.run_id = rxpipe_items.run_id AND its.item_key = rxpipe_items.item_key"
    last = f"(SELECT max(at) FROM {{}} AS its WHERE {is_its})"
    begun = "(SELECT created_at FROM rxpipe_runs WHERE rxpipe_runs.id = rxpipe_items.run_id)"
    of_failed, of_others = (
        ", ".join([*(last.format(table) for table in tables), begun])
        for tables in (("rxpipe_failures", "rxpipe_checkpoints"), ("rxpipe_checkpoints", "rxpipe_failures"))
    )
    ended_at = f"CASE state WHEN 'failed' THEN coalesce({of_failed}) ELSE coalesce({of_others}) END"
    ended = ", ".join(f"'{state}'" for state in ENDED)
    connection.exec_driver_sql(f"UPDATE rxpipe_items SET ended_at = {ended_at} WHERE state IN ({ended})")
    new = ("rxpipe_items_ended", "rxpipe_items_failed", "rxpipe_items_slow")
    for index in ITEMS.indexes:
        if index.name in new:
            index.create(connection)
    METADATA.create_all(connection, OF_LOOKERS, checkfirst=False)
    begin_tallies(connection)


def _add_ready_at(connection: Connection) -> None:
    """Give items the time since when they wait for a worker. Waiting items of older stores begin now."""
    connection.exec_driver_sql(f"ALTER TABLE rxpipe_items ADD COLUMN ready_at {_SECONDS[connection.dialect.name]}")
    connection.execute(update(ITEMS).where(IS_READY).values(ready_at=db_now()))
    connection.exec_driver_sql("DROP INDEX rxpipe_items_ready")
    next(one for one in ITEMS.indexes if one.name == "rxpipe_items_ready").create(connection)


_SECONDS = {"postgresql": "DOUBLE PRECISION", "sqlite": "DOUBLE"}

# The first turns a store of version 1 into one of version 2, and so on. Released migrations never change.
MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    _add_usage,
    _add_origin,
    _say_written_and_failed,
    _add_children,
    _add_insight,
    _add_ready_at,
)

_ADVISORY_LOCK = 7_275_637_263  # any number that others do not use


def migrate(connection: Connection) -> None:
    """Bring the store of a database up to date, in the connection's transaction.

    Workers of older versions may be at work. Each of their transactions reads the version first. Transactions that have
    read it end before the store is changed. Those that read it later find the new version, and write nothing.

    Raises:
        StoreError: A newer rxpipe made the store.
        SinkError: The role may not make or change tables.
    """
    take_turns(connection)
    found, newest = schema_version(connection), newest_version()
    if found > newest:
        raise StoreError(
            f"its run store has schema {found}, and this rxpipe knows {newest} at most: "
            "it was made by a newer rxpipe; upgrade this one"
        )
    if found == 0:
        with tables_of_owner():
            METADATA.create_all(connection, checkfirst=False)
        connection.execute(VERSION.insert().values(version=newest))
    elif found < newest:
        with tables_of_owner():
            if connection.dialect.name == "postgresql":  # first, as a process that waits for it has no other lock yet
                connection.exec_driver_sql(f"LOCK TABLE {VERSION.name} IN ACCESS EXCLUSIVE MODE")
            for migration in MIGRATIONS[found - 1 :]:
                migration(connection)
        connection.execute(update(VERSION).values(version=newest))


def take_turns(connection: Connection) -> None:
    """Keep all other processes from making or migrating the store, and so from starting, until the transaction ends."""
    if connection.dialect.name == "postgresql":  # SQLite's transaction is exclusive anyway
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")


def newest_version() -> int:
    """Returns the version of a store that is made today."""
    return 1 + len(MIGRATIONS)


def schema_version(connection: Connection) -> int:
    """Returns the version of a database's store; 0 if it has none."""
    if not inspect(connection).has_table(VERSION.name):
        return 0
    return int(connection.execute(select(VERSION.c.version)).scalar_one())
