"""The tables of the run store.

An item is an ID of a run, or a child that a stage has made of an item. Its row has its worker and its state. The result
of each stage is a row of ``rxpipe_checkpoints``. The value of a record is kept there, too, with the stage -1. Times are
seconds since 1970 by the database's clock, so that all workers of a run use the same clock.

``rxpipe_calls``, ``rxpipe_tallies``, ``rxpipe_errors``, ``rxpipe_snapshots`` and ``rxpipe_exchanges`` are for those who
look at runs. No run depends on them.
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
    Column("generation", Integer(), nullable=False),  # the highest one of a name is continued
    Column("stages", Text(), nullable=False),
    Column("created_at", SECONDS, nullable=False),
    Column("finished_at", SECONDS),
    Column("origin", Text()),  # of the name, see Identity; null: a version began the run that did not name pipelines
    Column("written", BigInteger()),  # items; kept only for runs with ``until``
    UniqueConstraint("name", "generation"),  # if two processes begin a run at once, the second joins the first
    sqlite_autoincrement=True,  # the number of a pruned run is never used again
)

WORKERS = Table(
    "rxpipe_workers",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("run_id", Integer(), nullable=False),
    Column("host", String(KEY_LENGTH), nullable=False),
    Column("pid", Integer(), nullable=False),
    Column("process", Text()),  # identifies a process on its machine; see process_identity.py
    Column("lease", SECONDS, nullable=False),
    Column("started_at", SECONDS, nullable=False),
    Column("heartbeat_at", SECONDS, nullable=False),
    Column("ended_at", SECONDS),
    Column("ended_as", String(16)),  # stopped: by itself; lost: its lease ran out
    Column("asked", String(16)),  # what another process asks for: stop, abort, or upgrade
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
    Column("owner", String(32)),  # the worker that has the item, or finished it
    Column("attempts", Integer(), nullable=False),  # calls made
    Column("failures", Integer(), nullable=False),  # failed calls
    Column("crashes", Integer(), nullable=False),  # workers that were lost while they had the item
    Column("last_error", Text()),  # or the reason of its drop
    # Texts without a length: otherwise PostgreSQL takes rows for wider and fewer than they are, and plans to read them
    # all.
    Column("parent_key", Text()),
    Column("root_key", Text()),  # the key of the topmost parent
    Column("number", BigInteger()),  # the item's number among its parent's children
    Column("depth", Integer(), nullable=False, server_default="0"),  # number of parents above the item
    Column("made_by", Integer()),  # the stage that made the item of its parent
    # Number of the item's own children that are kept.
    Column("children", BigInteger(), nullable=False, server_default="0"),
    Column("collected_by", Integer()),  # the stage that waits for the item's children, once all are made
    Column("rounds", Integer(), nullable=False, server_default="0"),  # how often the item was sent back
    # The feedback for the stage that the item was sent back to, until that stage has returned.
    Column("feedback", Text()),
    # When a worker took the item; null: taken by an earlier version, or not taken since it was ready.
    Column("taken_at", SECONDS),
    Column("ended_at", SECONDS),  # null until the item has ended
    Column("seconds", SECONDS),  # from taking to end
    Column("ready_at", SECONDS),  # since when the item waits for a worker, or last waited; null: it never waited
)
PENDING = ("ready", "running", "waiting")
"""States of unfinished items: an item waits for a worker, is in a worker's hands, or waits for its children."""

ENDED = ("written", "failed", "dropped", "expanded", "collected")

IS_READY = ITEMS.c.state == literal_column("'ready'")  # literals: partial indexes are not used for parameters
IS_RUNNING = ITEMS.c.state == literal_column("'running'")
IS_QUARANTINED = ITEMS.c.crashes > literal_column("1")  # a single crash may have come from outside
_WAIT_IN_QUARANTINE = and_(IS_READY, IS_QUARANTINED)
Index(
    "rxpipe_items_quarantined",
    ITEMS.c.run_id,
    ITEMS.c.crashes,
    postgresql_where=_WAIT_IN_QUARANTINE,
    sqlite_where=_WAIT_IN_QUARANTINE,
)
Index(  # the time comes last, for those who ask how many items wait, and for how long
    "rxpipe_items_ready",
    *(ITEMS.c.run_id, ITEMS.c.seq, ITEMS.c.ready_at),
    postgresql_where=IS_READY,
    sqlite_where=IS_READY,
)
_IS_CHILD = ITEMS.c.parent_key.is_not(None)
# Includes the state: every commit that ends children asks if any of a million children has not ended.
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

# For those who look at runs. Each item enters this index once, when it ends.
HAS_ENDED = ITEMS.c.ended_at.is_not(None)
Index(
    "rxpipe_items_ended",
    *(ITEMS.c.run_id, ITEMS.c.ended_at, ITEMS.c.item_key),
    postgresql_where=HAS_ENDED,
    sqlite_where=HAS_ENDED,
)
HAS_FAILED = and_(  # SQLite finds one of the two states in a query, but not a part of a list
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
    Column("id", String(32), primary_key=True),  # made where the call failed, so that a repeated commit leaves one row
    Column("run_id", Integer(), nullable=False),
    Column("item_key", String(KEY_LENGTH), nullable=False),
    Column("stage", Text(), nullable=False),
    Column("attempt", Integer(), nullable=False),
    Column("final", Boolean(), nullable=False),  # true if the failure made the item a dead letter
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
    Column("id", String(32), primary_key=True),  # made where the usage arose, so that a repeated commit leaves one row
    Column("run_id", Integer(), nullable=False),
    Column("item_key", String(KEY_LENGTH), nullable=False),
    Column("stage", Text(), nullable=False),
    Column("attempt", Integer(), nullable=False),
    Column("prompt_tokens", BigInteger(), nullable=False),
    Column("completion_tokens", BigInteger(), nullable=False),
    Column("cost", MONEY, nullable=False),
    Column("worker", String(32), nullable=False),
    Column("at", SECONDS, nullable=False),
    # True for the usage of an earlier call whose result was used again. No call of this run has that usage.
    Column("saved", Boolean(), nullable=False, server_default=false()),
)
Index("rxpipe_usage_of_run", USAGE.c.run_id, USAGE.c.item_key)

CACHE = Table(
    "rxpipe_cache",  # belongs to no run: results that any run may use again
    METADATA,
    Column("signature", String(64), primary_key=True),  # StageSignature.result_key
    Column("input_hash", String(64), primary_key=True),  # see input_hash.py
    Column("call", Text(), nullable=False),  # for people
    Column("version", Text()),
    Column("output", Text(), nullable=False),  # see outputs.py
    Column("pickled", Text()),
    Column("prompt_tokens", BigInteger(), nullable=False),  # of the call, with its retries
    Column("completion_tokens", BigInteger(), nullable=False),
    Column("cost", MONEY, nullable=False),
    Column("at", SECONDS, nullable=False),
)

CALLS = Table(
    "rxpipe_calls",  # the calls of each commit in one row; see commits/call_groups.py
    METADATA,
    Column("run_id", Integer(), primary_key=True),
    Column("worker", String(32), primary_key=True),
    Column("number", BigInteger(), primary_key=True),  # number of the first call among the worker's calls
    Column("at", SECONDS, nullable=False),  # when the calls were committed, like the checkpoints with them
    Column("from_at", SECONDS, nullable=False),  # start of the first call
    Column("to_at", SECONDS, nullable=False),  # end of the last call
    Column("count", Integer(), nullable=False),
    Column("calls", Text(), nullable=False),
)
Index("rxpipe_calls_at", CALLS.c.run_id, CALLS.c.at)

TALLIES = Table(
    "rxpipe_tallies",  # sums over other tables, which would take long to add up
    METADATA,
    Column("run_id", Integer(), primary_key=True),
    # Each worker adds to its own row, so that no worker waits for another.
    Column("worker", String(32), primary_key=True),
    *(Column(state, BigInteger(), nullable=False) for state in ENDED),  # items
    Column("prompt_tokens", BigInteger(), nullable=False),
    Column("completion_tokens", BigInteger(), nullable=False),
    Column("cost", MONEY, nullable=False),
)

ERRORS = Table(
    "rxpipe_errors",  # sums of failures, by kind
    METADATA,
    Column("run_id", Integer(), primary_key=True),
    Column("worker", String(32), primary_key=True),
    Column("kind", String(64), primary_key=True),  # a hash of stage, type, and the text without its numbers
    Column("stage", Text(), nullable=False),
    Column("type", Text(), nullable=False),
    Column("text", Text(), nullable=False),  # of the latest failure
    Column("items", BigInteger(), nullable=False),
    Column("calls", BigInteger(), nullable=False),
    Column("last_at", SECONDS, nullable=False),
)

SNAPSHOTS = Table(
    "rxpipe_snapshots",  # snapshots of workers; see items/snapshot_log.py
    METADATA,
    Column("run_id", Integer(), primary_key=True),
    Column("worker", String(32), primary_key=True),
    Column("number", BigInteger(), primary_key=True),
    Column("at", SECONDS, nullable=False),
    Column("snapshot", Text(), nullable=False),
)

EXCHANGES = Table(
    "rxpipe_exchanges",  # prompts and replies of language models
    METADATA,
    # Made where the exchange took place, so that a repeated commit leaves one row.
    Column("id", String(32), primary_key=True),
    Column("run_id", Integer(), nullable=False),
    Column("item_key", String(KEY_LENGTH), nullable=False),
    Column("stage", Text(), nullable=False),
    Column("attempt", Integer(), nullable=False),
    Column("place", Integer(), nullable=False),  # place among the exchanges of the call
    Column("model", Text(), nullable=False),
    Column("messages", Text(), nullable=False),
    Column("reply", Text()),  # null: there was no reply
    Column("at", SECONDS, nullable=False),
)
Index("rxpipe_exchanges_of_run", EXCHANGES.c.run_id, EXCHANGES.c.item_key)

OF_LOOKERS = (CALLS, TALLIES, ERRORS, SNAPSHOTS, EXCHANGES)
"""Tables that no run depends on."""


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
