"""Claims items for a worker: those that wait, and new ones from the source."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Executable, Row, and_, func, not_, select, update

from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.json_rows import PARAMETER, RUN, as_parameter, is_in_keys, keys_as_parameter
from rxpipe.errors import CheckpointError, RxPipeError, WorkerLost
from rxpipe.pipeline.claim import Claim, Spawning
from rxpipe.pipeline.record import Record
from rxpipe.pipeline.run.flow import NOWHERE
from rxpipe.store.commits.children import wake_all_parents
from rxpipe.store.commits.outputs import Output, encode
from rxpipe.store.commits.records import NewChild
from rxpipe.store.commits.shared_quota import SharedQuota
from rxpipe.store.items.changed_records import ChangedRecords, keep_values
from rxpipe.store.items.claim_statements import (
    COUNT,
    CRASHES,
    OWNER,
    add_statement,
    left_statement,
    others_claim_statement,
    quarantined_claim_statement,
    quarantined_statement,
)
from rxpipe.store.items.ended_items import KeyedId
from rxpipe.store.items.inputs import Inputs, StageOrder, loaded, read_inputs
from rxpipe.store.items.kept_values import KeptValue
from rxpipe.store.items.lease import GIVEN_BACK, Lease
from rxpipe.store.schema.keys import Keys, is_stand_in
from rxpipe.store.schema.tables import IS_RUNNING, ITEMS, WORKERS

TRIES_ALONE = 3
"""Workers that must die in a row while they try an item alone, in one stage, before it is a dead letter.

A worker that is killed from outside may well have had an item alone. So if workers also die without the item, more must
die with it: one more each time that the number of the others doubles.
"""

_MORE_TRIES = 5
_ANY = 2**31 - 1  # most crashes of an item
_NO_STAGES = StageOrder()


class Left(NamedTuple):
    """The work that is left in a run, for all of its workers.

    Attributes:
        ready: True if any item waits.
        running: True if any worker has an item, or a parent waits for its children.
    """

    ready: bool
    running: bool


class Claims:
    """Claims items of one run for one worker. Each method runs in a transaction of the caller.

    Attributes:
        quota: How many items all workers are to write; None for all.
        room: How many items of the source may be claimed before the waiting items are looked at again.
        changed: Handles known records that come with another value.
    """

    def __init__(
        self,
        dialect: str,
        run_id: int,
        lease: Lease,
        *,
        max_crashes: int,
        keys: Keys | None = None,
        order: StageOrder = _NO_STAGES,
        changed: ChangedRecords | None = None,
        quota: SharedQuota | None = None,
    ) -> None:
        """Describe the claims.

        Args:
            dialect: The name of the database's dialect.
            run_id: The run's number.
            lease: The worker's lease.
            max_crashes: How many workers may be lost with an item before the item is tried alone.
            keys: Makes keys of IDs; by default for a database that has all characters.
            order: The stages.
            changed: Handles known records that come with another value; by default they keep the first one.
            quota: How many items all workers are to write; None for all.
        """
        self.quota = quota
        self.room: float = math.inf
        self._order = order
        self.changed = changed or ChangedRecords("keep", run_id, lease)
        self._dialect = dialect
        self._keys = keys or Keys()
        self._run_id = run_id
        self._of_run = {RUN: run_id}
        self._lease = lease
        self._alone = max_crashes
        self._most_crashes = max_crashes + TRIES_ALONE - 1  # an item with more crashes is not tried again

    @property
    def owner(self) -> str:
        """The name of the claiming worker."""
        return self._lease.owner

    def waiting(self, connection: Connection, count: int, window: int, *, idle: bool = True) -> list[Claim] | None:
        """Claim items that wait: quarantined items if there are any, otherwise up to ``count`` items, in their order.

        Items that several workers were lost with are in quarantine. The more workers were lost, the fewer items are
        claimed at a time, and finally one. So the guilty item is found, and the items beside it come through.

        Args:
            connection: In a transaction.
            count: Most items to claim that are not quarantined.
            window: How many items the stages hold.
            idle: True if the worker has nothing in hand.

        Returns:
            The claimed items; None if quarantined items wait until the worker is idle.
        """
        if not self._lease.hold(connection):
            return []
        if self.quota is not None:
            self.room = self.quota.room(connection)
            if not self.room:
                return []
            count = min(count, int(self.room))
        crashes = connection.execute(quarantined_statement(), self._of_run | {CRASHES: _ANY}).scalar_one()
        if crashes is not None and crashes >= self._alone + TRIES_ALONE:
            self._most_crashes = self._most(connection)
            tried = self._of_run | {CRASHES: self._most_crashes}
            crashes = connection.execute(quarantined_statement(), tried).scalar_one()
        if crashes is None:
            claims = self._claim(connection, others_claim_statement(self._dialect), self._most_crashes, count)
            self.room -= len(claims)
            return claims
        if not idle:
            return None
        few = 1 if crashes >= self._alone else max(1, window >> 2 * (crashes - 1))
        claims = self._claim(connection, quarantined_claim_statement(self._dialect), crashes, few)
        for claim in claims:
            claim.quarantined = True
        return claims

    def _most(self, connection: Connection) -> int:
        """Returns with how many lost workers an item is still tried.

        Depends on how many workers the run has lost in all.
        """
        lost = select(func.count()).where(WORKERS.c.run_id == self._run_id, WORKERS.c.ended_as == "lost")
        workers = connection.execute(lost).scalar_one()
        most = self._alone + TRIES_ALONE - 1
        while most + 1 < self._alone + TRIES_ALONE + min(_MORE_TRIES, max(0, workers - most - 1).bit_length()):
            most += 1
        return most

    def recover(self, connection: Connection, keys: Sequence[str]) -> None:
        """Give back the items that the worker has in the store, except these: the answer to its claim was lost."""
        in_hand = is_in_keys(self._dialect, ITEMS.c.item_key)
        stray = and_(IS_RUNNING, ITEMS.c.owner == self._lease.owner, not_(in_hand))
        back = update(ITEMS).where(ITEMS.c.run_id == self._run_id, stray).values(**GIVEN_BACK)
        connection.execute(back, {PARAMETER: keys_as_parameter(keys)})
        wake_all_parents(connection, self._of_run)

    def child(self, parent: Claim, spawning: Spawning, place: int, record: Record) -> NewChild:
        """Returns a child that a stage has made. It belongs to this worker from the start."""
        claim = self._new(record)
        claim.owner = parent.owner
        claim.parent, claim.root, claim.depth = parent.key, parent.root or parent.key, spawning.depth
        claim.number, claim.record = spawning.first + place, parent.record
        claim.first = claim.stage = claim.noted = spawning.stage + 1
        try:
            output = encode(record.value)
        except CheckpointError as error:
            claim.error, output = claim.error or error, None
        return NewChild(claim=claim, output=output)

    def new(self, connection: Connection, ids: Sequence[int | str | Record], first: int) -> list[Claim]:
        """Claim IDs that the run does not know yet. The values of records are kept.

        Args:
            connection: In a transaction.
            ids: IDs from the source. Known ones are left out, except records that are done again.
            first: The place of the first ID in the source.

        Raises:
            ConfigError: A known record has another value now, and that is an error.
        """
        if not self._lease.hold(connection):
            return []
        new: dict[str, Claim] = {}
        outputs: dict[str, Output | None] = {}
        repeated: list[Record] = []
        for one in ids:
            claim = self._new(one)
            if claim.key not in new:
                new[claim.key] = claim
                if isinstance(one, Record):
                    outputs[claim.key] = _encoded(claim)
            elif isinstance(one, Record):
                repeated.append(one)
        rows = [
            (key, not isinstance(claim.id, str) and not claim.outside, first + place)
            for place, (key, claim) in enumerate(new.items())
        ]
        parameters = self._of_run | {OWNER: self._lease.owner, PARAMETER: as_parameter(rows)}
        added = set(connection.execute(add_statement(self._dialect), parameters).scalars())
        if outputs:
            again = self.changed.again(connection, {key: new[key] for key in outputs if key not in added}, outputs)
            keep_values(connection, self._of_run, {key: outputs[key] for key in outputs if key in added | again})
            added |= again
        claims = [claim for key, claim in new.items() if key in added]
        return claims + self.new(connection, repeated, first) if repeated else claims  # the run knows these by now

    def _new(self, given: int | str | Record) -> Claim:
        item_id, record = (given.id, given.value) if isinstance(given, Record) else (given, None)
        value = record if isinstance(given, Record) else given
        key, error = self._keys.of(item_id)
        owner = self._lease.owner
        outside = error is not None
        return Claim(
            id=item_id, key=key, owner=owner, fence=1, value=value, record=record, error=error, outside=outside
        )

    def keyed(self, ids: Iterable[int | str | Record]) -> Iterator[KeyedId]:
        """Returns the IDs with their keys."""
        plain = (one.id if isinstance(one, Record) else one for one in ids)
        return ((self._keys.of(one)[0], one) for one in plain)

    def left(self, connection: Connection) -> Left:
        """Returns the work that is left."""
        # Running, or waiting for its children.
        ready, running = connection.execute(left_statement(), self._of_run).one()
        return Left(bool(ready), bool(running))

    def _claim(self, connection: Connection, statement: Executable, crashes: int, count: int) -> list[Claim]:
        parameters = self._of_run | {OWNER: self._lease.owner, CRASHES: crashes, COUNT: count}
        rows = sorted(connection.execute(statement, parameters).all(), key=lambda row: row.seq)
        inputs = read_inputs(connection, self._of_run, rows, self._order)
        return [self._claim_of(row, inputs[row.item_key]) for row in rows]

    def _claim_of(self, row: Row[Any], inputs: Inputs) -> Claim:
        item_id = int(row.item_key) if row.is_integer else row.item_key
        error: RxPipeError | None = None
        value: Any = item_id
        if row.crashes > self._most_crashes:
            last = f"the last {row.crashes - self._alone} with nothing else in hand"
            error = WorkerLost(f"{row.crashes} workers died while they had it, {last}")
        elif is_stand_in(row.item_key):  # given back before it failed, or requeued
            error = RowRefused(f"the ID {row.item_key} can be no key")
        feedback: Any = None
        try:
            if inputs.next is NOWHERE:
                raise CheckpointError(f"its checkpoint of stage {row.stage} is gone")
            value = loaded(inputs.next)
            feedback = None if row.feedback is None else KeptValue(*json.loads(row.feedback)).load()
        except CheckpointError as unreadable:
            error = error or unreadable
        return Claim(
            id=item_id,
            key=row.item_key,
            owner=row.owner,
            fence=row.fence,
            stage=row.stage,
            value=value,
            record=inputs.record,
            inputs=inputs.given,
            first=0 if row.made_by is None else row.made_by + 1,
            finished=inputs.finished,
            rounds=row.rounds,
            feedback=feedback,
            parent=row.parent_key,
            root=row.root_key,
            number=row.number or 0,
            depth=row.depth,
            children=inputs.unfinished,
            born=inputs.born,
            attempts=row.attempts,
            error=error,
            outside=is_stand_in(row.item_key),
        )


def _encoded(claim: Claim) -> Output | None:
    """Returns a record's value as the store keeps it.

    If it cannot be kept, returns None and notes the error in the claim.
    """
    try:
        return encode(claim.value)
    except CheckpointError as error:
        claim.error = claim.error or error
        return None
