"""A worker's lease: it says that the worker lives, and takes the items of those that do not.

Every ``heartbeat`` seconds the worker's row is marked with the time. A worker that was not marked for as long as its
lease is taken for dead by the others: its items become ready again, with a higher fence, so that nothing that it
still writes counts. Only who has looked at the clocks without a break for one lease judges others: after an outage of
the database, a jump of its clock, or a sleep of the whole machine, everybody gets the time to show up first.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection, Row, and_, case, func, insert, not_, select, update

from rxpipe.database.encoding import one_line
from rxpipe.database.json_rows import RUN
from rxpipe.errors import SinkError, StoreError
from rxpipe.store.commits.children import wake_all_parents
from rxpipe.store.items.process_identity import is_gone, is_running, this_process
from rxpipe.store.items.snapshot_log import SnapshotLog
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.tables import IS_RUNNING, ITEMS, RUNS, WORKERS, db_now
from rxpipe.store.wakeups import wake_workers

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

UPGRADE = "upgrade"
"""Asks a worker to end as a newer rxpipe waits to change the store; versions that do not know it take it for a stop."""

_STEPS = 4  # looks at the others' leases, for each heartbeat

# A mark in the future is none either: the clock was set back since.
HAS_EXPIRED = func.abs(db_now() - WORKERS.c.heartbeat_at) > WORKERS.c.lease


# What becomes of an item that its worker has no more: one that was expanded waits for its children.
_WAITS = and_(ITEMS.c.collected_by.is_not(None), ITEMS.c.stage <= ITEMS.c.collected_by)
GIVEN_BACK: Mapping[str, Any] = {
    "state": case((_WAITS, "waiting"), else_="ready"),
    "ready_at": db_now(),
    "owner": None,
    "fence": ITEMS.c.fence + 1,
    "taken_at": None,
}


class Look(NamedTuple):
    """A look at this machine's steady clock and at the database's, in seconds."""

    here: float
    there: float


class Lease:
    """One process's part in a run.

    Attributes:
        owner: What the worker is called in the store; another name after it was taken for dead.
        over: Set once it has ended.
        broken: Called when it cannot be kept any more, however long one waits.
        asked: Called with ``stop``, ``abort`` or ``upgrade`` when another process asks for that.
        snapshots: Keeps snapshots of the worker's part in the run.
    """

    def __init__(
        self,
        database: Database,
        run_id: int,
        *,
        seconds: float,
        heartbeat: float,
        lost: Callable[[str], None] = lambda owner: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Describe it; ``register`` begins it.

        Args:
            database: The store's.
            run_id: The run.
            seconds: How long it lasts when it is not renewed.
            heartbeat: Seconds from one renewal to the next.
            lost: Called with the name that the worker had, when it finds out that it was taken for dead.
            now: A steady clock.
        """
        self.owner = ""
        self.over = threading.Event()
        self._database = database
        self._run_id = run_id
        self._seconds = seconds
        self._heartbeat = heartbeat
        self._now = now
        self._lost = lost
        self.broken: Callable[[Exception], object] = lambda error: None
        self.asked: Callable[[str], object] = lambda how: None
        self.snapshots = SnapshotLog(run_id)
        self._is_asked: str | None = None
        self._unbroken_since = now()
        self._last: Look | None = None
        self._thread = threading.Thread(target=self._keep, name="rxpipe-heartbeat", daemon=True)

    def register(self, connection: Connection) -> None:
        """Become a worker of the run.

        Raises:
            StoreError: There is no such run any more.
        """
        run = select(RUNS.c.id).where(RUNS.c.id == self._run_id)
        if connection.execute(run.with_for_update(read=True, key_share=True)).first() is None:
            raise StoreError(f"run {self._run_id} is gone: it was pruned")
        self.owner = uuid.uuid4().hex
        row = {
            "id": self.owner,
            "run_id": self._run_id,
            "host": socket.gethostname()[:255],
            "pid": os.getpid(),
            "process": this_process(),
            "lease": self._seconds,
        }
        connection.execute(insert(WORKERS).values(**row, started_at=db_now(), heartbeat_at=db_now()))

    def start(self) -> None:
        """Keep it from now on, on a thread."""
        self._thread.start()

    def hold(self, connection: Connection) -> bool:
        """See that it holds for as long as the transaction, under another name if it was lost.

        Returns:
            Whether it does: not if it has ended.
        """
        mine = select(WORKERS.c.id).where(WORKERS.c.id == self.owner, WORKERS.c.ended_at.is_(None))
        # Shared: whoever ends it has to wait, the heartbeat does not.
        if connection.execute(mine.with_for_update(read=True, key_share=True)).first() is not None:
            return True
        if self.over.is_set():
            return False
        _log.warning("this worker was taken for dead, and goes on as a new one")
        self._lost(self.owner)
        self.register(connection)
        return True

    def release(self, connection: Connection) -> int:
        """End it, and give back what is unfinished, without a mark against it.

        Returns:
            How many items those are.
        """
        self.over.set()
        mine = WORKERS.c.id == self.owner
        connection.execute(select(WORKERS.c.id).where(mine).with_for_update())  # not while items are being claimed
        connection.execute(update(WORKERS).where(mine).values(ended_at=db_now(), ended_as="stopped"))
        held = update(ITEMS).where(ITEMS.c.run_id == self._run_id, IS_RUNNING, ITEMS.c.owner == self.owner)
        count = connection.execute(held.values(**GIVEN_BACK)).rowcount
        if count:
            wake_all_parents(connection, {RUN: self._run_id})
            wake_workers(connection, self._run_id)
        return count

    def stop(self) -> None:
        """Keep it no longer."""
        self.over.set()

    def _keep(self) -> None:
        step, missed = 0, 0
        while not self.over.wait(self._heartbeat / _STEPS):
            step += 1
            try:
                if step % _STEPS == 0:
                    with self._database.transaction() as connection:
                        self.beat(connection)
                    if missed:
                        _log.info("heartbeats are kept again", worker=self.owner, missed=missed)
                    missed = 0
                text = self.snapshots.taken()
                with self._database.transaction(wait=self._heartbeat / 2) as connection:
                    self.snapshots.keep(connection, self.owner, text)
                    how = self.what_is_asked(connection)
                    self.reap_others(connection)
                if how is not None and how != self._is_asked:
                    self._is_asked = how
                    if how == UPGRADE:
                        _log.warning("a newer rxpipe is about to change the run store: this one finishes what it has")
                    else:
                        _log.warning("another process asks this one to end the run", how=how)
                    self.asked(how)
            except Exception as error:  # noqa: BLE001 - the database is away: the next heartbeat may find it back
                self._last = None
                if isinstance(error, SinkError):  # or its file is gone, or the run: no heartbeat will
                    if not self.over.is_set():
                        self.broken(error)
                    return
                if step % _STEPS == 0 and not self.over.is_set():
                    missed += 1
                    _tell_missed(missed, self._seconds, error)

    def beat(self, connection: Connection) -> None:
        """Mark that the worker lives."""
        owner = self.owner  # once: it may have another name by the time the answer is here
        mine = update(WORKERS).where(WORKERS.c.id == owner, WORKERS.c.ended_at.is_(None))
        if not connection.execute(mine.values(heartbeat_at=db_now())).rowcount:
            self._lost(owner)

    def what_is_asked(self, connection: Connection) -> str | None:
        """What another process asks this worker for: ``stop``, ``abort``, ``upgrade`` or None."""
        mine = select(WORKERS.c.asked).where(WORKERS.c.id == self.owner)
        asked: str | None = connection.execute(mine).scalar()
        return asked

    def reap_others(self, connection: Connection) -> None:
        """Take workers for dead whose process has ended here, or which have not been marked for their lease.

        Of the latter only if this one may judge.
        """
        if gone := certainly_dead(connection, self._run_id):
            reap(connection, self._run_id, gone)
        look = self._look(connection)
        if look.here - self._unbroken_since < self._seconds:
            return
        # By the clock as it was looked at: who is stopped behind this line must not find that all others were silent.
        # A mark in the future is none either: the clock was set back since.
        expired = func.abs(look.there - WORKERS.c.heartbeat_at) > WORKERS.c.lease
        others = and_(WORKERS.c.run_id == self._run_id, WORKERS.c.ended_at.is_(None), WORKERS.c.id != self.owner)
        found = select(WORKERS.c.id).where(others, expired).with_for_update(skip_locked=True)
        if workers := connection.execute(found).scalars().all():
            reap(connection, self._run_id, workers)

    def _look(self, connection: Connection) -> Look:
        look = Look(self._now(), connection.execute(select(db_now())).scalar_one())
        if self._last is None or not self._is_unbroken(self._last, look):
            self._unbroken_since = look.here
        self._last = look
        return look

    def _is_unbroken(self, last: Look, look: Look) -> bool:
        most = self._seconds / 2
        here, there = look.here - last.here, look.there - last.there
        return here <= most and abs(there - here) <= most


def error_when_asked(how: str) -> StoreError | None:
    """What a run fails with that ends as another process asks for that; None if that is no failure."""
    if how != UPGRADE:
        return None
    return StoreError(
        "a newer rxpipe is about to change the run store, so this one has finished what it had: "
        "start it again with the newer version"
    )


def _tell_missed(missed: int, lease: float, error: Exception) -> None:
    """Warn of the first in a row: others may soon take what this worker has."""
    tell = _log.warning if missed == 1 else _log.debug
    tell("heartbeat missed", missed=missed, lease_seconds=lease, error=one_line(getattr(error, "orig", None) or error))


def reap(connection: Connection, run_id: int, workers: Sequence[str]) -> int:
    """Take workers for dead: what they had is ready again, with a mark for the crash.

    Returns:
        How many items those are.
    """
    given = and_(WORKERS.c.run_id == run_id, WORKERS.c.id.in_(workers), WORKERS.c.ended_at.is_(None))
    lost = update(WORKERS).where(given).values(ended_at=db_now(), ended_as="lost")
    names = [f"{row.pid} on {row.host}" for row in connection.execute(lost.returning(WORKERS.c.pid, WORKERS.c.host))]
    ended = select(WORKERS.c.id).where(WORKERS.c.run_id == run_id, WORKERS.c.ended_at.is_not(None))
    held = update(ITEMS).where(ITEMS.c.run_id == run_id, IS_RUNNING, ITEMS.c.owner.in_(ended))
    # Who waits for children has no call that could have killed anybody, unless it is called with them.
    count = connection.execute(held.values(**GIVEN_BACK, crashes=ITEMS.c.crashes + 1)).rowcount
    if count:
        wake_all_parents(connection, {RUN: run_id})
        wake_workers(connection, run_id)
    if names and count:
        _log.warning("a worker was lost, what it had is ready again", processes=", ".join(names), items=count)
    return count


def not_ended(connection: Connection, run_id: int) -> list[str]:
    """The workers of a run that have not ended, as far as the store knows."""
    query = select(WORKERS.c.id).where(WORKERS.c.run_id == run_id, WORKERS.c.ended_at.is_(None))
    return list(connection.execute(query).scalars())


def at_work(connection: Connection) -> list[Row[Any]]:
    """Workers of other processes of this machine that are certainly running, and were marked within their lease."""
    query = select(WORKERS).where(WORKERS.c.ended_at.is_(None), not_(HAS_EXPIRED)).order_by(WORKERS.c.heartbeat_at)
    ours = this_process()
    return [row for row in connection.execute(query) if row.process != ours and is_running(row.process)]


def certainly_dead(connection: Connection, run_id: int) -> list[str]:
    """The workers of ended processes of this machine, which need not be waited for."""
    query = select(WORKERS.c.id, WORKERS.c.process).where(WORKERS.c.run_id == run_id, WORKERS.c.ended_at.is_(None))
    return [worker for worker, process in connection.execute(query) if is_gone(process)]
