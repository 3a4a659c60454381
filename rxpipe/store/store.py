"""``RunStore``: where a run is kept, so that any process can go on with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import get_args

import structlog
from sqlalchemy import URL, Connection, Engine, select
from sqlalchemy.exc import DBAPIError

from rxpipe.database.encoding import one_line
from rxpipe.database.error_kinds import is_transient
from rxpipe.database.outage import AWAY
from rxpipe.errors import ConfigError
from rxpipe.identity import Identity
from rxpipe.identity.signature import StageSignature, edited
from rxpipe.insight.snapshot import Snapshot
from rxpipe.operators.core.clock import TIMER_THREAD
from rxpipe.pipeline.ports import RunPorts, Sink
from rxpipe.pipeline.run.quota import Quota
from rxpipe.store.commits.commits import Commits
from rxpipe.store.commits.row_writer import StoreSink
from rxpipe.store.commits.shared_quota import SharedQuota
from rxpipe.store.items.changed_records import ChangedRecords, OnChange
from rxpipe.store.items.claims import Claims
from rxpipe.store.items.in_flight import InFlightClaims
from rxpipe.store.items.inputs import StageOrder
from rxpipe.store.items.lease import Lease, certainly_dead, not_ended, reap
from rxpipe.store.older_workers import bring_up_to_date
from rxpipe.store.others_at_work import holder, refuse_others, tell_edited, tell_missing
from rxpipe.store.reading.actor import StoreRunsActor
from rxpipe.store.reading.reader import StoreRunsReader
from rxpipe.store.runs import Before, How, begin_or_continue, check_owner_is_idle, find, reopen, stages_of
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.keys import Keys, codec_of, escape_what_has_no_character
from rxpipe.store.schema.migrations import newest_version
from rxpipe.store.schema.tables import db_now
from rxpipe.store.session import Session
from rxpipe.store.wakeups import Wakeups

_AHEAD = 64  # claimed items that wait for the stages, at most: one by one they cost two switches of threads each
_LEAST_SILENCE = 20.0  # seconds without an answer that a busy server may take

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class RunStore:
    """Keeps what each stage made of each item, so that no finished call is ever made again.

    ::

        Pipeline(*stages, sink=DatabaseSink("postgresql://me@host/bank"), store=RunStore())

    A run goes on where it was left, whatever ended it: a later ``run`` of the same pipeline takes up the items that
    are not done, from the last stage that has returned for them, and adds the new IDs of its source. Several
    processes may work on one run in PostgreSQL. In SQLite it is one process at a time.

    It describes a store, and holds no connection; tables are made when a pipeline is first run with it.

    Attributes:
        found_by: The options by which commands find the database, for hints; None for ``--database`` and its URL.
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
        on_change: OnChange = "keep",
        keep_prompts: bool = True,
        stay: float | None = None,
    ) -> None:
        """Describe a store.

        Args:
            database: SQLite (a file) or PostgreSQL, as an SQLAlchemy URL or an engine, which stays its owner's; by
                default that of the pipeline's ``DatabaseSink``, and never another one, so that an item and its row
                are committed together. Beside a ``JsonLinesSink`` it is by default an SQLite file next to the output.
            name: What the run is found by; the pipeline's name by default. Another one is another run of the pipeline.
            fresh: Begin a new run, also if there is one to go on with.
            resume: Go on also if the stages have changed: the results of the first stages that are still the same
                apply, the others are called again. For one run: take it out afterwards.
            lease: Seconds after which a worker that shows no sign of life loses its items to others.
            heartbeat: Seconds between its signs of life.
            max_crashes: How many workers may die with an item before it is tried alone; from the second on it is tried
                among fewer and fewer others. If three workers in a row die that had it alone, it is a dead letter.

            on_change: What becomes of a record that the run knows, if its value has changed: ``keep`` the first one and
                say how many; ``redo`` it with the new one, once it has ended; or ``fail``, with a ``ConfigError``.
            keep_prompts: Keep what language models are asked in each call, and what they reply, for who looks at an
                item: each text up to 20,000 characters. The values that prompts are made of, and what is made of
                replies, are in the store anyway. Without them the store takes about half of the room.
            stay: Go on when nothing is left to do, and take what others submit (see ``rxpipe.submit``): the run ends
                when it is stopped. Seconds after which a worker with nothing to do looks though nobody has told it of
                anything. On PostgreSQL a worker is told at once; on SQLite it looks every 2 seconds at least.

        Raises:
            ValueError: A number is out of range, ``on_change`` is none of these, or both ``fresh`` and ``resume`` were
                asked for.
        """
        if not 0 < heartbeat <= lease / 2:
            raise ValueError(f"heartbeat must be above 0, and at most half of the lease, not {heartbeat} of {lease}")
        if not max_crashes >= 2:
            raise ValueError(f"max_crashes must be at least 2, not {max_crashes}")
        if stay is not None and not stay > 0:
            raise ValueError(f"stay must be above 0, not {stay}")
        if on_change not in get_args(OnChange):
            raise ValueError(f"on_change must be one of {', '.join(get_args(OnChange))}, not {on_change!r}")
        if fresh and resume:
            raise ValueError("fresh begins a new run, resume goes on with one: give one of them")
        self.database = database
        self.name = name
        self.fresh = fresh
        self.resume = resume
        self.lease = lease
        self.heartbeat = heartbeat
        self.max_crashes = max_crashes
        self.on_change: OnChange = on_change
        self.keep_prompts = keep_prompts
        self.stay = stay
        self.found_by: str | None = None

    def open(
        self,
        pipeline: Identity,
        sink: Sink | None,
        *,
        window: float = math.inf,
        slots: float = math.inf,
        quota: Quota | None = None,
    ) -> Session:
        """Begin a run or go on with one, as a worker of it; may block.

        Args:
            pipeline: What the run is found by, and its checkpoints depend on.
            sink: Where the rows go.
            window: How many items the stages hold.
            slots: How many calls may run at once.
            quota: How many items all workers of the run are to write; None for all.

        Raises:
            OtherPipeline: The run, or the table of rows, is another pipeline's.
            StagesChanged: The run began with other stages.
            StoreError: Another process has the SQLite file, or a newer rxpipe made the store.
            SinkError: The database cannot be opened.
            ConfigError: It cannot hold a store.
            TypeError: The sink is no ``StoreSink``.
        """
        with ExitStack() as opened:
            beside = _store_sink(sink)
            database = Database(
                self._database_with(beside), stuck_after=self.lease / 2, silent_after=max(self.lease, _LEAST_SILENCE)
            )
            opened.callback(database.close)
            database.found_by = self.found_by or database.found_by
            session = self._open(database, pipeline, beside, window, slots, quota, opened)
            opened.pop_all()  # the session closes it
            return session

    def _open(
        self,
        database: Database,
        pipeline: Identity,
        sink: StoreSink | None,
        window: float,
        slots: float,
        quota: Quota | None,
        opened: ExitStack,
    ) -> Session:
        database.first(lambda connection: None)  # what is wrong with the database is told before what is with its lock
        database.lock(holder)
        if (codec := database.first(partial(_migrated, database))) is not None:
            escape_what_has_no_character(database.engine, codec)
        database.expected = newest_version()
        writer = None if sink is None else sink.writer_on(database.engine, owned=True)
        if writer is not None:
            database.closes(writer.close)
        name, in_flight = self.name or str(pipeline.name), InFlightClaims()
        former = None if self.name else "run" if writer is None else writer.place
        replace = sink is not None and sink.replace
        forget = None if writer is None else writer.forget

        self._reap(database, name, former)

        def join(connection: Connection) -> tuple[int, Lease, float | None]:
            refuse_others(database, connection)
            latest = find(connection, name, former)
            how = How(self.fresh, self.resume, database.found_by)
            run_id = begin_or_continue(connection, latest, name, pipeline, how, replace=replace, forget=forget)
            if writer is not None:
                if replace:
                    check_owner_is_idle(connection, writer.place, writer.owner(connection), pipeline)
                writer.claim(connection, pipeline, replace=replace, by_name=self.resume)
            lease = Lease(database, run_id, seconds=self.lease, heartbeat=self.heartbeat, lost=in_flight.lose)
            opened.callback(_leave, database, lease)  # also if this is committed, and only the answer is lost
            lease.register(connection)
            return run_id, lease, reopen(connection, run_id)

        run_id, lease, finished_at = database.first(join)
        shared = None if quota is None else SharedQuota(quota, run_id)
        if shared is not None:
            database.first(shared.open)

        def look(connection: Connection) -> tuple[Before, Sequence[StageSignature], int, float]:
            before = Before.of(connection, run_id)
            written = before.counts.get("written", 0)
            missing = writer.count_missing(connection, written) if writer is not None and written else 0
            epoch = connection.execute(select(db_now())).scalar_one() - TIMER_THREAD.now()
            return before, stages_of(connection, run_id), missing, epoch

        before, stages, missing, epoch = database.first(look)
        tell_edited(edited(stages, pipeline.stages))
        if writer is not None:
            tell_missing(run_id, writer.place, missing, database.found_by)
        lease.start()
        wakeups = None if self.stay is None else Wakeups(database.engine, run_id, self.stay)
        if wakeups is not None:
            database.closes(wakeups.close)
        return Session(
            database,
            lease,
            Claims(
                database.engine.dialect.name,
                run_id,
                lease,
                max_crashes=self.max_crashes,
                keys=Keys(codec),
                order=StageOrder(
                    names=(*(stage.name for stage in pipeline.stages), "database"), makers=pipeline.makers
                ),
                changed=ChangedRecords(self.on_change, run_id, lease, forget),
                quota=shared,
            ),
            Commits(
                database,
                run_id,
                writer,
                max_crashes=self.max_crashes,
                collects=pipeline.collects,
                quota=shared,
                epoch=epoch,
            ),
            in_flight,
            run_id=run_id,
            stages=pipeline.stages,
            before=before,
            finished_at=finished_at,
            window=window,
            slots=slots,
            max_items=(500 if sink is None else sink.max_items) * (len(pipeline.stages) + 1),
            max_seconds=0.05 if sink is None else sink.max_seconds,
            retry=AWAY if sink is None else sink.retry,
            keep_prompts=self.keep_prompts,
            wakeups=wakeups,
        )

    def _reap(self, database: Database, name: str, former: str | None) -> None:
        """Take the items of dead workers; first, as changed stages are not adopted while the run has workers."""

        def reap_dead(connection: Connection) -> None:
            refuse_others(database, connection)
            if latest := find(connection, name, former):
                dead = not_ended if database.is_sqlite else certainly_dead  # in SQLite nobody else can be at work
                reap(connection, latest.id, dead(connection, latest.id))

        try:
            with database.transaction(wait=self.heartbeat / 2) as connection:
                reap_dead(connection)
        except DBAPIError as error:
            if not is_transient(error):
                raise
            # One of the dead has locks yet, which the server takes for alive: heartbeats try again.
            _log.debug("the items of dead workers are locked", error=one_line(error))

    def open_run(
        self, pipeline: Identity, sink: Sink | None, *, window: float, slots: float, quota: Quota | None = None
    ) -> RunPorts:
        """The same, as what a pipeline asks of a store."""
        session = self.open(pipeline, sink, window=window, slots=slots, quota=quota)
        with ExitStack() as opened:
            opened.callback(session.close)
            ports = _ports_of(session, window)
            ports.opened.push(opened.pop_all())
            return ports

    def reader(self) -> StoreRunsReader:
        """What a page asks of the runs of the database, from any process.

        Raises:
            StoreError: There is no store in the database yet.
            ConfigError: It has no database of its own.
        """
        return StoreRunsReader(self._database_with(None))

    def actor(self) -> StoreRunsActor:
        """Does to the runs of the database what a page asks for, from any process; raises as ``reader``."""
        return StoreRunsActor(self._database_with(None))

    def snapshots(self, run: int, *, most: int = 600) -> Sequence[Snapshot]:
        """A run's history from its beginning, from any process: sums over its workers.

        Workers leave snapshots of themselves with their signs of life, four for each ``heartbeat``, and a last one
        at their end. Those that have ended stay in the sum.

        Args:
            run: The run's number.
            most: How many moments at most, evenly.

        Raises:
            StoreError: There is no store in the database yet.
            ConfigError: It has no database of its own.
        """
        with self.reader() as reader:
            return reader.snapshots(run, most=most)

    def check_beside(self, sink: Sink | None) -> None:
        """See whether it can be kept beside a sink; see ``_database_with``."""
        self.database_beside(sink)

    def database_beside(self, sink: Sink | None) -> str | URL | Engine:
        """The database of the store of a pipeline with this sink; raises as ``Pipeline`` does."""
        return self._database_with(_store_sink(sink))

    def _database_with(self, sink: StoreSink | None) -> str | URL | Engine:
        """The database of a store beside a sink.

        Raises:
            ConfigError: The sink has another one, or there is none.
        """
        if sink is not None:
            return sink.store_database(self.database)
        if self.database is None:
            raise ConfigError("store: a RunStore without a sink needs a database of its own")
        return self.database


def _store_sink(sink: Sink | None) -> StoreSink | None:
    if sink is None or isinstance(sink, StoreSink):
        return sink
    raise TypeError(
        f"a pipeline with a store has a DatabaseSink, a JsonLinesSink or none, not {sink!r}: the store "
        "commits their rows with the items; to write elsewhere, do it in a last stage"
    )


def _ports_of(session: Session, window: float) -> RunPorts:
    before = session.before
    return RunPorts(
        write=session.write,
        take=session.take,
        ahead=max(1, int(min(_AHEAD, window / 4))),
        journal=session,
        number=session.run_id,
        before=(before.counts.get("written", 0), before.counts.get("failed", 0)),
        usage_before=before.usage,
        mean_costs=before.mean_costs,
        is_finished=lambda: session.is_finished,
        tell=session.tell,
        watch=session.watch,
        stops=session.stops,
        aborted=session.aborted,
        counts=session.counts,
    )


def _migrated(database: Database, connection: Connection) -> str | None:
    """Bring the store up to date, and say which encoding it has if that lacks characters."""
    bring_up_to_date(database, connection)
    return codec_of(connection)


def _leave(database: Database, lease: Lease) -> None:
    lease.stop()
    with suppress(Exception), database.transaction() as connection:  # it is away: then the lease will run out
        lease.release(connection)
