"""``RunStore``: where a run is kept, so that any process can go on with it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sqlalchemy import URL, Connection, Engine, make_url, select
from sqlalchemy.exc import ArgumentError

from rxpipe.database import DatabaseSink
from rxpipe.database.away import AWAY
from rxpipe.database.engine import shown
from rxpipe.errors import ConfigError
from rxpipe.pipeline import Sink
from rxpipe.store.claims import Claims
from rxpipe.store.commits import Commits
from rxpipe.store.database import Database
from rxpipe.store.hands import Hands
from rxpipe.store.lease import Lease, certainly_dead, not_ended, reap
from rxpipe.store.runs import Before, begin_or_continue, latest_of
from rxpipe.store.schema import WORKERS, migrate, schema_version
from rxpipe.store.session import Session
from rxpipe.store.signature import StageSignature


class RunStore:
    """Keeps what each stage made of each item, so that no finished call is ever made again.

    ::

        Pipeline(*stages, sink=DatabaseSink("postgresql://me@host/bank"), store=RunStore())

    A run goes on where it was left, whatever ended it: a later ``run`` of the same pipeline takes up the items that
    are not done, from the last stage that has returned for them, and adds the new IDs of its source. Several
    processes may work on one run in PostgreSQL. In SQLite it is one process at a time.

    It describes a store, and holds no connection; tables are made when a pipeline is first run with it.
    """

    def __init__(
        self,
        database: str | URL | Engine | None = None,
        *,
        name: str | None = None,
        fresh: bool = False,
        resume: bool = False,
        lease: float = 60.0,
        heartbeat: float = 10.0,
        max_crashes: int = 3,
    ) -> None:
        """Describe a store.

        Args:
            database: SQLite (a file) or PostgreSQL, as an SQLAlchemy URL or an engine, which stays its owner's; by
                default that of the pipeline's ``DatabaseSink``, and never another one, so that an item and its row
                are committed together.
            name: What the run is found by; the sink's table by default.
            fresh: Begin a new run, also if there is one to go on with.
            resume: Go on also if the stages have changed: the results of the first stages that are still the same
                apply, the others are called again.
            lease: Seconds after which a worker that shows no sign of life loses its items to others.
            heartbeat: Seconds between its signs of life.
            max_crashes: How many workers may die with an item before it is tried alone; from the second on it is tried
                among fewer and fewer others. If a worker dies that had it alone, it is a dead letter.

        Raises:
            ValueError: A number is out of range, or both ``fresh`` and ``resume`` were asked for.
        """
        if not 0 < heartbeat <= lease / 2:
            raise ValueError(f"heartbeat must be above 0, and at most half of the lease, not {heartbeat} of {lease}")
        if not max_crashes >= 2:
            raise ValueError(f"max_crashes must be at least 2, not {max_crashes}")
        if fresh and resume:
            raise ValueError("fresh begins a new run, resume goes on with one: give one of them")
        self.database = database
        self.name = name
        self.fresh = fresh
        self.resume = resume
        self.lease = lease
        self.heartbeat = heartbeat
        self.max_crashes = max_crashes

    def open(self, stages: Sequence[StageSignature], sink: Sink | None, *, window: float = math.inf) -> Session:
        """Begin a run or go on with one, as a worker of it; may block.

        Args:
            stages: What the checkpoints depend on.
            sink: Where the rows go.
            window: How many items the stages hold.

        Raises:
            StagesChanged: The run began with other stages.
            StoreError: Another process has the SQLite file, or a newer rxpipe made the store.
            SinkError: The database cannot be opened.
            ConfigError: It cannot hold a store.
            TypeError: The sink is no ``DatabaseSink``.
        """
        database = Database(self.database_with(sink), stuck_after=self.lease / 2)
        try:
            return self._open(database, stages, sink if isinstance(sink, DatabaseSink) else None, window)
        except BaseException:
            database.close()
            raise

    def _open(
        self, database: Database, stages: Sequence[StageSignature], sink: DatabaseSink | None, window: float
    ) -> Session:
        database.first(lambda connection: None)  # what is wrong with the database is told before what is with its lock
        database.lock(_holder)
        database.first(migrate)
        writer = None if sink is None else sink.writer_on(database.engine)
        name = self.name or (sink.table if sink is not None else "run")
        hands = Hands()

        def join(connection: Connection) -> tuple[int, Lease]:
            if latest := latest_of(connection, name):  # first, as changed stages are not adopted while it has workers
                dead = not_ended if database.is_sqlite else certainly_dead  # in SQLite nobody else can be at work
                reap(connection, latest.id, dead(connection, latest.id))
            run_id = begin_or_continue(connection, name, stages, fresh=self.fresh, resume=self.resume)
            lease = Lease(database, run_id, seconds=self.lease, heartbeat=self.heartbeat, lost=hands.lose)
            lease.register(connection)
            return run_id, lease

        run_id, lease = database.first(join)
        before = database.first(lambda connection: Before.of(connection, run_id))
        lease.start()
        return Session(
            database,
            lease,
            Claims(database.engine.dialect.name, run_id, lease, max_crashes=self.max_crashes),
            Commits(database, run_id, writer),
            hands,
            run_id=run_id,
            stages=[stage.name for stage in stages],
            before=before,
            window=window,
            max_items=(500 if sink is None else sink.max_items) * (len(stages) + 1),
            max_seconds=0.05 if sink is None else sink.max_seconds,
            retry=AWAY if sink is None else sink.retry,
        )

    def database_with(self, sink: Sink | None) -> str | URL | Engine:
        """The database of a store beside a sink.

        Raises:
            ConfigError: The sink has another one, or there is none.
            TypeError: The sink is no ``DatabaseSink``.
        """
        if sink is None:
            if self.database is None:
                raise ConfigError("store: a RunStore without a DatabaseSink needs a database of its own")
            return self.database
        if not isinstance(sink, DatabaseSink):
            raise TypeError(f"a pipeline with a store has a DatabaseSink or none, not {sink!r}")
        ours = self.database
        if ours is not None and ours is not sink.database and not _is_same(ours, sink.database):
            raise ConfigError(
                f"store: its database, {shown(ours)}, is not the sink's, {shown(sink.database)}; "
                "an item and its row are committed together, so leave the store's out"
            )
        return sink.database


def _is_same(one: str | URL | Engine, other: str | URL | Engine) -> bool:
    if isinstance(one, Engine) or isinstance(other, Engine):
        return False  # its driver may be told to connect to anywhere
    try:
        return make_url(one) == make_url(other)
    except ArgumentError:
        return False


def _holder(connection: Connection) -> str:
    if not schema_version(connection):
        return "another process"
    query = select(WORKERS.c.pid, WORKERS.c.host).where(WORKERS.c.ended_at.is_(None))
    row = connection.execute(query.order_by(WORKERS.c.heartbeat_at.desc()).limit(1)).first()
    return "another process" if row is None else f"process {row.pid} on {row.host}"
