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

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from sqlalchemy import Connection, Insert, Row, Select, Update, bindparam, exists, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from rxpipe.database.commit import raise_unless_refused
from rxpipe.database.encoding import one_line
from rxpipe.database.refusal import RowRefused, refusal
from rxpipe.errors import LeaseLost
from rxpipe.item import Claim
from rxpipe.outcome import Outcome
from rxpipe.store.database import Database
from rxpipe.store.given import PARAMETER, given
from rxpipe.store.records import Checkpoint, Closing, Ended, FailedCall, Record, Used, failed_call
from rxpipe.store.schema import CHECKPOINTS, FAILURES, ITEMS, RUNS, USAGE, db_now

_LARGEST = 4_000_000  # characters of checkpoints in one statement

Standing = Literal["held", "committed", "lost"]


class Rows(Protocol):
    """What writes the sink's rows: see ``database/writer.py``."""

    def write_in(self, connection: Connection, batch: Sequence[Outcome[Any]]) -> list[RowRefused | None]:
        """Write the outcomes' rows in the connection's transaction, and tell which were refused, and why."""
        ...


@dataclass(slots=True, eq=False)
class Move:
    """What a batch does to one item."""

    claim: Claim
    checkpoints: list[Checkpoint] = field(default_factory=list[Checkpoint])
    failed: list[FailedCall] = field(default_factory=list[FailedCall])
    used: list[Used] = field(default_factory=list[Used])
    outcome: Outcome[Any] | None = None
    refused: RowRefused | None = None
    unkept: RowRefused | None = None  # why its checkpoints are not taken

    @property
    def changes(self) -> bool:
        """Whether it does anything to the item, but for telling what its calls used."""
        return bool(self.checkpoints or self.failed or self.outcome is not None or self.unkept is not None)

    @property
    def start(self) -> int:
        """Where the item is before: how many stages have a checkpoint."""
        return self.checkpoints[0].stage if self.checkpoints else self.claim.stage

    @property
    def stage(self) -> int:
        """Where it brings the item."""
        return self.checkpoints[-1].stage + 1 if self.checkpoints else self.claim.stage

    @property
    def state(self) -> str:
        """What it makes of the item."""
        if self.unkept is not None:
            return "dead"
        if self.outcome is None:
            return "running"
        return "done" if self.outcome.status == "written" and self.refused is None else "dead"

    @property
    def attempts(self) -> int:
        """Calls made for the item; 0 if the batch does not say."""
        known = [checkpoint.attempts for checkpoint in self.checkpoints]
        return max([*known, 0 if self.outcome is None else self.outcome.attempts])

    def standing(self, row: Row[Any] | None) -> Standing:
        """How the item's row compares with what the batch goes by."""
        claim = self.claim
        if row is None or claim.lost or (row.owner, row.fence) != (claim.owner, claim.fence):
            return "lost"  # of one that is known to be, calls were left out
        if (row.stage, row.state) == (self.start, "running"):
            return "held"
        ended = self.outcome is not None and row.state in ("done", "dead")
        return "committed" if row.stage == self.stage and (ended or row.state == self.state) else "lost"


class Commits:
    """Commits batches of one run."""

    def __init__(self, database: Database, run_id: int, rows: Rows | None) -> None:
        """Prepare the statements.

        Args:
            database: The store's.
            run_id: The run.
            rows: Writes the sink's rows, if there is a sink.
        """
        self._database = database
        self._run_id = run_id
        self._rows = rows
        dialect = database.engine.dialect.name
        self._lock = _lock_statement(dialect, run_id)
        self._advance = _advance_statement(dialect, run_id)
        self._add_checkpoints = _add_statement(dialect, run_id)
        module: Any = postgresql if dialect == "postgresql" else sqlite
        self._add_failures = module.insert(FAILURES).on_conflict_do_nothing()
        self._add_usage = _usage_statement(dialect, run_id)

    def commit(self, batch: Sequence[Record]) -> list[Outcome[Any]]:
        """Commit a batch.

        Args:
            batch: In the order in which it happened.

        Returns:
            The outcomes in it: ``failed`` if the row was refused, ``cancelled`` if the item was lost.

        Raises:
            SinkError: The database takes no rows at all, however long one waits.
            Exception: It is away or busy (``is_transient`` is true): commit the same batch again.
        """
        moves = _moves(batch)
        standings = self._commit_moves(list(moves.values())) if moves else {}
        for move in moves.values():
            move.claim.stage = move.stage
        return [
            record.outcome if record.claim.outside else _result(moves[id(record.claim)], standings[id(record.claim)])
            for record in batch
            if isinstance(record, Ended)
        ]

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
            for to, keys in _destinations(held, rows).items():
                parameters = dict(zip(_CHANGED, to, strict=True))
                connection.execute(self._advance, parameters | {PARAMETER: _given_keys(keys)})
            self._insert(connection, held, now)
        for move in moves:
            row = rows.get(move.claim.key)
            if standings[id(move.claim)] == "committed" and row is not None and row.state == "dead":
                move.refused = _refused_before(move, row)
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
        connection.execute(self._add_usage, {PARAMETER: json.dumps(rows)})

    def _locked(self, connection: Connection, keys: set[str]) -> tuple[dict[str, Row[Any]], float]:
        rows = {row.item_key: row for row in connection.execute(self._lock, {PARAMETER: _given_keys(keys)})}
        return rows, next((row.now for row in rows.values()), 0.0)

    def _write_rows(self, connection: Connection, moves: Sequence[Move]) -> None:
        wanted = [move for move in moves if move.refused is None]
        if self._rows is None or not wanted:
            return
        refused = self._rows.write_in(connection, [move.outcome for move in wanted if move.outcome is not None])
        for move, reason in zip(wanted, refused, strict=True):
            move.refused = reason

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
        failures = [
            {
                "id": failure.id,
                "run_id": self._run_id,
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
            for failure in _failures(move)
        ]
        for some in _chunks(checkpoints):
            connection.execute(self._add_checkpoints, {PARAMETER: json.dumps(some)})
        if failures:
            connection.execute(self._add_failures, failures)


def _lock_statement(dialect: str, run_id: int) -> Select[Any]:
    keys = given(dialect, ITEMS.c.item_key)
    return (
        select(ITEMS, db_now().label("now"))
        .where(ITEMS.c.run_id == run_id, ITEMS.c.item_key.in_(select(keys.c.item_key)))
        .order_by(ITEMS.c.item_key)  # else two workers might wait for each other
        .with_for_update(of=ITEMS)
    )


def _chunks(checkpoints: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The checkpoints in lists of a size that is no trouble to anyone."""
    some: list[dict[str, Any]] = []
    size = 0
    for checkpoint in checkpoints:
        some.append(checkpoint)
        size += len(checkpoint["output"]) + len(checkpoint["pickled"] or "")
        if size > _LARGEST:
            yield some
            some, size = [], 0
    if some:
        yield some


_CHANGED = ("to_state", "to_stage", "to_attempts", "to_failures", "to_error")


def _advance_statement(dialect: str, run_id: int) -> Update:
    keys = given(dialect, ITEMS.c.item_key)
    moved = update(ITEMS).where(ITEMS.c.run_id == run_id, ITEMS.c.item_key.in_(select(keys.c.item_key)))
    columns = (ITEMS.c.state, ITEMS.c.stage, ITEMS.c.attempts, ITEMS.c.failures, ITEMS.c.last_error)
    return moved.values(
        {column: bindparam(name, type_=column.type) for column, name in zip(columns, _CHANGED, strict=True)}
    )


def _given_keys(keys: Iterable[str]) -> str:
    return json.dumps([{"item_key": key} for key in keys])


def _add_statement(dialect: str, run_id: int) -> Insert:
    columns = [column for column in CHECKPOINTS.c if column is not CHECKPOINTS.c.run_id]
    rows = given(dialect, *columns)
    values = select(literal(run_id), *(rows.c[column.name] for column in columns))
    return insert(CHECKPOINTS).from_select([CHECKPOINTS.c.run_id, *columns], values)


def _usage_statement(dialect: str, run_id: int) -> Insert:
    columns = [column for column in USAGE.c if column.name not in ("run_id", "at")]
    rows = given(dialect, *columns)
    # Of a run that was pruned meanwhile, nothing is to be left.
    there = exists(select(RUNS.c.id).where(RUNS.c.id == run_id))
    values = select(literal(run_id), *(rows.c[column.name] for column in columns), db_now()).where(there)
    module: Any = postgresql if dialect == "postgresql" else sqlite
    added = module.insert(USAGE).from_select([USAGE.c.run_id, *columns, USAGE.c.at], values)
    statement: Insert = added.on_conflict_do_nothing()
    return statement


def _moves(batch: Sequence[Record]) -> dict[int, Move]:
    """What the batch does to each claim, by its identity: an item that was lost may be there twice."""
    moves: dict[int, Move] = {}
    for record in batch:
        if isinstance(record, Closing) or record.claim.outside:
            continue
        move = moves.get(id(record.claim))
        if move is None:
            move = moves[id(record.claim)] = Move(record.claim)
        if isinstance(record, Checkpoint):
            move.checkpoints.append(record)
        elif isinstance(record, FailedCall):
            move.failed.append(record)
        elif isinstance(record, Used):
            move.used.append(record)
        else:
            move.outcome = record.outcome
    return moves


def _failures(move: Move) -> list[FailedCall]:
    error = move.unkept or move.refused
    if error is None:
        return move.failed
    value = None if move.outcome is None or move.unkept is not None else move.outcome.value
    return [*move.failed, failed_call(move.claim, stage="database", attempt=1, error=error, value=value, final=True)]


def _destinations(moves: Sequence[Move], rows: Mapping[str, Row[Any]]) -> dict[tuple[Any, ...], list[str]]:
    """What the moves make of their items, the values of ``_CHANGED``, and of which: many have the same in common."""
    found: dict[tuple[Any, ...], list[str]] = {}
    for move in moves:
        row, failures = rows[move.claim.key], _failures(move)
        error = None if move.state == "done" else _last_error(move) or row.last_error
        to = move.state, move.stage, max(row.attempts, move.attempts), row.failures + len(failures), error
        found.setdefault(to, []).append(move.claim.key)
    return found


def _last_error(move: Move) -> str | None:
    if move.unkept is not None:
        return one_line(move.unkept)
    if move.refused is not None and (move.outcome is None or move.outcome.status == "written"):
        return one_line(move.refused)
    return move.failed[-1].text if move.failed else None


def _refused_before(move: Move, row: Row[Any]) -> RowRefused | None:
    """Why a row was refused in a commit whose answer was lost."""
    if move.outcome is None or move.outcome.status != "written":
        return None
    return RowRefused(row.last_error or "the row was refused")


def _result(move: Move, standing: Standing) -> Outcome[Any]:
    outcome = move.outcome
    assert outcome is not None  # of records that have one
    if standing == "lost":
        lost = LeaseLost("another worker has taken the item over, as this one did not answer for too long")
        return replace(outcome, status="cancelled", error=lost)
    error = move.unkept or move.refused
    return outcome if error is None else replace(outcome, status="failed", error=error, stage="database")
