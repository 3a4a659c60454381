"""A run store's data about a file: its length, and the pipeline that writes it.

A commit of the store appends to the file, and keeps the new length in a small table, ``rxpipe_files``, in the same
transaction. If the file is longer after a kill, its additional bytes were never committed.
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
    Column("length", BigInteger(), nullable=False),  # committed bytes
    Column("is_open", Boolean(), nullable=False),  # true while a worker writes the file, or after it died
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """A store's data about a file.

    Attributes:
        owner: The pipeline that writes the file.
        length: Number of committed bytes.
        is_open: True if the last writer has not closed the file.
    """

    owner: Owner
    length: int
    is_open: bool


def path_in(engine: Engine, path: str) -> str:
    """Returns the name of a file in a store: its path from the store's folder, so that you can move both together.

    For a store on a server, this is the whole path.
    """
    whole, store = os.path.realpath(path), file_of(engine.url)
    if store is None:
        return whole
    try:
        return os.path.relpath(whole, os.path.dirname(os.path.realpath(store)))
    except ValueError:  # on another drive
        return whole


def make_files(engine: Engine) -> None:
    """Create the table if it does not exist."""
    try:
        FILES.create(engine)
    except DBAPIError:
        with engine.connect() as connection:
            if not inspect(connection).has_table(FILES.name):  # else another process was quicker
                raise


def known_file(connection: Connection, path: str) -> KnownFile | None:
    """Returns the data about a file, or None. They stay valid until the transaction ends."""
    row = connection.execute(select(FILES).where(FILES.c.path == path).with_for_update()).first()
    if row is None:
        return None
    owner = Owner(row.pipeline, row.origin, row.stages)
    return KnownFile(owner=owner, length=row.length, is_open=row.is_open)


def take_file(connection: Connection, path: str, pipeline: Identity, length: int, known: KnownFile | None) -> None:
    """Store that a pipeline writes a file from now on."""
    values = {**Owner.of(pipeline)._asdict(), "length": length, "is_open": True}
    if known is None:
        connection.execute(insert(FILES).values(path=path, **values))
    else:
        connection.execute(update(FILES).where(FILES.c.path == path).values(values))


def keep_length(connection: Connection, path: str, length: int, *, is_open: bool = True) -> None:
    """Store the length of a file."""
    connection.execute(update(FILES).where(FILES.c.path == path).values(length=length, is_open=is_open))
