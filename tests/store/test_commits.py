"""What a batch changes: only what its worker still has, all of it or nothing, and only once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, event, select, update
from sqlalchemy.exc import DataError

from rxpipe.database import RowRefused
from rxpipe.errors import LeaseLost
from rxpipe.pipeline.claim import Claim
from rxpipe.store.commits.commits import Commits
from rxpipe.store.commits.outputs import decode, encode
from rxpipe.store.commits.records import Checkpoint, Record, SentBack, Spawned, failed_call
from rxpipe.store.commits.state_changes import Move
from rxpipe.store.schema.tables import CHECKPOINTS, FAILURES, ITEMS

from .kept import QUESTIONS, Away, Kept, checkpoint, ended, whole


def test_a_checkpoint_moves_its_item_on(kept: Kept) -> None:
    """By as many stages as there are checkpoints in the batch."""
    (claim,) = kept.claim(1)
    assert kept.commit([checkpoint(claim)]) == []
    assert kept.item() == ("running", 1)
    kept.commit([checkpoint(claim, 1), checkpoint(claim, 2)])
    assert kept.item() == ("running", 3)
    (item,) = kept.all(ITEMS)
    assert item.attempts == 3


def test_an_outcome_ends_its_item_with_its_row(kept: Kept) -> None:
    """In the same transaction as the checkpoints before it."""
    (claim,) = kept.claim(1)
    (outcome,) = kept.commit(whole(claim))
    assert outcome.status == "written"
    assert kept.item() == ("written", 2)
    assert kept.held() == (2, 0, 1)


def test_all_or_nothing(kept: Kept) -> None:
    """What fails at the end of a transaction leaves nothing of it, and the batch can be committed later."""
    (claim,) = kept.claim(1)

    def cut() -> None:
        raise Away

    kept.rows.then = cut
    with pytest.raises(Away):
        kept.commit(whole(claim))
    assert kept.item() == ("running", 0)
    assert kept.held() == (0, 0, 0)
    kept.rows.then = lambda: None
    assert kept.commit(whole(claim))[0].status == "written"
    assert kept.held() == (2, 0, 1)


def test_rows_and_items_are_committed_together(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that fails behind the rows takes them with it."""
    (claim,) = kept.claim(1)

    def cut(self: Commits, connection: Connection, *_: Any) -> None:
        assert connection.execute(select(QUESTIONS)).all()
        raise Away

    monkeypatch.setattr(Commits, "_insert", cut)
    with pytest.raises(Away):
        kept.commit(whole(claim))
    assert kept.held() == (0, 0, 0)


@pytest.mark.parametrize("came", [False, True])
@pytest.mark.parametrize("batches", [["checkpoint"], ["whole"], ["failed"], ["checkpoint", "whole"]])
def test_a_batch_whose_answer_was_lost_is_recognised(kept: Kept, batches: list[str], came: bool) -> None:
    """Committed again it changes nothing, and its outcomes are the same; so also if what came behind it failed."""
    (claim,) = kept.claim(1)
    failed = failed_call(claim, stage="generation", attempt=1, error=ValueError("no"), value=1, final=True)
    for name in batches:
        stage = claim.stage
        batch: dict[str, list[Record]] = {
            "checkpoint": [checkpoint(claim)],
            "whole": [checkpoint(claim, stage), ended(claim)],
            "failed": [failed, ended(claim, error=ValueError("no"))],
        }
        first = kept.commit(batch[name])
        before = kept.item(), kept.held()
        if not came:
            claim.stage = stage
        assert kept.commit(batch[name]) == first
        assert (kept.item(), kept.held()) == before


def test_a_refused_row_is_refused_again(kept: Kept) -> None:
    """If the answer was lost; it is told as it was."""
    (claim,) = kept.claim(1)
    kept.rows.refuse = {1}
    for _ in range(2):
        (outcome,) = kept.commit(whole(claim))
        assert (outcome.status, outcome.stage) == ("failed", "database")
        assert isinstance(outcome.error, RowRefused)
        claim.stage = 0
    assert kept.item() == ("failed", 2)
    assert kept.held() == (2, 1, 0)


@pytest.mark.parametrize("who", ["same", "other"])
def test_what_was_taken_over_is_discarded(kept: Kept, who: str) -> None:
    """Also if it is the very worker that has it again, with another fence."""
    (claim,) = kept.claim(1)
    again = kept.claim_again()
    if who == "other":
        with kept.database.transaction() as connection:
            connection.execute(update(ITEMS).values(owner="f" * 32))
    (outcome,) = kept.commit(whole(claim))
    assert outcome.status == "cancelled"
    assert isinstance(outcome.error, LeaseLost)
    assert kept.item() == ("running", 0)
    assert kept.held() == (0, 0, 0)
    assert kept.commit(whole(again))[0].status == ("written" if who == "same" else "cancelled")


def test_the_fence_alone_does_not_make_an_owner(kept: Kept) -> None:
    """Two workers may have had an item with the same fence, where a run was restored from a backup."""
    (claim,) = kept.claim(1)
    with kept.database.transaction() as connection:
        connection.execute(update(ITEMS).values(owner="f" * 32))
    assert kept.commit(whole(claim))[0].status == "cancelled"
    assert kept.held() == (0, 0, 0)


def test_old_and_new_claim_of_an_item_in_one_batch(kept: Kept) -> None:
    """The new one counts."""
    (old,) = kept.claim(1)
    new = kept.claim_again()
    statuses = [outcome.status for outcome in kept.commit([*whole(old), *whole(new)])]
    assert statuses == ["cancelled", "written"]
    assert kept.held() == (2, 0, 1)


def test_an_item_whose_calls_were_left_out_is_lost(kept: Kept) -> None:
    """Even if it is held: a row must not say that it was written."""
    (claim,) = kept.claim(1)
    claim.lost = True
    assert kept.commit(whole(claim))[0].status == "cancelled"
    assert kept.held() == (0, 0, 0)


def test_a_checkpoint_that_is_refused_fails_its_item(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, with or without an outcome; the others are committed."""
    claims = kept.claim(1, 2, 3)
    add = Commits._insert  # pyright: ignore[reportPrivateUsage]

    def refuse(self: Commits, connection: Connection, moves: Sequence[Move], now: float) -> None:
        if any(move.claim.key in ("1", "2") and move.checkpoints for move in moves):
            raise DataError("INSERT", {}, ValueError("too large"))
        add(self, connection, moves, now)

    monkeypatch.setattr(Commits, "_insert", refuse)
    outcomes = kept.commit([*whole(claims[0]), checkpoint(claims[1]), *whole(claims[2])])
    assert [outcome.status for outcome in outcomes] == ["failed", "written"]
    assert {row.item_key: row.state for row in kept.all(ITEMS)} == {"1": "failed", "2": "failed", "3": "written"}
    assert {(row.item_key, row.stage) for row in kept.all(FAILURES)} == {("1", "database"), ("2", "database")}


def test_one_lost_item_does_not_disturb_the_others(kept: Kept) -> None:
    """They are committed in the same batch."""
    claims = kept.claim(1, 2, 3)
    with kept.database.transaction() as connection:
        connection.execute(update(ITEMS).where(ITEMS.c.item_key == "2").values(fence=9))
    outcomes = kept.commit([record for claim in claims for record in whole(claim)])
    assert [outcome.status for outcome in outcomes] == ["written", "cancelled", "written"]
    assert sorted(row.id for row in kept.all(QUESTIONS)) == ["1", "3"]


def test_a_failed_call_is_kept_once(kept: Kept) -> None:
    """It counts as a failure of its item, which goes on."""
    (claim,) = kept.claim(1)
    record = failed_call(claim, stage="generation", attempt=1, error=ValueError("no\0"), value={"a": 1}, final=False)
    kept.commit([record])
    (failure,) = kept.all(FAILURES)
    assert (failure.text, failure.input, failure.final) == ("ValueError: no\ufffd", '{"a":1}', False)
    (item,) = kept.all(ITEMS)
    assert (item.state, item.failures, item.last_error) == ("running", 1, "ValueError: no\ufffd")


def test_a_checkpoint_is_never_replaced(kept: Kept) -> None:
    """A batch that is out of step with the store is discarded."""
    (claim,) = kept.claim(1)
    kept.commit([checkpoint(claim, 0), checkpoint(claim, 1)])
    claim.stage = 0
    kept.commit([checkpoint(claim, 0)])
    assert kept.item() == ("running", 2)
    assert len(kept.all(CHECKPOINTS)) == 2


def test_failed_calls_are_counted_once(kept: Kept) -> None:
    """Also if the answer to their commit was lost, and they are committed again, with others."""
    first, second = kept.claim(1, 2)
    calls = [failed_call(first, stage="a", attempt=n, error=ValueError(n), value=1, final=False) for n in (1, 2)]
    kept.commit(calls[:1])
    kept.commit([*calls, failed_call(second, stage="a", attempt=1, error=ValueError(), value=1, final=False)])
    assert {row.item_key: row.failures for row in kept.all(ITEMS)} == {"1": 2, "2": 1}
    assert len(kept.all(FAILURES)) == 3


@pytest.mark.slow
def test_many_failed_calls(kept: Kept) -> None:
    """More than one statement takes."""
    (claim,) = kept.claim(1)
    many = range(250)
    kept.commit([failed_call(claim, stage="a", attempt=n, error=ValueError(n), value=1, final=False) for n in many])
    assert [row.failures for row in kept.all(ITEMS)] == [250]


def test_a_large_checkpoint_is_in_no_json(kept: Kept) -> None:
    """SQLite would make a dozen copies of it; it is kept all the same, beside others."""
    small, large = kept.claim(1, 2)
    text = "回" * 1_100_000
    lengths: list[int] = []

    def executed(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "rxpipe_checkpoints" in statement and "json" in statement:
            lengths.append(len(repr(parameters)))

    event.listen(kept.database.engine, "before_cursor_execute", executed)
    kept.commit([checkpoint(small), Checkpoint(claim=large, stage=0, attempts=1, output=encode(text))])
    assert lengths
    assert max(lengths) < 1_000
    outputs = {row.item_key: decode(row.output, row.pickled) for row in kept.all(CHECKPOINTS)}
    assert outputs == {"1": {"stage": 0}, "2": text}


def children_of(claim: Claim, stage: int, made: int, *, collected_by: int | None, is_all: bool = True) -> Spawned:
    """A stage has made all children of an item that came to it behind stage 0, or has made some."""
    return Spawned(
        claim=claim,
        stage=stage,
        attempts=stage + 1,
        children=(),
        made=made,
        is_all=is_all,
        collected_by=collected_by if is_all else None,
        hands_over=False,
        start=1,
    )


def back(claim: Claim, to: int, kept: int, *, start: int) -> SentBack:
    return SentBack(claim=claim, stage=4, to=to, kept=kept, attempts=5, rounds=1, feedback=encode("no"), start=start)


@pytest.mark.parametrize(
    ("records", "state", "stage", "family"),
    [
        ([(1, 2, 4)], "running", 1, (2, 4)),
        ([(1, 2, None)], "expanded", 1, (2, None)),
        ([(1, 0, 4), (4, 2, None)], "expanded", 1, (2, None)),
        ([(1, 0, 4), (4, 2, 5)], "running", 1, (2, 5)),
        ([(1, 0, 4), "some"], "running", 1, (1, 4)),
        ([(1, 2, 4), "checkpoint"], "running", 5, (2, 4)),
        ([(1, 2, 4), "back to it"], "running", 1, (0, 4)),
        ([(1, 2, 4), "back to it", (4, 1, 5), "some of 5"], "running", 1, (2, 5)),
        ([(1, 2, 4), "back"], "running", 0, (0, None)),
        ([(1, 2, 4), "back", "again", (1, 0, 4), "some"], "running", 1, (1, 4)),
        ([(1, 2, 4), "back", "again", (1, 1, None)], "expanded", 1, (1, None)),
    ],
)
def test_what_children_in_one_batch_make_of_their_parent(
    kept: Kept, records: list[Any], state: str, stage: int, family: tuple[int, int | None]
) -> None:
    """The same as one batch for each: the last of them tells, and what went before it in the batch does not matter."""
    for apart in (False, True):
        (claim,) = kept.claim(2 if apart else 1)
        named: dict[str, Record] = {
            "some": children_of(claim, 4, 1, collected_by=None, is_all=False),
            "some of 5": children_of(claim, 5, 2, collected_by=None, is_all=False),
            "checkpoint": Checkpoint(claim=claim, stage=4, attempts=5, output=encode(1), start=1),
            "back": back(claim, 0, 0, start=1),
            "back to it": back(claim, 4, 1, start=1),
            "again": checkpoint(claim),
        }
        batch = [named[one] if isinstance(one, str) else _all_of(claim, one) for one in ["again", *records]]
        for some in [[one] for one in batch] if apart else [batch]:
            kept.commit(some)
        row = next(row for row in kept.all(ITEMS) if row.item_key == claim.key)
        assert (row.state, row.stage, (row.children, row.collected_by)) == (state, stage, family)
        is_told = records[-1] in ("back", "back to it")
        assert (row.feedback is not None) == is_told


def _all_of(claim: Claim, given: tuple[int, int, int | None]) -> Spawned:
    stage, made, collected_by = given
    return children_of(claim, stage, made, collected_by=collected_by)
