"""What a batch changes: only what its worker still has, all of it or nothing, and only once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, Table, delete, event, insert, select, update
from sqlalchemy.exc import DataError

from rxpipe import DatabaseSink, Outcome
from rxpipe.database import RowRefused, default_table
from rxpipe.database.writer import Writer
from rxpipe.errors import LeaseLost
from rxpipe.item import Claim
from rxpipe.operators import Usage
from rxpipe.store.claims import Claims
from rxpipe.store.commits import Commits, Move
from rxpipe.store.database import Database
from rxpipe.store.lease import Lease
from rxpipe.store.outputs import encode
from rxpipe.store.records import Checkpoint, Ended, Record, Used, failed_call, used
from rxpipe.store.schema import CHECKPOINTS, FAILURES, ITEMS, RUNS, USAGE, migrate

RUN = 1
QUESTIONS = default_table("questions")


class Away(ConnectionError):
    """The connection is cut."""


class Rows:
    """The sink's writer; ``refuse`` says which IDs' rows are refused, and ``then`` is called when it has written."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.refuse: set[Any] = set()
        self.then: Callable[[], None] = lambda: None

    def write_in(self, connection: Connection, batch: Sequence[Outcome[Any]]) -> list[RowRefused | None]:
        refused: list[RowRefused | None] = []
        for outcome in batch:
            refuse = outcome.id in self.refuse
            refused += [RowRefused("no")] if refuse else self._writer.write_in(connection, [outcome])
        self.then()
        return refused


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
        self.commits = Commits(self.database, RUN, self.rows)
        with self.database.transaction() as connection:
            self.lease.register(connection)

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


@pytest.fixture
def kept(store_url: str) -> Iterator[Kept]:
    kept = Kept(store_url)
    yield kept
    kept.database.close()


def checkpoint(claim: Claim, stage: int = 0) -> Checkpoint:
    return Checkpoint(claim=claim, stage=stage, attempts=stage + 1, output=encode({"stage": stage}))


def ended(claim: Claim, *, error: BaseException | None = None) -> Ended:
    outcome: Outcome[Any] = Outcome(
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


def test_a_checkpoint_moves_its_item_on(kept: Kept) -> None:
    """By as many stages as there are checkpoints in the batch."""
    (claim,) = kept.claim(1)
    assert kept.commits.commit([checkpoint(claim)]) == []
    assert kept.item() == ("running", 1)
    kept.commits.commit([checkpoint(claim, 1), checkpoint(claim, 2)])
    assert kept.item() == ("running", 3)
    (item,) = kept.all(ITEMS)
    assert item.attempts == 3


def test_an_outcome_ends_its_item_with_its_row(kept: Kept) -> None:
    """In the same transaction as the checkpoints before it."""
    (claim,) = kept.claim(1)
    (outcome,) = kept.commits.commit(whole(claim))
    assert outcome.status == "written"
    assert kept.item() == ("done", 2)
    assert kept.held() == (2, 0, 1)


def test_all_or_nothing(kept: Kept) -> None:
    """What fails at the end of a transaction leaves nothing of it, and the batch can be committed later."""
    (claim,) = kept.claim(1)

    def cut() -> None:
        raise Away

    kept.rows.then = cut
    with pytest.raises(Away):
        kept.commits.commit(whole(claim))
    assert kept.item() == ("running", 0)
    assert kept.held() == (0, 0, 0)
    kept.rows.then = lambda: None
    assert kept.commits.commit(whole(claim))[0].status == "written"
    assert kept.held() == (2, 0, 1)


def test_rows_and_items_are_committed_together(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that fails behind the rows takes them with it."""
    (claim,) = kept.claim(1)

    def cut(self: Commits, connection: Connection, *_: Any) -> None:
        assert connection.execute(select(QUESTIONS)).all()
        raise Away

    monkeypatch.setattr(Commits, "_insert", cut)
    with pytest.raises(Away):
        kept.commits.commit(whole(claim))
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
        first = kept.commits.commit(batch[name])
        before = kept.item(), kept.held()
        if not came:
            claim.stage = stage
        assert kept.commits.commit(batch[name]) == first
        assert (kept.item(), kept.held()) == before


def test_a_refused_row_is_refused_again(kept: Kept) -> None:
    """If the answer was lost; it is told as it was."""
    (claim,) = kept.claim(1)
    kept.rows.refuse = {1}
    for _ in range(2):
        (outcome,) = kept.commits.commit(whole(claim))
        assert (outcome.status, outcome.stage) == ("failed", "database")
        assert isinstance(outcome.error, RowRefused)
        claim.stage = 0
    assert kept.item() == ("dead", 2)
    assert kept.held() == (2, 1, 0)


@pytest.mark.parametrize("who", ["same", "other"])
def test_what_was_taken_over_is_discarded(kept: Kept, who: str) -> None:
    """Also if it is the very worker that has it again, with another fence."""
    (claim,) = kept.claim(1)
    again = kept.claim_again()
    if who == "other":
        with kept.database.transaction() as connection:
            connection.execute(update(ITEMS).values(owner="f" * 32))
    (outcome,) = kept.commits.commit(whole(claim))
    assert outcome.status == "cancelled"
    assert isinstance(outcome.error, LeaseLost)
    assert kept.item() == ("running", 0)
    assert kept.held() == (0, 0, 0)
    assert kept.commits.commit(whole(again))[0].status == ("written" if who == "same" else "cancelled")


def test_the_fence_alone_does_not_make_an_owner(kept: Kept) -> None:
    """Two workers may have had an item with the same fence, where a run was restored from a backup."""
    (claim,) = kept.claim(1)
    with kept.database.transaction() as connection:
        connection.execute(update(ITEMS).values(owner="f" * 32))
    assert kept.commits.commit(whole(claim))[0].status == "cancelled"
    assert kept.held() == (0, 0, 0)


def test_old_and_new_claim_of_an_item_in_one_batch(kept: Kept) -> None:
    """The new one counts."""
    (old,) = kept.claim(1)
    new = kept.claim_again()
    statuses = [outcome.status for outcome in kept.commits.commit([*whole(old), *whole(new)])]
    assert statuses == ["cancelled", "written"]
    assert kept.held() == (2, 0, 1)


def test_an_item_whose_calls_were_left_out_is_lost(kept: Kept) -> None:
    """Even if it is held: a row must not say that it was written."""
    (claim,) = kept.claim(1)
    claim.lost = True
    assert kept.commits.commit(whole(claim))[0].status == "cancelled"
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
    outcomes = kept.commits.commit([*whole(claims[0]), checkpoint(claims[1]), *whole(claims[2])])
    assert [outcome.status for outcome in outcomes] == ["failed", "written"]
    assert {row.item_key: row.state for row in kept.all(ITEMS)} == {"1": "dead", "2": "dead", "3": "done"}
    assert {(row.item_key, row.stage) for row in kept.all(FAILURES)} == {("1", "database"), ("2", "database")}


def test_one_lost_item_does_not_disturb_the_others(kept: Kept) -> None:
    """They are committed in the same batch."""
    claims = kept.claim(1, 2, 3)
    with kept.database.transaction() as connection:
        connection.execute(update(ITEMS).where(ITEMS.c.item_key == "2").values(fence=9))
    outcomes = kept.commits.commit([record for claim in claims for record in whole(claim)])
    assert [outcome.status for outcome in outcomes] == ["written", "cancelled", "written"]
    assert sorted(row.id for row in kept.all(QUESTIONS)) == ["1", "3"]


def test_a_failed_call_is_kept_once(kept: Kept) -> None:
    """It counts as a failure of its item, which goes on."""
    (claim,) = kept.claim(1)
    record = failed_call(claim, stage="generation", attempt=1, error=ValueError("no\0"), value={"a": 1}, final=False)
    kept.commits.commit([record])
    (failure,) = kept.all(FAILURES)
    assert (failure.text, failure.input, failure.final) == ("ValueError: no\ufffd", '{"a":1}', False)
    (item,) = kept.all(ITEMS)
    assert (item.state, item.failures, item.last_error) == ("running", 1, "ValueError: no\ufffd")


def test_a_checkpoint_is_never_replaced(kept: Kept) -> None:
    """A batch that is out of step with the store is discarded."""
    (claim,) = kept.claim(1)
    kept.commits.commit([checkpoint(claim, 0), checkpoint(claim, 1)])
    claim.stage = 0
    kept.commits.commit([checkpoint(claim, 0)])
    assert kept.item() == ("running", 2)
    assert len(kept.all(CHECKPOINTS)) == 2


def test_what_a_call_used_is_kept(kept: Kept) -> None:
    """With the item, the stage, the worker and the time; the item stays as it is."""
    (claim,) = kept.claim(1)
    kept.commits.commit([use(claim)])
    (row,) = kept.all(USAGE)
    assert (row.run_id, row.item_key, row.stage, row.attempt, row.worker) == (RUN, "1", "a", 1, claim.owner)
    assert (row.prompt_tokens, row.completion_tokens, row.cost) == (30, 4, 0.25)
    assert row.at > 1e9
    assert kept.item() == ("running", 0)


def test_what_was_used_is_committed_with_what_follows(kept: Kept) -> None:
    """All of it or nothing."""
    (claim,) = kept.claim(1)

    def cut() -> None:
        raise Away

    kept.rows.then = cut
    batch = [use(claim), *whole(claim)]
    with pytest.raises(Away):
        kept.commits.commit(batch)
    assert kept.all(USAGE) == []
    kept.rows.then = lambda: None
    kept.commits.commit(batch)
    assert (len(kept.all(USAGE)), *kept.held()) == (1, 2, 0, 1)


def test_what_was_used_is_counted_once(kept: Kept) -> None:
    """Also where the answer to a commit was lost, so that it is done again."""
    (claim,) = kept.claim(1)
    batch = [use(claim), use(claim), *whole(claim)]
    for _ in range(2):
        kept.commits.commit(batch)
    assert len(kept.all(USAGE)) == 2


def test_what_was_used_is_kept_though_the_item_was_lost(kept: Kept) -> None:
    """It was paid for, whoever has the item now."""
    (claim,) = kept.claim(1)
    kept.claim_again()
    (outcome,) = kept.commits.commit([use(claim), *whole(claim)])
    assert outcome.status == "cancelled"
    assert (len(kept.all(USAGE)), *kept.held()) == (1, 0, 0, 0)


def test_what_was_used_is_kept_though_the_row_was_refused(kept: Kept) -> None:
    """So is what was used for the others of the batch."""
    claims = kept.claim(1, 2)
    kept.rows.refuse = {1}
    kept.commits.commit([record for claim in claims for record in (use(claim), *whole(claim))])
    assert sorted(row.item_key for row in kept.all(USAGE)) == ["1", "2"]


def test_what_no_column_can_hold_is_no_reason_to_lose_the_rest(kept: Kept) -> None:
    """More tokens than it takes count as the most that it does, and what is beside them is kept."""
    (claim,) = kept.claim(1)
    kept.commits.commit([use(claim), used(claim, stage="a", attempt=2, usage=Usage(prompt_tokens=10**30))])
    assert sorted(row.prompt_tokens for row in kept.all(USAGE)) == [30, 2**53]


def test_of_a_run_that_was_pruned_nothing_is_kept(kept: Kept) -> None:
    """As nobody would find it, or delete it."""
    (claim,) = kept.claim(1)
    with kept.database.transaction() as connection:
        connection.execute(delete(RUNS))
    kept.commits.commit([use(claim)])
    assert kept.all(USAGE) == []


def test_runs_that_use_nothing_pay_nothing(kept: Kept) -> None:
    """No statement tells of what was used."""
    (claim,) = kept.claim(1)
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    event.listen(kept.database.engine, "before_cursor_execute", note)
    kept.commits.commit(whole(claim))
    assert statements
    assert not any("rxpipe_usage" in statement for statement in statements)
