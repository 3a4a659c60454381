"""The effect of a batch of records on each item, compared with the item's row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sqlalchemy import Row

from rxpipe.database.encoding import one_line
from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.text import clean_text
from rxpipe.database.writer import Made
from rxpipe.errors import HandedOver, LeaseLost
from rxpipe.pipeline.claim import Claim, ClaimedOutcome
from rxpipe.store.commits.records import (
    Checkpoint,
    Closing,
    Ended,
    FailedCall,
    NewChild,
    Record,
    SentBack,
    Spawned,
    Used,
    failed_call,
)
from rxpipe.store.schema.tables import ENDED

Standing = Literal["held", "committed", "lost"]


@dataclass(slots=True, eq=False)
class Move:
    """The effect of a batch on one item."""

    claim: Claim
    checkpoints: list[Checkpoint] = field(default_factory=list[Checkpoint])
    # Results that other runs may use, whatever happened later.
    results: list[Checkpoint] = field(default_factory=list[Checkpoint])
    failed: list[FailedCall] = field(default_factory=list[FailedCall])
    used: list[Used] = field(default_factory=list[Used])
    outcome: ClaimedOutcome | None = None
    made: Made | None = None  # the outcome's row
    spawned: Spawned | None = None  # the last such record since the item was sent back
    children: Sequence[NewChild] = ()
    began: int | None = None  # where the item was before the first record
    sent_back: SentBack | None = None  # the last such record
    erase_from: int | None = None  # checkpoints of this stage and later stages no longer count
    retire_from: int | None = None  # children that this stage and later stages have made no longer count
    was_expanded: bool = False  # all children of a stage were made since the item was sent back
    collector: int | None = None  # the stage that waits for the item's children, if the batch says so
    knows_collector: bool = False
    refused: RowRefused | None = None
    unkept: RowRefused | None = None  # why its checkpoints are refused
    is_surplus: bool = False  # enough items are already written

    @property
    def changes(self) -> bool:
        """True if the batch changes the item, and does not only report usage."""
        is_moved = self.checkpoints or self.outcome is not None or not self.is_plain
        return bool(is_moved or self.failed or self.unkept is not None)

    @property
    def start(self) -> int:
        """Where the item is before the batch: the number of stages with a checkpoint."""
        return self.claim.stage if self.began is None else self.began

    @property
    def stage(self) -> int:
        """Where the batch brings the item."""
        if self.checkpoints:
            return self.checkpoints[-1].stage + 1
        return self.start if self.sent_back is None else self.sent_back.kept

    @property
    def all_spawned(self) -> Spawned | None:
        """The record that says that all children are made, if any."""
        return self.spawned if self.spawned is not None and self.spawned.is_all else None

    def take(self, record: Spawned | SentBack) -> None:
        """Take a record of new children, or of a way back."""
        if self.began is None:
            self.began = record.stage if record.start is None else record.start
        if isinstance(record, Spawned):
            self.spawned = record
            if record.is_all:
                self.was_expanded, self.collector, self.knows_collector = True, record.collected_by, True
            if isinstance(self.children, list):
                self.children += record.children
            else:
                self.children = list(record.children)
            self.made = record.made_row
        else:
            self._go_back(record)

    def _go_back(self, record: SentBack) -> None:
        self.spawned, self.made, self.was_expanded = None, None, False
        if record.kept < record.to:  # to the stage that is called with the item's children
            self.collector, self.knows_collector = record.to, True
        elif self.collector is not None and self.collector > record.to:
            self.collector = None
        for child in self.children:  # children of an earlier round; a batch that is committed again finds them marked
            if child.claim.first > record.to and child.claim.number >= 0:
                child.claim.number = -1 - child.claim.number
        self.sent_back = record
        self.erase_from = min(record.to, self.start if self.erase_from is None else self.erase_from)
        self.retire_from = min(record.to, record.to if self.retire_from is None else self.retire_from)
        self.checkpoints = [one for one in self.checkpoints if one.stage < record.to]

    @property
    def is_plain(self) -> bool:
        """True if the item has no new children and was not sent back."""
        return self.spawned is None and self.sent_back is None

    @property
    def ends(self) -> bool:
        """True if the batch ends the item. The item's own children may still be on their way."""
        is_expanded = self.all_spawned is not None and self.all_spawned.collected_by is None
        return self.unkept is not None or self.outcome is not None or is_expanded

    @property
    def state(self) -> str:
        """The item's new state."""
        if self.unkept is not None:
            return "failed"
        if self.is_surplus:
            return "ready"
        if self.outcome is None:
            last = self.all_spawned
            if last is None or (self.checkpoints and self.checkpoints[-1].stage > last.stage):
                return "running"  # also if the item was called with its children since
            if last.collected_by is None:
                return "expanded" if self.refused is None else "failed"
            return "waiting" if last.hands_over else "running"
        if self.refused is not None or self.outcome.status == "cancelled":
            return "failed"
        return self.outcome.status

    @property
    def attempts(self) -> int:
        """Calls made for the item; 0 if the batch does not say."""
        last = self.checkpoints[-1] if self.checkpoints else None
        return max(0 if one is None else one.attempts for one in (last, self.spawned, self.sent_back, self.outcome))

    def standing(self, row: Row[Any] | None) -> Standing:
        """Compares the item's row with what the batch assumes."""
        claim = self.claim
        if row is None or claim.lost or (row.owner, row.fence) != (claim.owner, claim.fence):
            return "lost"  # of an item that is known to be lost, some calls were left out
        if claim.conflict is not None:  # the row belongs to another item
            return "lost"
        if self.sent_back is not None and row.rounds >= self.sent_back.rounds:
            return "committed"
        if (row.stage, row.state) == (self.start, "running"):
            return "held"
        ended = self.outcome is not None and row.state in ENDED
        return "committed" if row.stage == self.stage and (ended or row.state == self.state) else "lost"


def moves_of(batch: Sequence[Record]) -> dict[int, Move]:
    """Returns the effect of the batch on each claim, by the claim's identity.

    An item that was lost may be there twice.
    """
    moves: dict[int, Move] = {}
    for record in batch:
        if isinstance(record, Closing):
            continue
        claim = record.claim
        move = moves.get(id(claim))
        if move is None:
            move = moves[id(claim)] = Move(claim)
        if isinstance(record, Checkpoint):  # first, as most records are checkpoints
            if move.began is None:
                move.began = record.stage if record.start is None else record.start
            move.checkpoints.append(record)
            if record.new is not None:
                move.results.append(record)
        elif isinstance(record, Ended):
            if not is_handed_over(record):
                move.outcome, move.made = record.outcome, record.made
        elif isinstance(record, FailedCall):
            move.failed.append(record)
        elif isinstance(record, Used):
            move.used.append(record)
        else:
            move.take(record)
    return moves


def is_handed_over(record: Record) -> bool:
    """Returns True if a record says that an item moves from this worker to the store, which already knows it."""
    return isinstance(record, Ended) and isinstance(record.outcome.error, HandedOver)


def failures_of(move: Move) -> list[FailedCall]:
    """Returns the failures to keep: failed calls, and a refusal by the database."""
    error = move.unkept or move.refused
    if error is None:
        return move.failed
    value = None if move.outcome is None or move.unkept is not None else move.outcome.value
    return [*move.failed, failed_call(move.claim, stage="database", attempt=1, error=error, value=value, final=True)]


def behind_the_way_back(moves: Sequence[Move], rows: Mapping[str, Row[Any]]) -> dict[str, int]:
    """Returns the items that were sent back and had children, with the earliest stage that each was sent back to."""
    found: dict[str, int] = {}
    for move in moves:
        row = rows.get(move.claim.key)
        if move.retire_from is None or row is None or move.standing(row) != "held":
            continue
        if row.children > 0 or row.collected_by is not None:
            found[move.claim.key] = move.retire_from
    return found


def destinations(
    moves: Sequence[Move], rows: Mapping[str, Row[Any]], failures: Mapping[str, int]
) -> dict[tuple[Any, ...], list[str]]:
    """Returns the new values of the items' columns, as ``commits._CHANGED`` names them, with the items that get each.

    Args:
        moves: The effects on the items.
        rows: The items' current rows, by their keys.
        failures: Number of new failed calls, by the items' keys.
    """
    found: dict[tuple[Any, ...], list[str]] = {}
    for move in moves:
        key, row = move.claim.key, rows[move.claim.key]
        state = move.state
        error = None if state == "written" else _last_error(move) or row.last_error
        attempts, failed = max(row.attempts, move.attempts), row.failures + failures.get(key, 0)
        family = (row.children, row.collected_by) if move.is_plain else _children(move, row)
        to = state, move.stage, attempts, failed, error, *family, *_rounds(move, row)
        found.setdefault(to, []).append(key)
    return found


def _children(move: Move, row: Row[Any]) -> tuple[int, int | None]:
    """Returns how many children of the item are kept, and the stage that waits for them."""
    made = 0 if move.sent_back is not None else row.children
    if move.spawned is not None:
        made = move.spawned.made
    if move.knows_collector:
        return made, move.collector
    is_old = move.retire_from is not None and row.collected_by is not None and row.collected_by > move.retire_from
    return made, None if is_old else row.collected_by


def _rounds(move: Move, row: Row[Any]) -> tuple[int, str | None]:
    """Returns how often the item was sent back, and the feedback for the stage that it went back to."""
    if move.sent_back is None:  # after an expansion, the collecting stage gets no feedback
        return row.rounds, None if move.checkpoints or move.was_expanded else row.feedback
    is_over = move.was_expanded or (bool(move.checkpoints) and move.checkpoints[-1].stage >= move.sent_back.to)
    return move.sent_back.rounds, None if is_over else json.dumps(list(move.sent_back.feedback))


def _last_error(move: Move) -> str | None:
    if move.unkept is not None:
        return one_line(move.unkept)
    if move.refused is not None and (move.outcome is None or move.outcome.status in ("written", "expanded")):
        return one_line(move.refused)
    if move.outcome is not None and move.outcome.status == "dropped":
        return clean_text(" ".join(str(move.outcome.error).split()))
    return move.failed[-1].text if move.failed else None


def refused_before(move: Move, row: Row[Any]) -> RowRefused | None:
    """Returns why a row was refused in a commit whose answer was lost."""
    if move.outcome is None or move.outcome.status not in ("written", "expanded"):
        return None
    return RowRefused(row.last_error or "the row was refused")


def result_of(move: Move, standing: Standing) -> ClaimedOutcome:
    """Returns how the item ended: as the stages say, unless its row was refused or the item was lost."""
    outcome = move.outcome
    assert outcome is not None  # only called for records that have an outcome
    if move.claim.conflict is not None:
        return replace(outcome, status="failed", error=move.claim.conflict)
    if standing == "lost":
        lost = LeaseLost("another worker has taken the item over, as this one did not answer for too long")
        return replace(outcome, status="cancelled", error=lost)
    if move.is_surplus:
        return replace(outcome, status="cancelled", error=None)
    error = move.unkept or move.refused
    return outcome if error is None else replace(outcome, status="failed", error=error, stage="database")
