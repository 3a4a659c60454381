"""A worker's lease: shows that the worker lives, and takes the items of dead workers.

Every ``heartbeat`` seconds the worker's row is marked with the time. If a worker was not marked for the length of its
lease, the others take it for dead. Its items become ready again, with a higher fence, so that none of its later writes
count. A worker only judges others if it has read the clocks without a break for one lease. So after an outage of the
database, a jump of its clock, or a sleep of the whole machine, all workers first get time to show that they live.
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

_STEPS = 4  # looks at the others' leases, per heartbeat

# A mark in the future is not valid either: the clock was set back since.
HAS_EXPIRED = func.abs(db_now() - WORKERS.c.heartbeat_at) > WORKERS.c.lease


# The new state of an item that its worker no longer has. An expanded item waits for its children.
_WAITS = and_(ITEMS.c.collected_by.is_not(None), ITEMS.c.stage <= ITEMS.c.collected_by)
GIVEN_BACK: Mapping[str, Any] = {
    "state": case((_WAITS, "waiting"), else_="ready"),
    "ready_at": db_now(),
    "owner": None,
    "fence": ITEMS.c.fence + 1,
    "taken_at": None,
}


class Look(NamedTuple):
    """The readings of this machine's monotonic clock and of the database's clock, in seconds."""

    here: float
    there: float


class Lease:
    """One process's part in a run.

    Attributes:
        owner: The worker's name in the store. It changes after the worker was taken for dead.
        over: Set once the lease has ended.
        broken: Called when the lease cannot be kept any more, and waiting does not help.
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
        """Describe a lease; ``register`` begins it.

        Args:
            database: The store's database.
            run_id: The run's number.
            seconds: Seconds after which the lease runs out if it is not renewed.
            heartbeat: Seconds between two renewals.
            lost: Called with the worker's former name when the worker finds that it was taken for dead.
            now: A monotonic clock, in seconds.
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
            StoreError: The run no longer exists.
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
        """Renew the lease from now on, on a thread."""
        self._thread.start()

    def hold(self, connection: Connection) -> bool:
        """Make sure that the lease holds for the length of the transaction; under another name if it was lost.

        Returns:
            True if the lease holds; False if it has ended.
        """
        mine = select(WORKERS.c.id).where(WORKERS.c.id == self.owner, WORKERS.c.ended_at.is_(None))
        # A shared lock: whoever ends the lease has to wait, the heartbeat does not.
        if connection.execute(mine.with_for_update(read=True, key_share=True)).first() is not None:
            return True
        if self.over.is_set():
            return False
        _log.warning("this worker was taken for dead, and goes on as a new one")
        self._lost(self.owner)
        self.register(connection)
        return True

    def release(self, connection: Connection) -> int:
        """End the lease, and give back unfinished items without counting a crash.

        Returns:
            How many items are given back.
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
        """Do not renew the lease any more."""
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
            except Exception as error:  # noqa: BLE001 - the database is away: the next heartbeat may succeed
                self._last = None
                if isinstance(error, SinkError):  # or its file or the run is gone: no heartbeat will succeed
                    if not self.over.is_set():
                        self.broken(error)
                    return
                if step % _STEPS == 0 and not self.over.is_set():
                    missed += 1
                    _tell_missed(missed, self._seconds, error)

    def beat(self, connection: Connection) -> None:
        """Mark that the worker lives."""
        owner = self.owner  # read once: the worker may have another name when the answer comes
        mine = update(WORKERS).where(WORKERS.c.id == owner, WORKERS.c.ended_at.is_(None))
        if not connection.execute(mine.values(heartbeat_at=db_now())).rowcount:
            self._lost(owner)

    def what_is_asked(self, connection: Connection) -> str | None:
        """Returns what another process asks of this worker: ``stop``, ``abort``, ``upgrade`` or None."""
        mine = select(WORKERS.c.asked).where(WORKERS.c.id == self.owner)
        asked: str | None = connection.execute(mine).scalar()
        return asked

    def reap_others(self, connection: Connection) -> None:
        """Take workers for dead whose process on this machine has ended, or whose lease has run out.

        The latter only if this worker may judge others.
        """
        if gone := certainly_dead(connection, self._run_id):
            reap(connection, self._run_id, gone)
        look = self._look(connection)
        if look.here - self._unbroken_since < self._seconds:
            return
        # Uses the clock reading from above: a worker that is paused behind this line must not find all others silent. A
        # mark in the future is not valid either: the clock was set back since.
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
    """Returns the error of a run that ends because another process asks for it; None if that is no failure."""
    if how != UPGRADE:
        return None
    return StoreError(
        "a newer rxpipe is about to change the run store, so this one has finished what it had: "
        "start it again with the newer version"
    )


def _tell_missed(missed: int, lease: float, error: Exception) -> None:
    """Warn of the first missed heartbeat in a row: other workers may soon take this worker's items."""
    tell = _log.warning if missed == 1 else _log.debug
    tell("heartbeat missed", missed=missed, lease_seconds=lease, error=one_line(getattr(error, "orig", None) or error))


def reap(connection: Connection, run_id: int, workers: Sequence[str]) -> int:
    """Take workers for dead: their items are ready again, with one more crash each.

    Returns:
        How many items become ready.
    """
    given = and_(WORKERS.c.run_id == run_id, WORKERS.c.id.in_(workers), WORKERS.c.ended_at.is_(None))
    lost = update(WORKERS).where(given).values(ended_at=db_now(), ended_as="lost")
    names = [f"{row.pid} on {row.host}" for row in connection.execute(lost.returning(WORKERS.c.pid, WORKERS.c.host))]
    ended = select(WORKERS.c.id).where(WORKERS.c.run_id == run_id, WORKERS.c.ended_at.is_not(None))
    held = update(ITEMS).where(ITEMS.c.run_id == run_id, IS_RUNNING, ITEMS.c.owner.in_(ended))
    # A parent that waits for its children has no call that could kill a worker, unless it is called with them.
    count = connection.execute(held.values(**GIVEN_BACK, crashes=ITEMS.c.crashes + 1)).rowcount
    if count:
        wake_all_parents(connection, {RUN: run_id})
        wake_workers(connection, run_id)
    if names and count:
        _log.warning("a worker was lost, what it had is ready again", processes=", ".join(names), items=count)
    return count


def not_ended(connection: Connection, run_id: int) -> list[str]:
    """Returns the workers of a run that have not ended, as far as the store knows."""
    query = select(WORKERS.c.id).where(WORKERS.c.run_id == run_id, WORKERS.c.ended_at.is_(None))
    return list(connection.execute(query).scalars())


def at_work(connection: Connection) -> list[Row[Any]]:
    """Returns workers of other processes on this machine that certainly run, and were marked within their lease."""
    query = select(WORKERS).where(WORKERS.c.ended_at.is_(None), not_(HAS_EXPIRED)).order_by(WORKERS.c.heartbeat_at)
    ours = this_process()
    return [row for row in connection.execute(query) if row.process != ours and is_running(row.process)]


def certainly_dead(connection: Connection, run_id: int) -> list[str]:
    """Returns the workers whose process on this machine has ended. Nobody needs to wait for their leases."""
    query = select(WORKERS.c.id, WORKERS.c.process).where(WORKERS.c.run_id == run_id, WORKERS.c.ended_at.is_(None))
    return [worker for worker, process in connection.execute(query) if is_gone(process)]
