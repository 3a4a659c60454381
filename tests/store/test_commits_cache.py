"""Results for other runs: committed with their checkpoints, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import event

from rxpipe.identity.signature import StageSignature
from rxpipe.operators import Usage
from rxpipe.pipeline.claim import Claim
from rxpipe.store.commits.cached_results import find_results
from rxpipe.store.commits.checkpoints import portions, size
from rxpipe.store.commits.outputs import encode
from rxpipe.store.commits.records import Checkpoint, NewResult, SentBack
from rxpipe.store.schema.tables import CACHE, CHECKPOINTS

from .kept import Away, Kept

ASKING = StageSignature("asking", "stages:ask", "2", "code 1")


def result(claim: Claim, value: Any = "a", *, of: str = "0" * 64, stage: StageSignature = ASKING) -> Checkpoint:
    """A checkpoint whose result other runs may use."""
    new = NewResult(stage=stage, input_hash=of, usage=Usage(prompt_tokens=3, cost=0.5))
    return Checkpoint(claim=claim, stage=0, attempts=1, output=encode(value), new=new)


def found(kept: Kept, *hashes: str) -> dict[str, str]:
    """The outputs of the results of these inputs."""
    with kept.database.transaction() as connection:
        rows = find_results(connection, ASKING.result_key, hashes)
    return {key: row.output for key, row in rows.items()}


def test_a_result_is_kept(kept: Kept) -> None:
    """With what it is for people, and what it took."""
    (claim,) = kept.claim(1)
    kept.commit([result(claim)])
    (row,) = kept.all(CACHE)
    assert row[:5] == (ASKING.result_key, "0" * 64, "stages:ask", "2", '"a"')
    assert row[5:9] == (None, 3, 0, 0.5)
    assert row.at > 1e9
    assert found(kept, "0" * 64, "1" * 64) == {"0" * 64: '"a"'}


def test_the_first_result_stays(kept: Kept) -> None:
    """Of several for one input, also in one batch."""
    first, second, third = kept.claim(1, 2, 3)
    kept.commit([result(first, "a"), result(second, "b")])
    kept.commit([result(third, "c")])
    assert found(kept, "0" * 64) == {"0" * 64: '"a"'}


def test_a_large_result(kept: Kept) -> None:
    """Goes into the database by itself."""
    first, second = kept.claim(1, 2)
    large = result(first, "a" * 1_000_001)
    assert portions([large], [size(*large.output)]) == ([], [large])
    kept.commit([large])
    kept.commit([result(second)])
    assert len(found(kept, "0" * 64)["0" * 64]) == 1_000_003


def test_stages_are_told_apart(kept: Kept) -> None:
    """By function, version, code and model, not by name."""
    others = [
        StageSignature("asking", "stages:other", "2", "code 1"),
        StageSignature("asking", "stages:ask", "3", "code 1"),
        StageSignature("asking", "stages:ask", "2", "code 2"),
        StageSignature("asking", "stages:ask", "2", "code 1", models="small"),
    ]
    for claim, stage in zip(kept.claim(1, 2, 3, 4), others, strict=True):
        kept.commit([result(claim, stage=stage)])
    assert len(kept.all(CACHE)) == 4
    assert found(kept, "0" * 64) == {}
    assert StageSignature("renamed", "stages:ask", "2", "code 1").result_key == ASKING.result_key


@pytest.mark.parametrize("statement", ["INSERT INTO rxpipe_checkpoints", "INSERT INTO rxpipe_cache", "COMMIT"])
def test_together_with_its_checkpoint_or_not_at_all(kept: Kept, statement: str) -> None:
    """Wherever a commit is cut off; the same batch is committed again."""
    (claim,) = kept.claim(1)
    cuts, keeping = [statement], list[Any]()

    def before(connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        if text.startswith("INSERT INTO rxpipe_checkpoints"):
            keeping.append(connection)
        if text.startswith(statement) and cuts:
            raise Away(cuts.pop())

    def commits(connection: Any) -> None:
        if statement == "COMMIT" and connection in keeping and cuts:
            raise Away(cuts.pop())

    event.listen(kept.database.engine, "before_cursor_execute", before)
    event.listen(kept.database.engine, "commit", commits)
    with pytest.raises(Away):
        kept.commit([result(claim)])
    assert (kept.all(CACHE), kept.all(CHECKPOINTS)) == ([], [])
    kept.commit([result(claim)])
    kept.commit([result(claim)])  # as if the answer had been lost
    assert (len(kept.all(CACHE)), len(kept.all(CHECKPOINTS))) == (1, 1)


def test_nothing_of_a_lost_item(kept: Kept) -> None:
    """What was made of it here does not count."""
    (claim,) = kept.claim(1)
    kept.claim_again()
    kept.commit([result(claim)])
    assert kept.all(CACHE) == []


@pytest.mark.parametrize("batches", [1, 2])
def test_a_result_that_is_sent_back(kept: Kept, batches: int) -> None:
    """It is a result, whether it was committed before that or not."""
    (claim,) = kept.claim(1)
    first = result(claim)
    back = SentBack(claim=claim, stage=1, to=0, kept=0, attempts=2, rounds=1, feedback=encode("no"), start=1)
    batch: Sequence[Any] = [first, back]
    for some in [batch] if batches == 1 else [batch[:1], batch[1:]]:
        kept.commit(some)
    assert kept.all(CHECKPOINTS) == []
    assert found(kept, "0" * 64) == {"0" * 64: '"a"'}


def test_results_without_a_key_are_not_kept(kept: Kept) -> None:
    """As those of stages that do not ask for it."""
    (claim,) = kept.claim(1)
    kept.commit([Checkpoint(claim=claim, stage=0, attempts=1, output=encode("a"))])
    assert kept.all(CACHE) == []
    assert len(kept.all(CHECKPOINTS)) == 1
