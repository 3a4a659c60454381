"""Committing a batch of records: checkpoints, rows and what the items have come to, in one transaction.

Only what this worker still has counts. An item's row is locked, and its owner, fence and stage are compared with what
the batch goes by:

- all the same: the item is *held*, and moves on;
- the owner and fence the same, and the item is where the batch would bring it: the batch *was committed* before, and
  only the answer was lost;
- anything else: the item is *lost*, another worker has taken it over, and what was made of it here is discarded.

What calls have used is kept in any case: it was spent, whoever has the item now.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from types import MappingProxyType
from typing import Any, Protocol

from sqlalchemy import (
    Connection,
    CursorResult,
    Executable,
    Insert,
    Row,
    Select,
    Update,
    and_,
    bindparam,
    case,
    exists,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from rxpipe.database.commit_batch import raise_unless_refused
from rxpipe.database.error_kinds import RowRefused, refusal
from rxpipe.database.writer import Made
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.ports import ClaimedOutcome
from rxpipe.store.commits.records import Ended, Record, Used
from rxpipe.store.commits.state_changes import (
    Move,
    Standing,
    destinations,
    failures_of,
    moves_of,
    refused_before,
    result_of,
)
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.json_rows import (
    PARAMETER,
    RUN,
    as_parameter,
    is_in_rows,
    json_rows,
    keys_as_parameter,
    this_run,
)
from rxpipe.store.schema.tables import CHECKPOINTS, FAILURES, ITEMS, RUNS, USAGE, db_now

_LARGEST = 4_000_000  # characters of checkpoints in one statement
_LARGE = 1_000_000  # characters of a checkpoint that is no part of a JSON text, of which SQLite makes many copies
_FAILURES = 100  # in one statement, as each has a traceback
_SOON = 0.05  # seconds for which making statistics waits for whoever else makes them
_MANY = 500  # items after which PostgreSQL is to know how many there are


class Rows(Protocol):
    """What writes the sink's rows: see ``database/writer.py``."""

    def make(self, batch: Sequence[Outcome[Any]]) -> list[Made]:
        """Make the outcomes' rows, which calls the user's code."""
        ...

    def write_in(self, connection: Connection, batch: Sequence[Made]) -> list[RowRefused | None]:
        """Write rows in the connection's transaction, and tell which were refused, and why."""
        ...


class Commits:
    """Commits batches of one run."""

    def __init__(self, database: Database, run_id: int, rows: Rows | None, *, max_crashes: int) -> None:
        """Describe them.

        Args:
            database: The store's.
            run_id: The run.
            rows: Writes the sink's rows, if there is a sink.
            max_crashes: How many workers may be lost with an item before it is tried alone.
        """
        self._database = database
        self._dialect = database.engine.dialect.name
        self._rows = rows
        self._of_run = {RUN: run_id}
        self._max_crashes = {_MAX_CRASHES: max_crashes}
        self._until_many = _MANY if self._dialect == "postgresql" else math.inf

    def make_rows(self, batch: Sequence[Record]) -> None:
        """Make the rows of the outcomes in a batch, once, however often it is committed.

        This calls the user's code: hold no lock and no transaction meanwhile.
        """
        if self._rows is None:
            return
        unmade = [record for record in batch if isinstance(record, Ended) and record.made is None]
        unmade = [record for record in unmade if not record.claim.outside]
        for record, made in zip(unmade, self._rows.make([record.outcome for record in unmade]), strict=True):
            record.made = made

    def commit(self, batch: Sequence[Record]) -> list[ClaimedOutcome]:
        """Commit a batch whose rows are made.

        Args:
            batch: In the order in which it happened.

        Returns:
            The outcomes in it: ``failed`` if the row was refused, ``cancelled`` if the item was lost.

        Raises:
            SinkError: The database takes no rows at all, however long one waits.
            Exception: It is away or busy (``is_transient`` is true): commit the same batch again.
        """
        moves = moves_of(batch)
        standings = self._commit_moves(list(moves.values())) if moves else {}
        for move in moves.values():
            move.claim.stage = move.stage
        self._until_many -= len(moves)
        if self._until_many <= 0:
            self._make_statistics()
        return [
            result_of(moves[id(record.claim)], standings[id(record.claim)])
            for record in batch
            if isinstance(record, Ended)
        ]

    def _make_statistics(self) -> None:
        """Have PostgreSQL count items, once: it takes a run in a new table for a few, and reads them all each time.

        It does so by itself after a minute or two, unless that is turned off.
        """
        self._until_many = math.inf
        with suppress(Exception), self._database.transaction(wait=_SOON) as connection:  # the batch is committed anyway
            connection.exec_driver_sql(f"ANALYZE {ITEMS.name}")

    def _commit_moves(self, moves: Sequence[Move]) -> dict[int, Standing]:
        try:
            with self._database.transaction() as connection:
                return self._move(connection, moves)
        except Exception as error:  # noqa: BLE001 - bind processors raise anything; ours are raised again
            raise_unless_refused(error)
            reason = refusal(error)
        # All was taken and the commit refused (a deferred constraint of the user's table): whose row is to blame?
        if len(moves) > 1:
            half = len(moves) // 2
            return self._commit_moves(moves[:half]) | self._commit_moves(moves[half:])
        move = moves[0]
        if move.unkept is not None:
            raise reason
        if move.refused is None and move.outcome is not None:
            move.refused = reason
        else:  # not the row then, but what is to be kept: too large, or nothing that the database can hold
            move.unkept, move.checkpoints = reason, []
        return self._commit_moves(moves)

    def _move(self, connection: Connection, moves: Sequence[Move]) -> dict[int, Standing]:
        self._insert_usage(connection, [used for move in moves for used in move.used])  # whoever has the items now
        moves = [move for move in moves if move.changes]
        if not moves:
            return {}
        rows, now = self._locked(connection, {move.claim.key for move in moves})
        standings: dict[int, Standing] = {id(move.claim): move.standing(rows.get(move.claim.key)) for move in moves}
        held = [move for move in moves if standings[id(move.claim)] == "held"]
        if held:
            self._write_rows(connection, [move for move in held if move.outcome is not None])
            failures = self._insert_failures(connection, held, now)
            for to, keys in destinations(held, rows, failures).items():
                changes = dict(zip(_CHANGED, to, strict=True)) | self._max_crashes
                self._execute(connection, _advance_statement, keys_as_parameter(keys), changes)
            self._insert(connection, held, now)
        for move in moves:
            row = rows.get(move.claim.key)
            if standings[id(move.claim)] == "committed" and row is not None and row.state == "failed":
                move.refused = refused_before(move, row)
        return standings

    def _insert_usage(self, connection: Connection, records: Sequence[Used]) -> None:
        if not records:
            return
        rows = [
            {
                "id": used.id,
                "item_key": used.claim.key,
                "stage": used.stage,
                "attempt": used.attempt,
                "prompt_tokens": used.usage.prompt_tokens,
                "completion_tokens": used.usage.completion_tokens,
                "cost": used.usage.cost,
                "worker": used.claim.owner,
            }
            for used in records
        ]
        self._execute(connection, _usage_statement, as_parameter(rows))

    def _locked(self, connection: Connection, keys: set[str]) -> tuple[dict[str, Row[Any]], float]:
        found = self._execute(connection, _lock_statement, keys_as_parameter(keys))
        rows = {row.item_key: row for row in found}
        return rows, next((row.now for row in rows.values()), 0.0)

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
            {
                "item_key": move.claim.key,
                "stage": checkpoint.stage,
                "fence": move.claim.fence,
                "output": checkpoint.output.text,
                "pickled": checkpoint.output.pickled,
                "at": now,
            }
            for move in moves
            for checkpoint in move.checkpoints
        ]
        for some in _chunks([one for one in checkpoints if _size(one) <= _LARGE]):
            self._execute(connection, _add_statement, as_parameter(some))
        for one in checkpoints:
            if _size(one) > _LARGE:
                connection.execute(_large_statement(), self._of_run | {f"to_{name}": one[name] for name in one})

    def _insert_failures(self, connection: Connection, moves: Sequence[Move], now: float) -> Counter[str]:
        """Keep the failed calls.

        Returns:
            How many are new, by the items' keys: not those of a commit whose answer was lost.
        """
        failures = [
            {
                "id": failure.id,
                "item_key": move.claim.key,
                "stage": failure.stage,
                "attempt": failure.attempt,
                "final": failure.final,
                "type": failure.type,
                "text": failure.text,
                "traceback": failure.traceback,
                "input": failure.input,
                "worker": move.claim.owner,
                "at": now,
            }
            for move in moves
            for failure in failures_of(move)
        ]
        added: Counter[str] = Counter()
        for first in range(0, len(failures), _FAILURES):
            some = failures[first : first + _FAILURES]
            added.update(self._execute(connection, _failures_statement, as_parameter(some)).scalars())
        return added

    def _execute(
        self,
        connection: Connection,
        statement: Callable[[str], Executable],
        rows: str,
        parameters: Mapping[str, Any] = MappingProxyType({}),
    ) -> CursorResult[Any]:
        return connection.execute(statement(self._dialect), {**self._of_run, **parameters, PARAMETER: rows})


def _chunks(checkpoints: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The checkpoints in lists of a size that is no trouble to anyone."""
    some: list[dict[str, Any]] = []
    size = 0
    for checkpoint in checkpoints:
        some.append(checkpoint)
        size += _size(checkpoint)
        if size > _LARGEST:
            yield some
            some, size = [], 0
    if some:
        yield some


def _size(checkpoint: Mapping[str, Any]) -> int:
    return len(checkpoint["output"]) + len(checkpoint["pickled"] or "")


# The statements, each made once for all runs: to make one takes longer than to execute it.


@cache
def _lock_statement(dialect: str) -> Select[Any]:
    return (
        select(ITEMS, db_now().label("now"))
        .where(ITEMS.c.run_id == this_run(), is_in_rows(dialect, ITEMS.c.item_key))
        .order_by(ITEMS.c.item_key)  # else two workers might wait for each other
        .with_for_update(of=ITEMS)
    )


_CHANGED = ("to_state", "to_stage", "to_attempts", "to_failures", "to_error")
_MAX_CRASHES = "max_crashes"


@cache
def _advance_statement(dialect: str) -> Update:
    moved = update(ITEMS).where(ITEMS.c.run_id == this_run(), is_in_rows(dialect, ITEMS.c.item_key))
    columns = (ITEMS.c.state, ITEMS.c.stage, ITEMS.c.attempts, ITEMS.c.failures, ITEMS.c.last_error)
    to = {column: bindparam(name, type_=column.type) for column, name in zip(columns, _CHANGED, strict=True)}
    # A stage that has returned killed nobody: what follows is tried alone as often as this one was.
    max_crashes = bindparam(_MAX_CRASHES, type_=ITEMS.c.crashes.type)
    is_acquitted = and_(ITEMS.c.stage < to[ITEMS.c.stage], ITEMS.c.crashes > max_crashes)
    return moved.values({**to, ITEMS.c.crashes: case((is_acquitted, max_crashes), else_=ITEMS.c.crashes)})


@cache
def _add_statement(dialect: str) -> Insert:
    columns = [column for column in CHECKPOINTS.c if column is not CHECKPOINTS.c.run_id]
    rows = json_rows(dialect, *columns)
    values = select(this_run(), *(rows.c[column.name] for column in columns))
    return insert(CHECKPOINTS).from_select([CHECKPOINTS.c.run_id, *columns], values)


@cache
def _large_statement() -> Insert:
    columns = [column for column in CHECKPOINTS.c if column is not CHECKPOINTS.c.run_id]
    given_ones = {column: bindparam(f"to_{column.name}", type_=column.type) for column in columns}
    return insert(CHECKPOINTS).values({CHECKPOINTS.c.run_id: this_run(), **given_ones})


@cache
def _failures_statement(dialect: str) -> ReturningInsert[Any]:
    columns = [column for column in FAILURES.c if column is not FAILURES.c.run_id]
    rows = json_rows(dialect, *columns)
    values = select(this_run(), *(rows.c[column.name] for column in columns)).where(true())  # as in claims.py
    module: Any = postgresql if dialect == "postgresql" else sqlite
    kept = module.insert(FAILURES).from_select([FAILURES.c.run_id, *columns], values)
    statement: ReturningInsert[Any] = kept.on_conflict_do_nothing().returning(FAILURES.c.item_key)
    return statement


@cache
def _usage_statement(dialect: str) -> Insert:
    columns = [column for column in USAGE.c if column.name not in ("run_id", "at")]
    rows = json_rows(dialect, *columns)
    # Of a run that was pruned meanwhile, nothing is to be left.
    there = exists(select(RUNS.c.id).where(RUNS.c.id == this_run()))
    values = select(this_run(), *(rows.c[column.name] for column in columns), db_now()).where(there)
    module: Any = postgresql if dialect == "postgresql" else sqlite
    added = module.insert(USAGE).from_select([USAGE.c.run_id, *columns, USAGE.c.at], values)
    statement: Insert = added.on_conflict_do_nothing()
    return statement
