"""The tables of the run store.

An item is one ID of a run, or a child that a stage has made of one. Its row says who has it and how far it is; what
each stage made of it is a row of ``rxpipe_checkpoints``. The value of a record is kept there, too, as if stage -1 had
returned it. Times are seconds since 1970 by the database's clock, so that all workers of a run go by the same one.

``rxpipe_calls``, ``rxpipe_tallies``, ``rxpipe_errors``, ``rxpipe_snapshots`` and ``rxpipe_exchanges`` are for those who
look at runs; no run goes by them.
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
    false,
    literal_column,
    or_,
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
    Column("written", BigInteger()),  # items, kept for runs with ``until`` only
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
    Column("asked", String(16)),  # by another process: stop, abort, or upgrade
)

ITEMS = Table(
    "rxpipe_items",
    METADATA,
    Column("run_id", Integer(), primary_key=True),
    Column("item_key", String(KEY_LENGTH), primary_key=True),
    Column("is_integer", Boolean(), nullable=False),
    Column("seq", BigInteger(), nullable=False),  # the order in which items are taken
    Column("state", String(16), nullable=False),  # see PENDING and ENDED
    Column("stage", Integer(), nullable=False),  # how many stages have a checkpoint
    Column("fence", Integer(), nullable=False),  # rises whenever the item changes hands, and never falls
    Column("owner", String(32)),  # the worker that has it, or finished it
    Column("attempts", Integer(), nullable=False),  # calls made
    Column("failures", Integer(), nullable=False),  # of them failed
    Column("crashes", Integer(), nullable=False),  # workers that were lost while they had it
    Column("last_error", Text()),  # or why it was dropped
    # Texts without a length: PostgreSQL takes rows for wider otherwise, and for so few that it plans to read them all.
    Column("parent_key", Text()),
    Column("root_key", Text()),  # of the parent that has none
    Column("number", BigInteger()),  # which of its parent's children it is
    Column("depth", Integer(), nullable=False, server_default="0"),  # how many parents are above it
    Column("made_by", Integer()),  # the stage that made it of its parent
    Column("children", BigInteger(), nullable=False, server_default="0"),  # how many of its own are kept
    Column("collected_by", Integer()),  # the stage that it waits for its children before, once all are made
    Column("rounds", Integer(), nullable=False, server_default="0"),  # how often it was sent back
    Column("feedback", Text()),  # what it was sent back with, until the stage that it went back to has returned
    Column("taken_at", SECONDS),  # when a worker took it; null: by an earlier version, or nobody has since it was ready
    Column("ended_at", SECONDS),  # null while it has not
    Column("seconds", SECONDS),  # from when it was taken to its end
    Column("ready_at", SECONDS),  # since when it waits for a worker, or did; null: it never has
)
PENDING = ("ready", "running", "waiting")
"""What has not ended: waits for a worker, is in the hands of one, or waits for its children."""

ENDED = ("written", "failed", "dropped", "expanded", "collected")

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
Index(  # the time last, for those who look how many items wait, and for how long
    "rxpipe_items_ready",
    *(ITEMS.c.run_id, ITEMS.c.seq, ITEMS.c.ready_at),
    postgresql_where=IS_READY,
    sqlite_where=IS_READY,
)
_IS_CHILD = ITEMS.c.parent_key.is_not(None)
# With the state: whether any of a million children has not ended is asked with each commit that ends some.
Index(
    "rxpipe_items_children",
    *(ITEMS.c.run_id, ITEMS.c.parent_key, ITEMS.c.state),
    postgresql_where=_IS_CHILD,
    sqlite_where=_IS_CHILD,
)
_IS_BELOW = ITEMS.c.root_key.is_not(None)
Index(
    "rxpipe_items_below",
    *(ITEMS.c.run_id, ITEMS.c.root_key, ITEMS.c.state),
    postgresql_where=_IS_BELOW,
    sqlite_where=_IS_BELOW,
)
IS_WAITING = ITEMS.c.state == literal_column("'waiting'")
Index("rxpipe_items_waiting", ITEMS.c.run_id, ITEMS.c.item_key, postgresql_where=IS_WAITING, sqlite_where=IS_WAITING)
Index("rxpipe_items_running", ITEMS.c.run_id, ITEMS.c.owner, postgresql_where=IS_RUNNING, sqlite_where=IS_RUNNING)

# For those who look: of items that have ended, each is put there once, and none that has not ended.
HAS_ENDED = ITEMS.c.ended_at.is_not(None)
Index(
    "rxpipe_items_ended",
    *(ITEMS.c.run_id, ITEMS.c.ended_at, ITEMS.c.item_key),
    postgresql_where=HAS_ENDED,
    sqlite_where=HAS_ENDED,
)
HAS_FAILED = and_(  # SQLite looks for one of the two in a query, and would not for a part of a list
    HAS_ENDED, or_(ITEMS.c.state == literal_column("'failed'"), ITEMS.c.state == literal_column("'dropped'"))
)
Index(
    "rxpipe_items_failed",
    *(ITEMS.c.run_id, ITEMS.c.state, ITEMS.c.ended_at, ITEMS.c.item_key),
    postgresql_where=HAS_FAILED,
    sqlite_where=HAS_FAILED,
)
HAS_SECONDS = ITEMS.c.seconds.is_not(None)
Index(
    "rxpipe_items_slow",
    *(ITEMS.c.run_id, ITEMS.c.seconds, ITEMS.c.item_key),
    postgresql_where=HAS_SECONDS,
    sqlite_where=HAS_SECONDS,
)

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
    # By an earlier call, whose result was used again: so this is what no call used.
    Column("saved", Boolean(), nullable=False, server_default=false()),
)
Index("rxpipe_usage_of_run", USAGE.c.run_id, USAGE.c.item_key)

CACHE = Table(
    "rxpipe_cache",  # of no run: results that any run may use again
    METADATA,
    Column("signature", String(64), primary_key=True),  # StageSignature.result_key
    Column("input_hash", String(64), primary_key=True),  # see input_hash.py
    Column("call", Text(), nullable=False),  # for people
    Column("version", Text()),
    Column("output", Text(), nullable=False),  # see outputs.py
    Column("pickled", Text()),
    Column("prompt_tokens", BigInteger(), nullable=False),  # by the call, with its retries
    Column("completion_tokens", BigInteger(), nullable=False),
    Column("cost", MONEY, nullable=False),
    Column("at", SECONDS, nullable=False),
)

CALLS = Table(
    "rxpipe_calls",  # calls that were made, those of a commit in one row; see commits/call_groups.py
    METADATA,
    Column("run_id", Integer(), primary_key=True),
    Column("worker", String(32), primary_key=True),
    Column("number", BigInteger(), primary_key=True),  # of the first of them among the worker's
    Column("at", SECONDS, nullable=False),  # when they were committed, as of the checkpoints that were with them
    Column("from_at", SECONDS, nullable=False),  # when the first began
    Column("to_at", SECONDS, nullable=False),  # when the last ended
    Column("count", Integer(), nullable=False),
    Column("calls", Text(), nullable=False),
)
Index("rxpipe_calls_at", CALLS.c.run_id, CALLS.c.at)

TALLIES = Table(
    "rxpipe_tallies",  # sums of what is in other tables, which would take long to add up
    METADATA,
    Column("run_id", Integer(), primary_key=True),
    Column("worker", String(32), primary_key=True),  # each adds to its own, so that nobody waits for another one
    *(Column(state, BigInteger(), nullable=False) for state in ENDED),  # items
    Column("prompt_tokens", BigInteger(), nullable=False),
    Column("completion_tokens", BigInteger(), nullable=False),
    Column("cost", MONEY, nullable=False),
)

ERRORS = Table(
    "rxpipe_errors",  # sums of failures, by what they have in common
    METADATA,
    Column("run_id", Integer(), primary_key=True),
    Column("worker", String(32), primary_key=True),
    Column("kind", String(64), primary_key=True),  # a hash of stage, type, and the text without its numbers
    Column("stage", Text(), nullable=False),
    Column("type", Text(), nullable=False),
    Column("text", Text(), nullable=False),  # of the latest
    Column("items", BigInteger(), nullable=False),
    Column("calls", BigInteger(), nullable=False),
    Column("last_at", SECONDS, nullable=False),
)

SNAPSHOTS = Table(
    "rxpipe_snapshots",  # what workers have said of themselves; see items/snapshot_log.py
    METADATA,
    Column("run_id", Integer(), primary_key=True),
    Column("worker", String(32), primary_key=True),
    Column("number", BigInteger(), primary_key=True),
    Column("at", SECONDS, nullable=False),
    Column("snapshot", Text(), nullable=False),
)

EXCHANGES = Table(
    "rxpipe_exchanges",  # what language models were asked, and what they replied
    METADATA,
    Column("id", String(32), primary_key=True),  # made where it was, so that telling it twice leaves one row
    Column("run_id", Integer(), nullable=False),
    Column("item_key", String(KEY_LENGTH), nullable=False),
    Column("stage", Text(), nullable=False),
    Column("attempt", Integer(), nullable=False),
    Column("place", Integer(), nullable=False),  # among those of the call
    Column("model", Text(), nullable=False),
    Column("messages", Text(), nullable=False),
    Column("reply", Text()),  # null: there was none
    Column("at", SECONDS, nullable=False),
)
Index("rxpipe_exchanges_of_run", EXCHANGES.c.run_id, EXCHANGES.c.item_key)

OF_LOOKERS = (CALLS, TALLIES, ERRORS, SNAPSHOTS, EXCHANGES)
"""Tables that no run goes by."""


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
