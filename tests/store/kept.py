"""A run with one worker, without a process: what a batch changes of it can be looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, insert, select, update

from rxpipe import DatabaseSink
from rxpipe.database import RowRefused, default_table
from rxpipe.database.writer import Made, Writer
from rxpipe.operators import Usage
from rxpipe.pipeline.claim import Claim, ClaimedOutcome
from rxpipe.pipeline.outcome import Outcome
from rxpipe.store.commits.commits import Commits
from rxpipe.store.commits.outputs import encode
from rxpipe.store.commits.records import Checkpoint, Ended, Record, Used, used
from rxpipe.store.items.claims import Claims
from rxpipe.store.items.lease import Lease
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.migrations import migrate
from rxpipe.store.schema.tables import CHECKPOINTS, FAILURES, ITEMS, RUNS

RUN = 1
QUESTIONS = default_table("results")


class Away(ConnectionError):
    """The connection is cut."""


class Rows:
    """The sink's writer; ``refuse`` says which IDs' rows are refused, and ``then`` is called when it has written."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.refuse: set[Any] = set()
        self.then: Callable[[], None] = lambda: None

    def make(self, batch: Sequence[Outcome[Any]]) -> list[Made]:
        return self._writer.make(batch)

    def write_in(self, connection: Connection, batch: Sequence[Made]) -> list[RowRefused | None]:
        refused: list[RowRefused | None] = []
        for made in batch:
            refuse = made.outcome.id in self.refuse
            refused += [RowRefused("no")] if refuse else self._writer.write_in(connection, [made])
        self.then()
        return refused

    def release(self, connection: Connection) -> None:
        pass


class Kept:
    """A run with one worker."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        with self.database.transaction() as connection:
            migrate(connection)
            connection.execute(insert(RUNS).values(id=RUN, name="x", generation=1, stages="[]", created_at=0.0))
        self.lease = Lease(self.database, RUN, seconds=60, heartbeat=10)
        self.claims = Claims(self.database.engine.dialect.name, RUN, self.lease, max_crashes=3)
        self.rows = Rows(DatabaseSink(url).writer_on(self.database.engine))
        self.commits = Commits(self.database, RUN, self.rows, max_crashes=3)
        with self.database.transaction() as connection:
            self.lease.register(connection)

    def commit(self, batch: Sequence[Record]) -> list[ClaimedOutcome]:
        self.commits.make_rows(batch)
        return self.commits.commit(batch)

    def claim(self, *ids: int) -> list[Claim]:
        with self.database.transaction() as connection:
            return self.claims.new(connection, ids, 0)

    def claim_again(self) -> Claim:
        """The items are taken from the worker, which does not notice, and claims the first of them anew."""
        with self.database.transaction() as connection:
            connection.execute(update(ITEMS).values(state="ready", owner=None, fence=ITEMS.c.fence + 1))
            claims = self.claims.waiting(connection, 1, 1) or []
        return claims[0]

    def all(self, table: Table) -> list[Any]:
        with self.database.transaction() as connection:
            return list(connection.execute(select(table)).all())

    def item(self) -> tuple[str, int]:
        """State and stage of the only item."""
        (row,) = self.all(ITEMS)
        return row.state, row.stage

    def held(self) -> tuple[int, int, int]:
        """How many checkpoints, failures and rows there are."""
        return len(self.all(CHECKPOINTS)), len(self.all(FAILURES)), len(self.all(QUESTIONS))


def checkpoint(claim: Claim, stage: int = 0) -> Checkpoint:
    return Checkpoint(claim=claim, stage=stage, attempts=stage + 1, output=encode({"stage": stage}))


def ended(claim: Claim, *, error: BaseException | None = None) -> Ended:
    outcome = ClaimedOutcome(
        id=claim.id,
        status="written" if error is None else "failed",
        value={"answer": "a"},
        error=error,
        stage=None,
        attempts=3,
        seconds=1.0,
        claim=claim,
    )
    return Ended(claim=claim, outcome=outcome)


def use(claim: Claim, cost: float = 0.25) -> Used:
    return used(claim, stage="a", attempt=1, usage=Usage(prompt_tokens=30, completion_tokens=4, cost=cost))


def whole(claim: Claim) -> list[Record]:
    """All that happens to an item that is done."""
    return [checkpoint(claim, 0), checkpoint(claim, 1), ended(claim)]
