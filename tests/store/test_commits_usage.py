"""What calls have used is kept with what they came to, once, whatever becomes of the items."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, event

from rxpipe.operators import Usage
from rxpipe.store.commits.records import used
from rxpipe.store.schema.tables import RUNS, USAGE

from .kept import RUN, Away, Kept, use, whole


def test_what_a_call_used_is_kept(kept: Kept) -> None:
    """With the item, the stage, the worker and the time; the item stays as it is."""
    (claim,) = kept.claim(1)
    kept.commit([use(claim)])
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
        kept.commit(batch)
    assert kept.all(USAGE) == []
    kept.rows.then = lambda: None
    kept.commit(batch)
    assert (len(kept.all(USAGE)), *kept.held()) == (1, 2, 0, 1)


def test_what_was_used_is_counted_once(kept: Kept) -> None:
    """Also where the answer to a commit was lost, so that it is done again."""
    (claim,) = kept.claim(1)
    batch = [use(claim), use(claim), *whole(claim)]
    for _ in range(2):
        kept.commit(batch)
    assert len(kept.all(USAGE)) == 2


def test_what_was_used_is_kept_though_the_item_was_lost(kept: Kept) -> None:
    """It was paid for, whoever has the item now."""
    (claim,) = kept.claim(1)
    kept.claim_again()
    (outcome,) = kept.commit([use(claim), *whole(claim)])
    assert outcome.status == "cancelled"
    assert (len(kept.all(USAGE)), *kept.held()) == (1, 0, 0, 0)


def test_what_was_used_is_kept_though_the_row_was_refused(kept: Kept) -> None:
    """So is what was used for the others of the batch."""
    claims = kept.claim(1, 2)
    kept.rows.refuse = {1}
    kept.commit([record for claim in claims for record in (use(claim), *whole(claim))])
    assert sorted(row.item_key for row in kept.all(USAGE)) == ["1", "2"]


def test_what_no_column_can_hold_is_no_reason_to_lose_the_rest(kept: Kept) -> None:
    """More tokens than it takes count as the most that it does, and what is beside them is kept."""
    (claim,) = kept.claim(1)
    kept.commit([use(claim), used(claim, stage="a", attempt=2, usage=Usage(prompt_tokens=10**30))])
    assert sorted(row.prompt_tokens for row in kept.all(USAGE)) == [30, 2**53]


def test_of_a_run_that_was_pruned_nothing_is_kept(kept: Kept) -> None:
    """As nobody would find it, or delete it."""
    (claim,) = kept.claim(1)
    with kept.database.transaction() as connection:
        connection.execute(delete(RUNS))
    kept.commit([use(claim)])
    assert kept.all(USAGE) == []


def test_runs_that_use_nothing_pay_nothing(kept: Kept) -> None:
    """No statement tells of what was used."""
    (claim,) = kept.claim(1)
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    event.listen(kept.database.engine, "before_cursor_execute", note)
    kept.commit(whole(claim))
    assert statements
    assert not any("rxpipe_usage" in statement for statement in statements)
