"""Which items this worker has: those that wait, and new ones from the source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Integer,
    Row,
    Select,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    not_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from rxpipe.database.error_kinds import RowRefused
from rxpipe.errors import CheckpointError, RxPipeError, WorkerLost
from rxpipe.pipeline.ports import Claim
from rxpipe.store.commits.outputs import decode
from rxpipe.store.items.ended_items import KeyedId
from rxpipe.store.items.lease import Lease
from rxpipe.store.schema.json_rows import (
    PARAMETER,
    RUN,
    as_parameter,
    is_among,
    is_in_rows,
    json_rows,
    keys_as_parameter,
    this_run,
)
from rxpipe.store.schema.keys import Keys, is_stand_in
from rxpipe.store.schema.tables import (
    CHECKPOINTS,
    IS_NEWEST_CHECKPOINT,
    IS_QUARANTINED,
    IS_READY,
    IS_RUNNING,
    ITEMS,
    WORKERS,
)

TRIES_ALONE = 3
"""Workers that must die in a row while they try an item alone, in one stage, before it is a dead letter.

A worker that is killed from outside may well have had an item alone. So more must die where workers die without the
item, too: one more each time that the number of those doubles.
"""

_MORE_TRIES = 5


class Left(NamedTuple):
    """What there is still to do in a run, for all of its workers.

    Attributes:
        ready: Whether any item waits.
        running: Whether any worker has one.
    """

    ready: bool
    running: bool


class Claims:
    """Claims items of one run for one worker; each method runs in a transaction of the caller's."""

    def __init__(self, dialect: str, run_id: int, lease: Lease, *, max_crashes: int, keys: Keys | None = None) -> None:
        """Describe them.

        Args:
            dialect: The name of the database's.
            run_id: The run.
            lease: The worker's.
            max_crashes: How many workers may be lost with an item before it is tried alone.
            keys: The keys of IDs; by default those of a database that has all characters.
        """
        self._dialect = dialect
        self._keys = keys or Keys()
        self._run_id = run_id
        self._of_run = {RUN: run_id}
        self._lease = lease
        self._alone = max_crashes
        self._most_crashes = max_crashes + TRIES_ALONE - 1  # with which an item is still tried

    @property
    def owner(self) -> str:
        """The worker that claims."""
        return self._lease.owner

    def waiting(self, connection: Connection, count: int, window: int, *, idle: bool = True) -> list[Claim] | None:
        """Claim items that wait: quarantined ones if there are any, else up to so many, in their order.

        Those that several workers were lost with are in quarantine. The more workers were, the fewer items are
        claimed at a time, and at last one. So the one to blame is found, and those beside it come through.

        Args:
            connection: In a transaction.
            count: How many, of those that are not quarantined.
            window: How many items the stages hold.
            idle: Whether the worker has nothing in hand.

        Returns:
            What was claimed; ``None`` if quarantined items wait for the worker to be idle.
        """
        if not self._lease.hold(connection):
            return []
        crashes = connection.execute(_quarantined_statement(), self._of_run | {_CRASHES: _ANY}).scalar_one()
        if crashes is not None and crashes >= self._alone + TRIES_ALONE:
            self._most_crashes = self._most(connection)
            tried = self._of_run | {_CRASHES: self._most_crashes}
            crashes = connection.execute(_quarantined_statement(), tried).scalar_one()
        if crashes is None:
            return self._claim(connection, _others_statement(self._dialect), self._most_crashes, count)
        if not idle:
            return None
        few = 1 if crashes >= self._alone else max(1, window >> 2 * (crashes - 1))
        claims = self._claim(connection, _quarantined_claim_statement(self._dialect), crashes, few)
        for claim in claims:
            claim.quarantined = True
        return claims

    def _most(self, connection: Connection) -> int:
        """With how many lost workers an item is still tried, given how many the run has lost in all."""
        lost = select(func.count()).where(WORKERS.c.run_id == self._run_id, WORKERS.c.ended_as == "lost")
        workers = connection.execute(lost).scalar_one()
        most = self._alone + TRIES_ALONE - 1
        while most + 1 < self._alone + TRIES_ALONE + min(_MORE_TRIES, max(0, workers - most - 1).bit_length()):
            most += 1
        return most

    def recover(self, connection: Connection, keys: Sequence[str]) -> None:
        """Give back what the worker has by the store, but for these items: the answer to its claim was lost."""
        in_hand = is_in_rows(self._dialect, ITEMS.c.item_key)
        stray = and_(IS_RUNNING, ITEMS.c.owner == self._lease.owner, not_(in_hand))
        back = update(ITEMS).where(ITEMS.c.run_id == self._run_id, stray)
        back = back.values(state="ready", owner=None, fence=ITEMS.c.fence + 1)
        connection.execute(back, {PARAMETER: keys_as_parameter(keys)})

    def new(self, connection: Connection, ids: Sequence[int | str], first: int) -> list[Claim]:
        """Claim IDs that the run does not know yet.

        Args:
            connection: In a transaction.
            ids: From the source; those that the run knows are left out.
            first: The place of the first of them in the source.
        """
        if not self._lease.hold(connection):
            return []
        found = [self._new(one) for one in ids]
        new = {claim.key: claim for claim in found}
        rows = [
            {"item_key": key, "is_integer": not isinstance(claim.id, str) and not claim.outside, "seq": first + place}
            for place, (key, claim) in enumerate(new.items())
        ]
        parameters = self._of_run | {_OWNER: self._lease.owner, PARAMETER: as_parameter(rows)}
        added = set(connection.execute(_add_statement(self._dialect), parameters).scalars())
        return [claim for key, claim in new.items() if key in added]

    def _new(self, item_id: int | str) -> Claim:
        key, error = self._keys.of(item_id)
        owner = self._lease.owner
        return Claim(id=item_id, key=key, owner=owner, fence=1, value=item_id, error=error, outside=error is not None)

    def keyed(self, ids: Iterable[int | str]) -> Iterator[KeyedId]:
        """The IDs with their keys."""
        return ((self._keys.of(one)[0], one) for one in ids)

    def left(self, connection: Connection) -> Left:
        """What there is still to do."""
        ready, running = connection.execute(_left_statement(), self._of_run).one()
        return Left(bool(ready), bool(running))

    def _claim(self, connection: Connection, statement: Executable, crashes: int, count: int) -> list[Claim]:
        parameters = self._of_run | {_OWNER: self._lease.owner, _CRASHES: crashes, _COUNT: count}
        rows = sorted(connection.execute(statement, parameters).all(), key=lambda row: row.seq)
        values = self._values(connection, rows)
        return [self._claim_of(row, values.get(row.item_key)) for row in rows]

    def _values(self, connection: Connection, rows: Sequence[Row[Any]]) -> dict[str, tuple[str, str | None]]:
        """The newest checkpoint of each item that has one."""
        keys = [row.item_key for row in rows if row.stage > 0]
        if not keys:
            return {}
        parameters = self._of_run | {PARAMETER: keys_as_parameter(keys)}
        found = connection.execute(_values_statement(self._dialect), parameters)
        return {key: (output, pickled) for key, output, pickled in found}

    def _claim_of(self, row: Row[Any], checkpoint: tuple[str, str | None] | None) -> Claim:
        item_id = int(row.item_key) if row.is_integer else row.item_key
        error: RxPipeError | None = None
        value: Any = item_id
        if row.crashes > self._most_crashes:
            last = f"the last {row.crashes - self._alone} with nothing else in hand"
            error = WorkerLost(f"{row.crashes} workers died while they had it, {last}")
        elif is_stand_in(row.item_key):  # given back before it had failed, or requeued
            error = RowRefused(f"the ID {row.item_key} can be no key")
        if row.stage > 0:
            try:
                if checkpoint is None:
                    raise CheckpointError(f"its checkpoint of stage {row.stage} is gone")
                value = decode(*checkpoint)
            except CheckpointError as unreadable:
                error = error or unreadable
        return Claim(
            id=item_id,
            key=row.item_key,
            owner=row.owner,
            fence=row.fence,
            stage=row.stage,
            value=value,
            attempts=row.attempts,
            error=error,
            outside=is_stand_in(row.item_key),
        )


# The statements, each made once for all runs: to make one takes longer than to execute it.

_OWNER = "this_owner"
_CRASHES = "these_crashes"
_COUNT = "this_many"
_ANY = 2**31 - 1  # crashes of an item at most


def _crashes() -> ColumnElement[int]:
    return bindparam(_CRASHES, type_=ITEMS.c.crashes.type)


@cache
def _quarantined_statement() -> Select[Any]:
    """The most crashes of a quarantined item that waits, among those with no more than ``_CRASHES``."""
    ours = and_(ITEMS.c.run_id == this_run(), IS_READY, IS_QUARANTINED)
    return select(func.max(ITEMS.c.crashes)).where(ours, ITEMS.c.crashes <= _crashes())


@cache
def _quarantined_claim_statement(dialect: str) -> Executable:
    return _claim_statement(dialect, and_(IS_QUARANTINED, ITEMS.c.crashes == _crashes()))


@cache
def _others_statement(dialect: str) -> Executable:
    return _claim_statement(dialect, not_(and_(IS_QUARANTINED, ITEMS.c.crashes <= _crashes())))


def _claim_statement(dialect: str, which: ColumnElement[bool]) -> Executable:
    waiting = select(ITEMS.c.item_key).where(ITEMS.c.run_id == this_run(), IS_READY, which)
    few = waiting.order_by(ITEMS.c.seq).limit(bindparam(_COUNT, type_=Integer()))
    picked = few.with_for_update(skip_locked=True).cte("picked")
    return (
        update(ITEMS)
        .where(ITEMS.c.run_id == this_run(), is_among(dialect, ITEMS.c.item_key, select(picked.c.item_key)))
        .values(state="running", owner=bindparam(_OWNER, type_=ITEMS.c.owner.type), fence=ITEMS.c.fence + 1)
        .returning(*ITEMS.c)
    )


@cache
def _values_statement(dialect: str) -> Executable:
    return (
        select(CHECKPOINTS.c.item_key, CHECKPOINTS.c.output, CHECKPOINTS.c.pickled)
        .join(ITEMS, IS_NEWEST_CHECKPOINT)
        .where(ITEMS.c.run_id == this_run(), is_in_rows(dialect, ITEMS.c.item_key))
    )


@cache
def _left_statement() -> Executable:
    ours = ITEMS.c.run_id == this_run()
    return select(exists().where(ours, IS_READY), exists().where(ours, IS_RUNNING))


@cache
def _add_statement(dialect: str) -> ReturningInsert[Any]:
    """Makes items of the IDs that the run does not know yet, claimed from the start."""
    columns = ITEMS.c
    ids = json_rows(dialect, columns.item_key, columns.is_integer, columns.seq)
    values: dict[Any, Any] = {
        columns.run_id: this_run(),
        columns.item_key: ids.c.item_key,
        columns.is_integer: ids.c.is_integer,
        columns.seq: ids.c.seq,
        columns.state: literal_column("'running'"),
        columns.stage: literal_column("0"),
        columns.fence: literal_column("1"),
        columns.owner: bindparam(_OWNER, type_=columns.owner.type),
        columns.attempts: literal_column("0"),
        columns.failures: literal_column("0"),
        columns.crashes: literal_column("0"),
    }
    module: Any = postgresql if dialect == "postgresql" else sqlite
    # SQLite takes the ON of ON CONFLICT for a join's, unless there is a WHERE.
    insert = module.insert(ITEMS).from_select(list(values), select(*values.values()).where(true()))
    statement: ReturningInsert[Any] = insert.on_conflict_do_nothing().returning(columns.item_key)
    return statement
