"""What a run store knows of a file: how long it is, and which pipeline writes into it.

A commit of the store appends to the file, and keeps the new length in a small table, ``rxpipe_files``, in the same
transaction. So a file that is longer than that, after a kill, has bytes of an append that was never committed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    MetaData,
    Table,
    Text,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import DBAPIError

from rxpipe.database.engine import file_of
from rxpipe.database.table_owner import Owner
from rxpipe.identity import Identity

FILES = Table(
    "rxpipe_files",
    MetaData(),
    Column("path", Text(), primary_key=True),  # see path_in
    Column("pipeline", Text(), nullable=False),
    Column("origin", Text(), nullable=False),  # see Identity
    Column("stages", Text(), nullable=False),
    Column("length", BigInteger(), nullable=False),  # bytes that are committed
    Column("is_open", Boolean(), nullable=False),  # whether a worker writes into it, or died before it said otherwise
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """What a store knows of a file.

    Attributes:
        owner: The pipeline that writes into it.
        length: How many of its bytes are committed.
        is_open: Whether its last writer has not closed it.
    """

    owner: Owner
    length: int
    is_open: bool


def path_in(engine: Engine, path: str) -> str:
    """What a store knows a file by: its path from the store's own folder, so that both can be moved together.

    For a store on a server, that is the whole path.
    """
    whole, store = os.path.realpath(path), file_of(engine.url)
    if store is None:
        return whole
    try:
        return os.path.relpath(whole, os.path.dirname(os.path.realpath(store)))
    except ValueError:  # on another drive
        return whole


def make_files(engine: Engine) -> None:
    """Create the table, unless it is there."""
    try:
        FILES.create(engine)
    except DBAPIError:
        with engine.connect() as connection:
            if not inspect(connection).has_table(FILES.name):  # else another process was quicker
                raise


def known_file(connection: Connection, path: str) -> KnownFile | None:
    """What is known of a file; it stays like that until the transaction ends."""
    row = connection.execute(select(FILES).where(FILES.c.path == path).with_for_update()).first()
    if row is None:
        return None
    owner = Owner(row.pipeline, row.origin, row.stages)
    return KnownFile(owner=owner, length=row.length, is_open=row.is_open)


def take_file(connection: Connection, path: str, pipeline: Identity, length: int, known: KnownFile | None) -> None:
    """Keep that a pipeline writes into a file from now on."""
    values = {**Owner.of(pipeline)._asdict(), "length": length, "is_open": True}
    if known is None:
        connection.execute(insert(FILES).values(path=path, **values))
    else:
        connection.execute(update(FILES).where(FILES.c.path == path).values(values))


def keep_length(connection: Connection, path: str, length: int, *, is_open: bool = True) -> None:
    """Keep how long a file is."""
    connection.execute(update(FILES).where(FILES.c.path == path).values(length=length, is_open=is_open))
