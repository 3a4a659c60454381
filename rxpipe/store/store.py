"""``RunStore``: keeps a run in a database, so that any process can go on with it."""

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

_AHEAD = 64  # claimed items that wait for the stages, at most; claimed one by one, each costs two thread switches
_LEAST_SILENCE = 20.0  # seconds that a busy server may take to answer

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class RunStore:
    """Keeps the result of each stage for each item, so that no finished call is ever made again.

    ::

        Pipeline(*stages, sink=DatabaseSink("postgresql://me@host/bank"), store=RunStore())

    A run goes on where it was left, whatever ended it. A later ``run`` of the same pipeline takes up the unfinished
    items, each after the last stage that has returned for it, and adds the new IDs of its source. On PostgreSQL,
    several processes may work on one run. On SQLite, one process at a time works on it.

    A ``RunStore`` is only a description and holds no connection. The tables are made when a pipeline first runs with
    it.

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
            database: SQLite (a file) or PostgreSQL, as an SQLAlchemy URL or an engine. An engine is not closed. The
                default is the database of the pipeline's ``DatabaseSink``. With such a sink no other database is
                allowed, so that an item and its row are committed together. With a ``JsonLinesSink`` the default is an
                SQLite file next to the output.
            name: The run's name; the pipeline's name by default. Another name is another run of the pipeline.
            fresh: Begin a new run, even if an earlier one could go on.
            resume: Go on even if the stages have changed. The results of the first stages that are unchanged still
                apply; the other stages are called again. Meant for one run: remove the option afterwards.
            lease: Seconds after which a worker that gives no sign of life loses its items to others.
            heartbeat: Seconds between a worker's signs of life.
            max_crashes: How many workers may die with an item before the item is tried alone. From the second death on,
                the item is tried together with fewer and fewer others. If three workers in a row die while the item is
                alone, it becomes a dead letter.
            on_change: What to do when a record comes again with another value: ``keep`` the first value and report how
                many changed; ``redo`` the item with the new value, once the item has ended; or ``fail`` with a
                ``ConfigError``.
            keep_prompts: Keep the prompts and replies of each call to a language model, each text up to 20,000
                characters, so that you can read them in an item's details. Without them the store takes about half the
                space. The inputs of prompts and the results made from replies are kept in any case.
            stay: Keep the run open when nothing is left to do, and take items that others submit (see
                ``rxpipe.submit``). The run ends when it is stopped. The number is the seconds after which an idle
                worker looks for items by itself. On PostgreSQL a worker is told of new items at once; on SQLite it
                looks at least every 2 seconds.

        Raises:
            ValueError: A number is out of range, ``on_change`` has another value, or both ``fresh`` and ``resume`` are
                set.
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
        """Begin a run or go on with one, as a worker of the run. Blocks while it waits for the database.

        Args:
            pipeline: The pipeline's identity, by which the run and its checkpoints are found.
            sink: The sink of the rows.
            window: How many items the stages hold.
            slots: How many calls may run at once.
            quota: How many items all workers of the run are to write; None for all.

        Raises:
            OtherPipeline: The run, or the table of rows, belongs to another pipeline.
            StagesChanged: The run began with other stages.
            StoreError: Another process has the SQLite file, or a newer rxpipe made the store.
            SinkError: The database cannot be opened.
            ConfigError: The database cannot hold a store.
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
            opened.pop_all()  # the session closes the database
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
        database.first(lambda connection: None)  # errors of the database are reported before errors of its lock
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
            # Also if the registration is committed and only the answer is lost.
            opened.callback(_leave, database, lease)
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
        """Take the items of dead workers.

        This comes first, as changed stages are not adopted while the run has workers.
        """

        def reap_dead(connection: Connection) -> None:
            refuse_others(database, connection)
            if latest := find(connection, name, former):
                dead = not_ended if database.is_sqlite else certainly_dead  # on SQLite nobody else can be at work
                reap(connection, latest.id, dead(connection, latest.id))

        try:
            with database.transaction(wait=self.heartbeat / 2) as connection:
                reap_dead(connection)
        except DBAPIError as error:
            if not is_transient(error):
                raise
            # A dead worker still holds locks, as the server takes it for alive. Heartbeats will try again.
            _log.debug("the items of dead workers are locked", error=one_line(error))

    def open_run(
        self, pipeline: Identity, sink: Sink | None, *, window: float, slots: float, quota: Quota | None = None
    ) -> RunPorts:
        """Begin a run or go on with one; see ``open``. Returns the ports that a pipeline needs."""
        session = self.open(pipeline, sink, window=window, slots=slots, quota=quota)
        with ExitStack() as opened:
            opened.callback(session.close)
            ports = _ports_of(session, window)
            ports.opened.push(opened.pop_all())
            return ports

    def reader(self) -> StoreRunsReader:
        """Returns a reader of all runs in the database, as the page uses it; from any process.

        Raises:
            StoreError: There is no store in the database yet.
            ConfigError: The ``RunStore`` has no database of its own.
        """
        return StoreRunsReader(self._database_with(None))

    def actor(self) -> StoreRunsActor:
        """Returns an actor that requeues items and stops runs, as the page does; from any process.

        Raises as ``reader``.
        """
        return StoreRunsActor(self._database_with(None))

    def snapshots(self, run: int, *, most: int = 600) -> Sequence[Snapshot]:
        """Returns a run's history from its beginning, summed over its workers; from any process.

        Each worker saves a snapshot of itself with its signs of life, four per ``heartbeat``, and a last one at its
        end. Workers that have ended stay in the sum.

        Args:
            run: The run's number.
            most: Most snapshots to return, evenly spaced.

        Raises:
            StoreError: There is no store in the database yet.
            ConfigError: The ``RunStore`` has no database of its own.
        """
        with self.reader() as reader:
            return reader.snapshots(run, most=most)

    def check_beside(self, sink: Sink | None) -> None:
        """Raise if this store cannot be used with a sink; see ``database_beside``."""
        self.database_beside(sink)

    def database_beside(self, sink: Sink | None) -> str | URL | Engine:
        """Returns the store's database for a pipeline with this sink.

        Raises:
            ConfigError: The sink has another database, or there is no database.
            TypeError: The sink is no ``StoreSink``.
        """
        return self._database_with(_store_sink(sink))

    def _database_with(self, sink: StoreSink | None) -> str | URL | Engine:
        """Returns the store's database for a pipeline with this sink.

        Raises:
            ConfigError: The sink has another database, or there is no database.
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
    """Bring the store up to date. Returns the database's encoding if it lacks characters."""
    bring_up_to_date(database, connection)
    return codec_of(connection)


def _leave(database: Database, lease: Lease) -> None:
    lease.stop()
    with suppress(Exception), database.transaction() as connection:  # the database is away: the lease will run out
        lease.release(connection)
