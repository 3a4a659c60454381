"""Which items this worker has: those that wait, and new ones from the source."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    not_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from rxpipe.database.rows import key_text
from rxpipe.errors import CheckpointError, RxPipeError, WorkerLost
from rxpipe.item import Claim
from rxpipe.store.given import PARAMETER, given
from rxpipe.store.lease import Lease
from rxpipe.store.outputs import decode
from rxpipe.store.schema import CHECKPOINTS, IS_READY, IS_RUNNING, IS_SUSPECT, ITEMS


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

    def __init__(self, dialect: str, run_id: int, lease: Lease, *, max_crashes: int) -> None:
        """Describe them.

        Args:
            dialect: The name of the database's.
            run_id: The run.
            lease: The worker's.
            max_crashes: How many workers may be lost with an item; the last of them had nothing else.
        """
        self._run_id = run_id
        self._lease = lease
        self._max_crashes = max_crashes
        self._add = _add_statement(dialect)

    @property
    def owner(self) -> str:
        """The worker that claims."""
        return self._lease.owner

    def waiting(self, connection: Connection, count: int, window: int, *, idle: bool = True) -> list[Claim] | None:
        """Claim items that wait: suspects if there are any, else up to so many, in the order in which they came.

        Suspects are those that several workers were lost with. The more were, the fewer at a time, and at last one: so
        that the one that is to blame is found, and those that were beside it come through.

        Args:
            connection: In a transaction.
            count: How many, of those that are no suspects.
            window: How many items the stages hold.
            idle: Whether the worker has nothing in hand.

        Returns:
            What was claimed; ``None`` if suspects wait for the worker to be idle.
        """
        if not self._lease.hold(connection):
            return []
        tried = select(func.max(ITEMS.c.crashes)).where(ITEMS.c.run_id == self._run_id, IS_READY, IS_SUSPECT)
        crashes = connection.execute(tried.where(ITEMS.c.crashes <= self._max_crashes)).scalar_one()
        if crashes is None:
            return self._claim(connection, not_(and_(IS_SUSPECT, ITEMS.c.crashes <= self._max_crashes)), count)
        if not idle:
            return None
        few = 1 if crashes == self._max_crashes else max(1, window >> 2 * (crashes - 1))
        suspects = self._claim(connection, and_(IS_SUSPECT, ITEMS.c.crashes == crashes), few)
        for claim in suspects:
            claim.suspect = True
        return suspects

    def recover(self, connection: Connection, keys: Sequence[str]) -> None:
        """Give back what the worker has by the store, but for these items: the answer to its claim was lost."""
        in_hand = given(connection.dialect.name, ITEMS.c.item_key)
        stray = and_(
            IS_RUNNING, ITEMS.c.owner == self._lease.owner, ITEMS.c.item_key.not_in(select(in_hand.c.item_key))
        )
        back = update(ITEMS).where(ITEMS.c.run_id == self._run_id, stray)
        back = back.values(state="ready", owner=None, fence=ITEMS.c.fence + 1)
        connection.execute(back, {PARAMETER: json.dumps([{"item_key": key} for key in keys])})

    def new(self, connection: Connection, ids: Sequence[int | str], first: int) -> list[Claim]:
        """Claim IDs that the run does not know yet.

        Args:
            connection: In a transaction.
            ids: From the source; those that the run knows are left out.
            first: The place of the first of them in the source.
        """
        if not self._lease.hold(connection):
            return []
        owner = self._lease.owner
        new, refused = by_key(ids)
        rows = [
            {"item_key": key, "is_integer": not isinstance(one, str), "seq": first + place}
            for place, (key, one) in enumerate(new.items())
        ]
        parameters = {"this_run": self._run_id, "this_owner": owner, PARAMETER: json.dumps(rows)}
        added = set(connection.execute(self._add, parameters).scalars())
        claims = [Claim(id=one, key=key, owner=owner, fence=1, value=one) for key, one in new.items() if key in added]
        return claims + refused

    def left(self, connection: Connection) -> Left:
        """What there is still to do."""
        mine = ITEMS.c.run_id == self._run_id
        query = select(exists().where(mine, IS_READY), exists().where(mine, IS_RUNNING))
        ready, running = connection.execute(query).one()
        return Left(bool(ready), bool(running))

    def _claim(self, connection: Connection, which: ColumnElement[bool], count: int) -> list[Claim]:
        owner = self._lease.owner
        waiting = select(ITEMS.c.item_key).where(ITEMS.c.run_id == self._run_id, IS_READY, which)
        picked = waiting.order_by(ITEMS.c.seq).limit(count).with_for_update(skip_locked=True).cte("picked")
        taken = (
            update(ITEMS)
            .where(ITEMS.c.run_id == self._run_id, ITEMS.c.item_key.in_(select(picked.c.item_key)))
            .values(state="running", owner=owner, fence=ITEMS.c.fence + 1)
            .returning(*ITEMS.c)
        )
        rows = sorted(connection.execute(taken).all(), key=lambda row: row.seq)
        values = self._values(connection, rows)
        return [self._claim_of(row, values.get(row.item_key)) for row in rows]

    def _values(self, connection: Connection, rows: Sequence[Row[Any]]) -> dict[str, tuple[str, str | None]]:
        """The newest checkpoint of each item that has one."""
        wanted = [(row.item_key, row.stage - 1) for row in rows if row.stage > 0]
        if not wanted:
            return {}
        columns = CHECKPOINTS.c
        found = select(columns.item_key, columns.output, columns.pickled).where(
            and_(columns.run_id == self._run_id, tuple_(columns.item_key, columns.stage).in_(wanted))
        )
        return {key: (output, pickled) for key, output, pickled in connection.execute(found)}

    def _claim_of(self, row: Row[Any], checkpoint: tuple[str, str | None] | None) -> Claim:
        item_id = int(row.item_key) if row.is_integer else row.item_key
        error: RxPipeError | None = None
        value: Any = item_id
        if row.crashes > self._max_crashes:
            error = WorkerLost(f"{row.crashes} workers died while they had it, the last one with nothing else in hand")
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
        )


def _add_statement(dialect: str) -> ReturningInsert[Any]:
    """Makes items of the IDs that the run does not know yet, claimed from the start."""
    columns = ITEMS.c
    ids = given(dialect, columns.item_key, columns.is_integer, columns.seq)
    values: dict[Any, Any] = {
        columns.run_id: bindparam("this_run", type_=columns.run_id.type),
        columns.item_key: ids.c.item_key,
        columns.is_integer: ids.c.is_integer,
        columns.seq: ids.c.seq,
        columns.state: literal_column("'running'"),
        columns.stage: literal_column("0"),
        columns.fence: literal_column("1"),
        columns.owner: bindparam("this_owner", type_=columns.owner.type),
        columns.attempts: literal_column("0"),
        columns.failures: literal_column("0"),
        columns.crashes: literal_column("0"),
    }
    module: Any = postgresql if dialect == "postgresql" else sqlite
    # SQLite takes the ON of ON CONFLICT for a join's, unless there is a WHERE.
    insert = module.insert(ITEMS).from_select(list(values), select(*values.values()).where(true()))
    statement: ReturningInsert[Any] = insert.on_conflict_do_nothing().returning(columns.item_key)
    return statement


def by_key(ids: Sequence[int | str]) -> tuple[dict[str, int | str], list[Claim]]:
    """The IDs by their keys, and those that can have none, which fail without a call."""
    keyed: dict[str, int | str] = {}
    refused: list[Claim] = []
    for one in ids:
        try:
            keyed[key_text(one)] = one
        except RxPipeError as error:
            refused.append(Claim(id=one, key="", owner="", fence=0, value=one, error=error, outside=True))
    return keyed, refused
