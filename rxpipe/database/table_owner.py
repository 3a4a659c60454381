"""Keeps which pipeline writes into a table, so that no other pipeline overwrites its rows by accident.

The first pipeline that writes into a table owns it. Another pipeline is refused before it makes a call, unless it was
told to replace rows; then it owns the table. The owners are kept in a small table, ``rxpipe_tables``, beside the table
of rows. So this works with or without a run store, for the user's own tables, and in every database.
"""

from __future__ import annotations

from typing import NamedTuple

import structlog
from sqlalchemy import Column, Connection, Engine, MetaData, Table, Text, insert, inspect, select, update
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError, IntegrityError

from rxpipe.database.encoding import one_line
from rxpipe.database.engine import shown
from rxpipe.database.table import KeyText
from rxpipe.errors import OtherPipeline
from rxpipe.identity import Identity
from rxpipe.identity.identity import told
from rxpipe.identity.signature import from_text, to_text

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

_LONG = Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql", "mariadb")
OWNERS = Table(
    "rxpipe_tables",
    MetaData(),
    Column("name", KeyText(), primary_key=True),
    Column("pipeline", KeyText(), nullable=False),
    Column("origin", _LONG, nullable=False),  # see Identity
    Column("stages", _LONG, nullable=False),
)


class Owner(NamedTuple):
    """The pipeline that a table belongs to."""

    pipeline: str
    origin: str
    stages: str

    @classmethod
    def of(cls, pipeline: Identity) -> Owner:
        """Returns a pipeline as the table of owners keeps it."""
        return cls(str(pipeline.name), pipeline.origin, to_text(pipeline.stages))

    def is_other_than(self, pipeline: Identity) -> bool:
        """Returns True if the owner is another pipeline."""
        return pipeline.is_other(self.pipeline, self.origin, from_text(self.stages))


def has_owners(connection: Connection) -> bool:
    """Returns True if a database has the table of owners."""
    return inspect(connection).has_table(OWNERS.name)


def owner_of(connection: Connection, table: str) -> Owner | None:
    """Returns the pipeline that a table belongs to, from the table of owners; None if it belongs to none."""
    query = select(OWNERS.c.pipeline, OWNERS.c.origin, OWNERS.c.stages).where(OWNERS.c.name == table)
    row = connection.execute(query).first()
    return None if row is None else Owner(*row)


def make_owners(engine: Engine) -> bool:
    """Create the table of owners. Returns False if that is not allowed: then no table has an owner."""
    try:
        OWNERS.create(engine, checkfirst=False)
    except DBAPIError as error:
        with engine.connect() as connection:
            if has_owners(connection):  # another process was quicker
                return True
        _log.warning(
            "rows of other pipelines may be overwritten: which pipeline writes into a table cannot be kept",
            database=shown(engine),
            error=one_line(error.orig or error),
        )
        return False
    return True


def claim(
    connection: Connection,
    table: str,
    pipeline: Identity | None,
    *,
    replace: bool,
    by_name: bool = False,
    stale: Owner | None = None,
) -> None:
    """Give a table to a pipeline, in a database that has owners.

    Args:
        connection: In a transaction, which keeps the change.
        table: The table's name.
        pipeline: The pipeline; None for a sink at the end of a plain chain, which owns nothing.
        replace: Take the table from another pipeline.
        by_name: Treat a pipeline of the same name as the same pipeline, whatever its stages.
        stale: The owner of a former table of this name, which is gone.

    Raises:
        OtherPipeline: The table belongs to another pipeline.
    """
    owner = owner_of(connection, table)
    if owner is None and pipeline is not None:
        try:
            with connection.begin_nested():
                connection.execute(insert(OWNERS).values(name=table, **Owner.of(pipeline)._asdict()))
        except IntegrityError:
            owner = owner_of(connection, table)  # another process was quicker
    if owner is None:
        return
    is_other = pipeline is None or owner.is_other_than(pipeline)
    is_allowed = replace or owner == stale or (by_name and pipeline is not None and pipeline.name == owner.pipeline)
    if is_other and not is_allowed:
        raise OtherPipeline(_refusal(connection, table, owner, pipeline))
    # The same pipeline on another machine leaves the entry as it is.
    if pipeline is not None and (is_other or pipeline.origin in ("", owner.origin)):
        values = Owner.of(pipeline)._asdict()
        connection.execute(update(OWNERS).where(OWNERS.c.name == table).values(values))


def _refusal(connection: Connection, table: str, owner: Owner, pipeline: Identity | None) -> str:
    this = "a sink of no pipeline" if pipeline is None else str(pipeline)
    return (
        f"the table {table} of {shown(connection.engine)} has rows of {told(owner.pipeline, owner.origin)}; this is "
        f"{this}. Give it another table or database, or overwrite those rows with --replace "
        f"(DatabaseSink(replace=True)). If the two are one pipeline, give it that name: name: {owner.pipeline} in its "
        f"config, or Pipeline(name={owner.pipeline!r})"
    )
