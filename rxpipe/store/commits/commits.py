"""Commits a batch of records: checkpoints, rows and the items' new states, in one transaction.

Only items that this worker still has count. An item's row is locked, and its owner, fence and stage are compared with
those in the batch:

- All are the same: the item is *held*, and moves on.
- The owner and fence are the same, and the item is where the batch would bring it: the batch *was committed* before,
  and only the answer was lost.
- Anything else: the item is *lost*. Another worker has taken it over, and the results of this worker are discarded.

The usage of calls is kept in any case: it was spent, whoever has the item now.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    Connection,
    CursorResult,
    Executable,
    Row,
)

from rxpipe.database.commit_batch import raise_unless_refused
from rxpipe.database.error_kinds import refusal
from rxpipe.database.json_rows import (
    PARAMETER,
    RUN,
    as_parameter,
    keys_as_parameter,
)
from rxpipe.pipeline.claim import ClaimedOutcome
from rxpipe.store.commits.cached_results import add_results
from rxpipe.store.commits.call_groups import MadeCalls, add_calls, made_in
from rxpipe.store.commits.checkpoints import add_checkpoints
from rxpipe.store.commits.children import add_children, retire_children, wake_parents
from rxpipe.store.commits.commit_statements import (
    CHANGED,
    ENDED_AT,
    ERASE_FROM,
    MAX_CRASHES,
    advance_statement,
    erase_statement,
    failures_statement,
    give_back_statement,
    lock_statement,
)
from rxpipe.store.commits.error_sums import ErrorSums
from rxpipe.store.commits.exchanges import add_exchanges
from rxpipe.store.commits.records import Ended, FailedCall, Record, Spawned, Used
from rxpipe.store.commits.row_writer import Rows
from rxpipe.store.commits.shared_quota import SharedQuota
from rxpipe.store.commits.state_changes import (
    Move,
    Standing,
    behind_the_way_back,
    destinations,
    failures_of,
    is_handed_over,
    moves_of,
    refused_before,
    result_of,
)
from rxpipe.store.commits.tallies import add_tally
from rxpipe.store.commits.used_rows import add_usage
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.tables import ENDED, ITEMS

_FAILURES = 100  # rows in one statement; few, as each has a traceback
_SOON = 0.05  # seconds to wait for another worker that makes statistics
_MANY = 500  # items after which PostgreSQL should know their number


class Commits:
    """Commits batches of one run."""

    def __init__(
        self,
        database: Database,
        run_id: int,
        rows: Rows | None,
        *,
        max_crashes: int,
        collects: bool = False,
        quota: SharedQuota | None = None,
        epoch: float = 0.0,
    ) -> None:
        """Describe the commits.

        Args:
            database: The store's database.
            run_id: The run's number.
            rows: Writes the sink's rows, if there is a sink.
            max_crashes: How many workers may be lost with an item before the item is tried alone.
            collects: True if a stage collects children.
            quota: How many items all workers are to write; None for all.
            epoch: The zero of the clock that times calls, in seconds since 1970.
        """
        self._database = database
        self._epoch = epoch
        self._errors = ErrorSums()
        self._calls = self._calls_before = 0
        self._first_with_calls: Record | None = None
        self._dialect = database.engine.dialect.name
        self._rows = rows
        self._of_run = {RUN: run_id}
        self._max_crashes = {MAX_CRASHES: max_crashes}
        self._collects, self._quota = collects, quota
        self._until_many = _MANY if self._dialect == "postgresql" else math.inf

    def make_rows(self, batch: Sequence[Record]) -> None:
        """Make the rows of the outcomes in a batch, once, however often the batch is committed.

        This calls the user's code: hold no lock and no transaction meanwhile.
        """
        if self._rows is None:
            return
        spawned = [(one, one.outcome) for one in batch if isinstance(one, Spawned) and one.outcome is not None]
        spawned = [(one, outcome) for one, outcome in spawned if one.made_row is None and not one.claim.outside]
        for one, made in zip(spawned, self._rows.make([outcome for _, outcome in spawned]), strict=True):
            one[0].made_row = made
        unmade = [record for record in batch if isinstance(record, Ended) and record.made is None]
        unmade = [record for record in unmade if not record.claim.outside]
        for record, made in zip(unmade, self._rows.make([record.outcome for record in unmade]), strict=True):
            record.made = made

    def commit(self, batch: Sequence[Record]) -> list[ClaimedOutcome]:
        """Commit a batch whose rows are made.

        Args:
            batch: The records, in the order of their events.

        Returns:
            The outcomes in the batch: ``failed`` if the row was refused, ``cancelled`` if the item was lost.

        Raises:
            SinkError: The database takes no rows at all, and waiting does not help.
            Exception: The database is away or busy (``is_transient`` is true): commit the same batch again.
        """
        moves = moves_of(batch)
        standings = self._commit_moves(list(moves.values()), self._made_in(batch)) if moves else {}
        for move in moves.values():
            move.claim.stage = move.stage
        self._until_many -= len(moves)
        if self._until_many <= 0:
            self._make_statistics()
        outcomes = [
            record.outcome
            if is_handed_over(record)
            else result_of(moves[id(record.claim)], standings[id(record.claim)])
            for record in batch
            if isinstance(record, Ended)
        ]
        if self._quota is not None:
            self._quota.committed(sum(outcome.status == "written" for outcome in outcomes))
        return outcomes

    def add_usage(self, connection: Connection, used: Sequence[Used]) -> None:
        """Keep the usage of calls whose items are given back."""
        add_usage(connection, self._of_run, used)

    def release(self, connection: Connection) -> None:
        """Record that this worker commits nothing more."""
        if self._rows is not None:
            self._rows.release(connection)

    def _make_statistics(self) -> None:
        """Have PostgreSQL count items, once.

        Without statistics, PostgreSQL takes a run in a new table for a small one, and reads all its items each time. It
        makes statistics by itself after a minute or two, unless that is turned off.
        """
        self._until_many = math.inf
        with suppress(Exception), self._database.transaction(wait=_SOON) as connection:  # the batch is committed anyway
            connection.exec_driver_sql(f"ANALYZE {ITEMS.name}")

    def _made_in(self, batch: Sequence[Record]) -> MadeCalls:
        first = next((record for record in batch if record.calls is not None), None)
        if first is not self._first_with_calls:  # otherwise it is the same batch again, which has its number
            self._first_with_calls, self._calls_before = first, self._calls
        made = made_in(batch, self._calls_before, self._epoch)
        if made.group is not None:
            self._calls = self._calls_before + made.group.count
        return made

    def _commit_moves(self, moves: Sequence[Move], calls: MadeCalls) -> dict[int, Standing]:
        try:
            with self._database.transaction() as connection:
                return self._move(connection, moves, calls)
        except Exception as error:  # noqa: BLE001 - bind processors raise anything; ours are raised again
            raise_unless_refused(error)
            reason = refusal(error)
        # All rows were taken and the commit was refused (a deferred constraint of the user's table): find the row to
        # blame.
        if len(moves) > 1:
            half = len(moves) // 2
            return self._commit_moves(moves[:half], calls) | self._commit_moves(moves[half:], calls)
        move = moves[0]
        if move.unkept is not None:
            raise reason
        if move.refused is None and move.outcome is not None:
            move.refused = reason
        else:  # not the row, but a value to keep: too large, or nothing that the database can hold
            move.unkept, move.checkpoints, move.spawned, move.children = reason, [], None, ()
            move.results = []
        return self._commit_moves(moves, calls)

    def _move(self, connection: Connection, moves: Sequence[Move], calls: MadeCalls) -> dict[int, Standing]:
        # The current workers of the items.
        spent = add_usage(connection, self._of_run, [used for move in moves for used in move.used])
        worker = moves[0].claim.owner
        moves = [move for move in moves if move.changes]
        keys = {move.claim.key for move in moves} | self._parents(moves)
        rows, now = self._locked(connection, keys) if moves else ({}, 0.0)
        if calls.group is not None:
            add_calls(connection, self._of_run, calls.group, now or None)
        if calls.said:
            add_exchanges(connection, self._of_run, calls.said, now or None)
        if not moves:
            add_tally(connection, self._of_run, worker, {}, spent)
            return {}
        retire_children(connection, self._of_run, behind_the_way_back(moves, rows))
        self._add_children(connection, moves, rows, now)
        standings: dict[int, Standing] = {id(move.claim): move.standing(rows.get(move.claim.key)) for move in moves}
        held = [move for move in moves if standings[id(move.claim)] == "held"]
        if held:
            self._erase(connection, held)
            self._keep_to_quota(connection, held)
            self._write_rows(connection, [move for move in held if not move.is_surplus])
            if self._quota is not None:
                self._quota.add(connection, sum(move.state == "written" for move in held))
            failures = self._insert_failures(connection, held, now)
            counts = Counter(key for key, _ in failures)
            for to, some in destinations(held, rows, counts).items():
                changes = dict(zip(CHANGED, to, strict=True)) | self._max_crashes
                changes[ENDED_AT] = now if to[0] in ENDED else None
                statement = give_back_statement if to[0] == "ready" else advance_statement
                self._execute(connection, statement, keys_as_parameter(some), changes)
            self._insert(connection, held, now)
            parents = {key for key in self._parents(held) if key in rows and rows[key].state == "waiting"}
            parents |= {move.claim.key for move in held if move.spawned is not None and move.state == "waiting"}
            wake_parents(connection, self._of_run, sorted(parents))
            # Last, as many commits change these rows. No other worker does, but the server does not know that.
            self._errors.add(connection, self._of_run, [one for _, one in failures], worker, now)
        add_tally(connection, self._of_run, worker, Counter(move.state for move in held), spent)
        for move in moves:
            row = rows.get(move.claim.key)
            if standings[id(move.claim)] == "committed" and row is not None and row.state == "failed":
                move.refused = refused_before(move, row)
        return standings

    def _parents(self, moves: Sequence[Move]) -> set[str]:
        """Returns the parents that may wait for items that end in this batch."""
        if not self._collects:
            return set()
        return {one.claim.parent for one in moves if one.claim.parent is not None and one.ends}

    def _locked(self, connection: Connection, keys: set[str]) -> tuple[dict[str, Row[Any]], float]:
        found = self._execute(connection, lock_statement, keys_as_parameter(keys))
        rows = {row.item_key: row for row in found}
        return rows, next((row.now for row in rows.values()), 0.0)

    def _add_children(
        self, connection: Connection, moves: Sequence[Move], rows: dict[str, Row[Any]], now: float
    ) -> None:
        """Make items of the children of held items, and lock those that are in the batch themselves."""
        parents = [move for move in moves if move.children]
        while parents:
            held = [move for move in parents if move.standing(rows.get(move.claim.key)) == "held"]
            if not held:
                return
            children = [(child, rows[move.claim.key]) for move in held for child in move.children]
            add_children(connection, self._of_run, children, now)
            new = {child.claim.key for child, _ in children} & {move.claim.key for move in moves}
            rows |= self._locked(connection, new)[0]
            parents = [move for move in parents if move not in held]  # children may have children

    def _keep_to_quota(self, connection: Connection, moves: Sequence[Move]) -> None:
        """Write no more items than are missing. The others are given back."""
        written = [move for move in moves if move.state == "written"]
        if self._quota is not None:
            for move in written[self._quota.missing(connection) :]:
                move.is_surplus = True

    def _erase(self, connection: Connection, moves: Sequence[Move]) -> None:
        """Delete the checkpoints of items that were sent back."""
        keys: dict[int, list[str]] = {}
        for move in moves:
            if move.erase_from is not None:
                keys.setdefault(move.erase_from, []).append(move.claim.key)
        for stage, some in keys.items():
            self._execute(connection, erase_statement, keys_as_parameter(some), {ERASE_FROM: stage})

    def _write_rows(self, connection: Connection, moves: Sequence[Move]) -> None:
        wanted = {id(move): move.made for move in moves if move.refused is None and move.made is not None}
        if self._rows is None or not wanted:
            return
        refused = self._rows.write_in(connection, list(wanted.values()))
        reasons = dict(zip(wanted, refused, strict=True))
        for move in moves:
            move.refused = reasons.get(id(move), move.refused)

    def _insert(self, connection: Connection, moves: Sequence[Move], now: float) -> None:
        checkpoints = [
            (move.claim.key, one.stage, move.claim.fence, *one.output, now)
            for move in moves
            for one in move.checkpoints
        ]
        add_checkpoints(connection, self._of_run, checkpoints)
        add_results(connection, [one for move in moves for one in move.results], now)

    def _insert_failures(
        self, connection: Connection, moves: Sequence[Move], now: float
    ) -> list[tuple[str, FailedCall]]:
        """Keep the failed calls.

        Returns:
            The failed calls that are new, each with its item's key. Those of a commit whose answer was lost are not
            new.
        """
        owners = {move.claim.key: move.claim.owner for move in moves}
        told = {failure.id: (move.claim.key, failure) for move in moves for failure in failures_of(move)}
        failures = [
            {
                "id": failure.id,
                "item_key": key,
                "stage": failure.stage,
                "attempt": failure.attempt,
                "final": failure.final,
                "type": failure.type,
                "text": failure.text,
                "traceback": failure.traceback,
                "input": failure.input,
                "worker": owners[key],
                "at": now,
            }
            for key, failure in told.values()
        ]
        added: list[str] = []
        for first in range(0, len(failures), _FAILURES):
            some = failures[first : first + _FAILURES]
            added += self._execute(connection, failures_statement, as_parameter(some)).scalars()
        return [told[one] for one in added]

    def _execute(
        self,
        connection: Connection,
        statement: Callable[[str], Executable],
        rows: str,
        parameters: Mapping[str, Any] = MappingProxyType({}),
    ) -> CursorResult[Any]:
        return connection.execute(statement(self._dialect), {**self._of_run, **parameters, PARAMETER: rows})
