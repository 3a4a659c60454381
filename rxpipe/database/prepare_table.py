"""Makes the table, or checks that it takes rows, before the first row is written."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, Table, false, inspect, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from rxpipe.database.encoding import one_line
from rxpipe.database.engine import commits_by_itself, shown
from rxpipe.database.table import mismatches
from rxpipe.database.table_owner import Owner, has_owners, owner_of
from rxpipe.database.table_rights import tables_of_owner
from rxpipe.errors import SinkError


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Facts about a database that writing needs.

    Attributes:
        portable: True to do without the dialect's own upsert.
        largest: Most bytes of a row; None if the server itself reports rows that are too large.
        has_owners: True if the database has the table of owners.
        stale: The owner of a former table of this name, which is gone.
    """

    portable: bool
    largest: int | None
    has_owners: bool
    stale: Owner | None


def prepare(engine: Engine, table: Table, *, is_default: bool) -> Prepared:
    """Create the table if it does not exist, and check it if it does.

    Raises:
        SinkError: The table does not take the rows.
        Exception: The database cannot be opened, or the table cannot be created.
    """
    # Types that SQL cannot express fail here, before a file is created.
    CreateTable(table).compile(engine)
    with engine.connect() as connection:
        if commits_by_itself(connection):
            raise SinkError(f"{shown(engine)}: its engine is in autocommit mode, and batches need transactions")
        is_there, is_owned = _exists(connection, table), has_owners(connection)
        stale = owner_of(connection, table.fullname) if is_owned and not is_there else None
    is_new = not is_there and _create(engine, table)
    is_portable, largest = False, None
    with engine.connect() as connection:
        if not is_new:
            _check(connection, table, is_default=is_default)
        if engine.dialect.name in ("mysql", "mariadb"):
            # MySQL's upsert goes by every unique key, and would overwrite another item's row.
            indexes = inspect(connection).get_indexes(table.name, schema=table.schema)
            is_portable, largest = any(index["unique"] for index in indexes), _largest_row(connection)
    return Prepared(portable=is_portable, largest=largest, has_owners=is_owned, stale=stale)


def _exists(connection: Connection, table: Table) -> bool:
    return inspect(connection).has_table(table.name, schema=table.schema)


def _create(engine: Engine, table: Table) -> bool:
    """Create the table. Returns False if another process was quicker."""
    try:
        with tables_of_owner():
            table.create(engine, checkfirst=False)
    except (DBAPIError, SinkError):
        with engine.connect() as connection:
            if not _exists(connection, table):
                raise
        return False
    return True


def _check(connection: Connection, table: Table, *, is_default: bool) -> None:
    reasons = mismatches(connection, table) if is_default else _unreadable(connection, table)
    if reasons:
        raise SinkError(f"the table {table.fullname} of {shown(connection.engine)} does not fit: {'; '.join(reasons)}")


def _unreadable(connection: Connection, table: Table) -> list[str]:
    """Returns the database's errors when all columns of a user's table are read."""
    try:
        connection.execute(select(table).where(false())).close()
    except DBAPIError as error:
        return [one_line(error.orig or error)]
    return []


def _largest_row(connection: Connection) -> int:
    """Returns how many bytes of text fit into MySQL's longest statement.

    The server answers a longer statement by closing the connection. The batch would then be written again, forever.
    """
    packet = int(connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one())
    return packet - 16_384  # the rest is for the statement around the values
