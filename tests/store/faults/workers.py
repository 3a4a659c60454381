"""Workers of one run without processes: each has what a process has of the store, and the test says what it does."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Row, Table, insert, select, update

from rxpipe import DatabaseSink, Outcome
from rxpipe.database import RowRefused, default_table
from rxpipe.database.writer import Made, Writer
from rxpipe.pipeline.claim import Claim, ClaimedOutcome
from rxpipe.store.commits.commits import Commits
from rxpipe.store.commits.outputs import encode
from rxpipe.store.commits.records import Checkpoint, Ended, Record
from rxpipe.store.items.claims import Claims
from rxpipe.store.items.in_flight import InFlightClaims
from rxpipe.store.items.inputs import StageOrder
from rxpipe.store.items.lease import Lease
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.migrations import migrate
from rxpipe.store.schema.tables import ITEMS, RUNS, WORKERS, db_now

RUN = 1
SECONDS = 60.0  # of a lease
QUESTIONS = default_table("results")


class Rows:
    """The sink's writer.

    Attributes:
        then: Called when it has written, in the transaction.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.then: Callable[[], None] = lambda: None

    def make(self, batch: Sequence[Outcome[Any]]) -> list[Made]:
        """Make them."""
        return self._writer.make(batch)

    def write_in(self, connection: Connection, batch: Sequence[Made]) -> list[RowRefused | None]:
        """Write them."""
        refused = self._writer.write_in(connection, batch)
        self.then()
        return refused

    def release(self, connection: Connection) -> None:
        """Nothing."""


class Worker:
    """What a process has of the store, with connections of its own.

    Attributes:
        time: Its steady clock.
    """

    def __init__(self, url: str, *, stuck_after: float = 30.0, collects: bool = False) -> None:
        """Join the run."""
        self.time = 0.0
        self.database = Database(url, stuck_after=stuck_after)
        self.in_flight = InFlightClaims()
        self.lease = Lease(
            self.database, RUN, seconds=SECONDS, heartbeat=10.0, lost=self.in_flight.lose, now=lambda: self.time
        )
        order = StageOrder(makers={2: 0} if collects else {})
        self.claims = Claims(self.database.engine.dialect.name, RUN, self.lease, max_crashes=3, order=order)
        self.rows = Rows(DatabaseSink(url).writer_on(self.database.engine))
        self.commits = Commits(self.database, RUN, self.rows, max_crashes=3, collects=collects)
        with self.database.transaction() as connection:
            self.lease.register(connection)

    def new(self, *ids: int) -> list[Claim]:
        """Claim IDs that the run does not know."""
        return self._claim(lambda connection: self.claims.new(connection, ids, 0))

    def ready(self, count: int = 10) -> list[Claim]:
        """Claim items that wait."""
        return self._claim(lambda connection: self.claims.waiting(connection, count, count))

    def _claim(self, claim: Callable[[Connection], list[Claim] | None]) -> list[Claim]:
        with self.database.transaction() as connection:
            claims = claim(connection) or []
        self.in_flight.add(claims)
        return claims

    def commit(self, *records: Record) -> list[str]:
        """Commit a batch; what became of the outcomes in it."""
        self.commits.make_rows(records)
        return [outcome.status for outcome in self.commits.commit(records)]

    def recover(self) -> None:
        """Give back what it does not know of."""
        with self.database.transaction() as connection:
            self.claims.recover(connection, self.in_flight.keys(self.lease.owner))

    def release(self) -> None:
        """End."""
        with self.database.transaction() as connection:
            self.lease.release(connection)

    def judge(self) -> None:
        """Look at the others' leases until it may judge them, and then do."""
        for _ in range(4):
            self.reap()
            self.time += SECONDS / 3

    def reap(self, *, wait: float | None = None) -> None:
        """Look at the others' leases."""
        with self.database.transaction(wait=wait) as connection:
            self.lease.reap_others(connection)

    def fall_silent(self, seconds: float = SECONDS + 1) -> None:
        """Let it have been marked last so many seconds ago."""
        with self.database.transaction() as connection:
            mine = update(WORKERS).where(WORKERS.c.id == self.lease.owner)
            connection.execute(mine.values(heartbeat_at=db_now() - seconds))

    def all(self, table: Table) -> list[Row[Any]]:
        """All rows of a table."""
        with self.database.transaction() as connection:
            return list(connection.execute(select(table)).all())

    def item(self) -> tuple[str, int, int, int]:
        """State, stage, fence and crashes of the only item."""
        (row,) = self.all(ITEMS)
        return row.state, row.stage, row.fence, row.crashes


@contextmanager
def workers(url: str, count: int = 2, *, stuck_after: float = 30.0, collects: bool = False) -> Generator[list[Worker]]:
    """Workers of a new run."""
    database = Database(url)
    with database.transaction() as connection:
        migrate(connection)
        connection.execute(insert(RUNS).values(id=RUN, name="x", generation=1, stages="[]", created_at=0.0))
    database.close()
    made = [Worker(url, stuck_after=stuck_after, collects=collects) for _ in range(count)]
    try:
        yield made
    finally:
        for worker in made:
            worker.database.close()


def checkpoint(claim: Claim, stage: int, of: str = "") -> Checkpoint:
    """A stage has returned, by whoever is named."""
    return Checkpoint(claim=claim, stage=stage, attempts=stage + 1, output=encode(f"{of}{stage}"))


def ended(claim: Claim, of: str = "", *, error: Exception | None = None) -> Ended:
    """An item has left the stages, by whoever is named."""
    outcome = ClaimedOutcome(
        id=claim.id,
        status="written" if error is None else "failed",
        value=of,
        error=error,
        stage=None,
        attempts=1,
        seconds=1.0,
        claim=claim,
    )
    return Ended(claim=claim, outcome=outcome)
