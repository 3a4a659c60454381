"""The tables of the run store.

An item is one ID of a run. Its row says who has it and how far it is; what each stage made of it is a row of
``rxpipe_checkpoints``, which is never changed. Times are seconds since 1970 by the database's clock, so that all
workers of a run go by the same one.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    literal_column,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from rxpipe.database.table import KEY_LENGTH

METADATA = MetaData()
SECONDS: TypeEngine[float] = Double()
MONEY: TypeEngine[float] = Double()

VERSION = Table("rxpipe_schema", METADATA, Column("version", Integer(), primary_key=True))

RUNS = Table(
    "rxpipe_runs",
    METADATA,
    Column("id", Integer(), primary_key=True),
    Column("name", String(KEY_LENGTH), nullable=False),
    Column("generation", Integer(), nullable=False),  # the highest of a name is the run that is continued
    Column("stages", Text(), nullable=False),
    Column("created_at", SECONDS, nullable=False),
    Column("finished_at", SECONDS),
    Column("origin", Text()),  # of its name, see Identity; null: begun by a version that knew no names of pipelines
    UniqueConstraint("name", "generation"),  # of two processes that begin one at once, the second joins the first
    sqlite_autoincrement=True,  # the number of a run that was pruned is not given again
)

WORKERS = Table(
    "rxpipe_workers",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("run_id", Integer(), nullable=False),
    Column("host", String(KEY_LENGTH), nullable=False),
    Column("pid", Integer(), nullable=False),
    Column("process", Text()),  # tells whether a process of this machine is the same one; see process.py
    Column("lease", SECONDS, nullable=False),
    Column("started_at", SECONDS, nullable=False),
    Column("heartbeat_at", SECONDS, nullable=False),
    Column("ended_at", SECONDS),
    Column("ended_as", String(16)),  # stopped: by itself; lost: its lease ran out
)

ITEMS = Table(
    "rxpipe_items",
    METADATA,
    Column("run_id", Integer(), primary_key=True),
    Column("item_key", String(KEY_LENGTH), primary_key=True),
    Column("is_integer", Boolean(), nullable=False),
    Column("seq", BigInteger(), nullable=False),  # the order in which items are taken
    Column("state", String(8), nullable=False),  # ready, running, written or failed
    Column("stage", Integer(), nullable=False),  # how many stages have a checkpoint
    Column("fence", Integer(), nullable=False),  # rises whenever the item changes hands, and never falls
    Column("owner", String(32)),  # the worker that has it, or finished it
    Column("attempts", Integer(), nullable=False),  # calls made
    Column("failures", Integer(), nullable=False),  # of them failed
    Column("crashes", Integer(), nullable=False),  # workers that were lost while they had it
    Column("last_error", Text()),
)
IS_READY = ITEMS.c.state == literal_column("'ready'")  # literals: a partial index is not used for a parameter
IS_RUNNING = ITEMS.c.state == literal_column("'running'")
IS_QUARANTINED = ITEMS.c.crashes > literal_column("1")  # one crash may have come from outside
_WAIT_IN_QUARANTINE = and_(IS_READY, IS_QUARANTINED)
Index(
    "rxpipe_items_quarantined",
    ITEMS.c.run_id,
    ITEMS.c.crashes,
    postgresql_where=_WAIT_IN_QUARANTINE,
    sqlite_where=_WAIT_IN_QUARANTINE,
)
Index("rxpipe_items_ready", ITEMS.c.run_id, ITEMS.c.seq, postgresql_where=IS_READY, sqlite_where=IS_READY)
Index("rxpipe_items_running", ITEMS.c.run_id, ITEMS.c.owner, postgresql_where=IS_RUNNING, sqlite_where=IS_RUNNING)

CHECKPOINTS = Table(
    "rxpipe_checkpoints",
    METADATA,
    Column("run_id", Integer(), primary_key=True),
    Column("item_key", String(KEY_LENGTH), primary_key=True),
    Column("stage", Integer(), primary_key=True),
    Column("fence", Integer(), nullable=False),
    Column("output", Text(), nullable=False),  # see outputs.py
    Column("pickled", Text()),
    Column("at", SECONDS, nullable=False),
)

IS_NEWEST_CHECKPOINT = and_(
    CHECKPOINTS.c.run_id == ITEMS.c.run_id,
    CHECKPOINTS.c.item_key == ITEMS.c.item_key,
    CHECKPOINTS.c.stage == ITEMS.c.stage - 1,
)

FAILURES = Table(
    "rxpipe_failures",
    METADATA,
    Column("id", String(32), primary_key=True),  # made where it failed, so that telling it twice leaves one row
    Column("run_id", Integer(), nullable=False),
    Column("item_key", String(KEY_LENGTH), nullable=False),
    Column("stage", Text(), nullable=False),
    Column("attempt", Integer(), nullable=False),
    Column("final", Boolean(), nullable=False),  # whether it made the item a dead letter
    Column("type", Text(), nullable=False),
    Column("text", Text(), nullable=False),
    Column("traceback", Text(), nullable=False),
    Column("input", Text()),
    Column("worker", String(32)),
    Column("at", SECONDS, nullable=False),
)
Index("rxpipe_failures_of_run", FAILURES.c.run_id, FAILURES.c.item_key)

USAGE = Table(
    "rxpipe_usage",
    METADATA,
    Column("id", String(32), primary_key=True),  # made where it was used, so that telling it twice leaves one row
    Column("run_id", Integer(), nullable=False),
    Column("item_key", String(KEY_LENGTH), nullable=False),
    Column("stage", Text(), nullable=False),
    Column("attempt", Integer(), nullable=False),
    Column("prompt_tokens", BigInteger(), nullable=False),
    Column("completion_tokens", BigInteger(), nullable=False),
    Column("cost", MONEY, nullable=False),
    Column("worker", String(32), nullable=False),
    Column("at", SECONDS, nullable=False),
)
Index("rxpipe_usage_of_run", USAGE.c.run_id, USAGE.c.item_key)


class db_now(FunctionElement[float]):
    """The database's clock, in seconds since 1970."""

    type = SECONDS
    inherit_cache = True


@compiles(db_now, "postgresql")
def _postgresql_now(element: Any, compiler: Any, **options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


@compiles(db_now, "sqlite")
def _sqlite_now(element: Any, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"
