"""What a batch of records does to each item, and what the item's row says to that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sqlalchemy import Row

from rxpipe.database.encoding import one_line
from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.writer import Made
from rxpipe.errors import LeaseLost
from rxpipe.pipeline.ports import Claim, ClaimedOutcome
from rxpipe.store.commits.records import Checkpoint, Closing, FailedCall, Record, Used, failed_call

Standing = Literal["held", "committed", "lost"]


@dataclass(slots=True, eq=False)
class Move:
    """What a batch does to one item."""

    claim: Claim
    checkpoints: list[Checkpoint] = field(default_factory=list[Checkpoint])
    failed: list[FailedCall] = field(default_factory=list[FailedCall])
    used: list[Used] = field(default_factory=list[Used])
    outcome: ClaimedOutcome | None = None
    made: Made | None = None  # the outcome's row
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
            return "failed"
        if self.outcome is None:
            return "running"
        return "written" if self.outcome.status == "written" and self.refused is None else "failed"

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
        ended = self.outcome is not None and row.state in ("written", "failed")
        return "committed" if row.stage == self.stage and (ended or row.state == self.state) else "lost"


def moves_of(batch: Sequence[Record]) -> dict[int, Move]:
    """What the batch does to each claim, by its identity: an item that was lost may be there twice."""
    moves: dict[int, Move] = {}
    for record in batch:
        if isinstance(record, Closing):
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
            move.outcome, move.made = record.outcome, record.made
    return moves


def failures_of(move: Move) -> list[FailedCall]:
    """The failures to keep: those of calls, and a refusal by the database."""
    error = move.unkept or move.refused
    if error is None:
        return move.failed
    value = None if move.outcome is None or move.unkept is not None else move.outcome.value
    return [*move.failed, failed_call(move.claim, stage="database", attempt=1, error=error, value=value, final=True)]


def destinations(
    moves: Sequence[Move], rows: Mapping[str, Row[Any]], failures: Mapping[str, int]
) -> dict[tuple[Any, ...], list[str]]:
    """The new values of the items' columns, as ``commits._CHANGED`` names them, and the items that get each.

    Args:
        moves: What happens to the items.
        rows: The items as they are, by their keys.
        failures: How many failed calls are new, by the items' keys.
    """
    found: dict[tuple[Any, ...], list[str]] = {}
    for move in moves:
        key, row = move.claim.key, rows[move.claim.key]
        error = None if move.state == "written" else _last_error(move) or row.last_error
        to = move.state, move.stage, max(row.attempts, move.attempts), row.failures + failures.get(key, 0), error
        found.setdefault(to, []).append(key)
    return found


def _last_error(move: Move) -> str | None:
    if move.unkept is not None:
        return one_line(move.unkept)
    if move.refused is not None and (move.outcome is None or move.outcome.status == "written"):
        return one_line(move.refused)
    return move.failed[-1].text if move.failed else None


def refused_before(move: Move, row: Row[Any]) -> RowRefused | None:
    """Why a row was refused in a commit whose answer was lost."""
    if move.outcome is None or move.outcome.status != "written":
        return None
    return RowRefused(row.last_error or "the row was refused")


def result_of(move: Move, standing: Standing) -> ClaimedOutcome:
    """How the item ended: as the stages say, unless its row was refused or the item was lost."""
    outcome = move.outcome
    assert outcome is not None  # of records that have one
    if standing == "lost":
        lost = LeaseLost("another worker has taken the item over, as this one did not answer for too long")
        return replace(outcome, status="cancelled", error=lost)
    error = move.unkept or move.refused
    return outcome if error is None else replace(outcome, status="failed", error=error, stage="database")
