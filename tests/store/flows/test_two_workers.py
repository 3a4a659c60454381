"""Parents whose children end in the hands of several workers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pipeline_helpers import LIMIT
from sqlalchemy import select

from rxpipe.pipeline.claim import Claim, ClaimedOutcome
from rxpipe.pipeline.run.quota import Quota
from rxpipe.store.commits.outputs import encode
from rxpipe.store.commits.records import Ended, NewChild, Record, SentBack, Spawned
from rxpipe.store.commits.shared_quota import SharedQuota
from rxpipe.store.schema.tables import CHECKPOINTS, ITEMS
from store.faults.workers import QUESTIONS, RUN, Worker, checkpoint, ended, workers


@pytest.fixture
def two(store_url: str) -> Iterator[list[Worker]]:
    """Two workers on each database in turn, whose children are collected by stage 2."""
    with workers(store_url, collects=True) as made:
        yield made


@pytest.fixture
def two_on_postgres(postgres_url: str) -> Iterator[list[Worker]]:
    """Two workers that may be in transactions at once."""
    with workers(postgres_url, stuck_after=LIMIT, collects=True) as made:
        yield made


def child(parent: Claim, number: int, key: str = "") -> Claim:
    key = key or f"{parent.id}/{number}"
    return Claim(
        id=key,
        key=key,
        owner=parent.owner,
        fence=1,
        stage=1,
        first=1,
        parent=parent.key,
        root=parent.key,
        number=number,
    )


def spawned(parent: Claim, *children: Claim, first: int = 0, is_all: bool = True, hands_over: bool = False) -> Spawned:
    return Spawned(
        claim=parent,
        stage=0,
        attempts=1,
        children=[NewChild(claim=one, output=encode(one.number)) for one in children],
        made=first + len(children),
        is_all=is_all,
        collected_by=2,
        hands_over=hands_over,
        start=0,
    )


def collected(claim: Claim) -> Ended:
    outcome = ClaimedOutcome(
        id=claim.id, status="collected", value=1, error=None, stage=None, attempts=1, seconds=1.0, claim=claim
    )
    return Ended(claim=claim, outcome=outcome)


def split_between(one: Worker, other: Worker) -> tuple[Claim, list[Claim]]:
    """A parent whose first worker was lost half-way: one has it now, and the other one its two children."""
    (parent,) = one.new(1)
    one.commit(spawned(parent, child(parent, 0), child(parent, 1), is_all=False))
    one.fall_silent()
    other.judge()
    claims = other.ready(3)
    (mine,) = [claim for claim in claims if claim.parent is None]
    return mine, [claim for claim in claims if claim.parent is not None]


def fail_to_commit(worker: Worker, batch: list[Record]) -> None:
    """Commit a batch, but for the end of the transaction."""

    def fail(*_: object) -> None:
        raise ConnectionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.commits, "_insert", fail)
        with pytest.raises(ConnectionError):
            worker.commits.commit(batch)


def states(worker: Worker) -> dict[str, str]:
    return {row.item_key: row.state for row in worker.all(ITEMS)}


def test_a_parent_waits_for_what_another_worker_has(two: list[Worker]) -> None:
    """And is ready for whoever asks first when the last child has ended."""
    one, other = two
    parent, (first, second) = split_between(one, other)
    assert (parent.children, parent.born, parent.stage) == (2, 0, 0)
    other.commit(spawned(parent, first=2, hands_over=True))
    assert states(one)["1"] == "waiting"
    other.commit(checkpoint(first, 1), collected(first))
    assert states(one)["1"] == "waiting"
    assert one.ready() == []
    other.commit(checkpoint(second, 1), collected(second))
    assert states(one)["1"] == "ready"
    (claim,) = one.ready()
    assert (claim.finished, claim.value.values, claim.children) == (2, ["1", "1"], 0)


@pytest.mark.parametrize("who", ["parent", "child"])
def test_the_last_child_ends_while_its_parent_begins_to_wait(two_on_postgres: list[Worker], who: str) -> None:
    """Whoever commits first, and though neither sees what the other one has not committed."""
    one, other = two_on_postgres
    parent, (first, second) = split_between(one, other)
    other.commit(collected(first))
    parent_record, child_record = spawned(parent, first=2, hands_over=True), collected(second)
    slow, quick = (parent_record, child_record) if who == "parent" else (child_record, parent_record)
    began = threading.Event()

    def commit() -> None:
        began.set()
        one.commits.commit([quick])

    thread = threading.Thread(target=commit)
    insert = other.commits._insert  # pyright: ignore[reportPrivateUsage] - no other way between two of its steps

    def late(*arguments: Any) -> None:
        """Wait in the transaction until the other one waits for it, or is through."""
        insert(*arguments)
        thread.start()
        assert began.wait(LIMIT)
        thread.join(0.3)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(other.commits, "_insert", late)
        other.commits.commit([slow])
    thread.join(LIMIT)
    assert states(one) == {"1": "ready", "1/0": "collected", "1/1": "collected"}


def test_a_child_that_cannot_be_kept_wakes_its_parent(two: list[Worker]) -> None:
    """Though it has not left the stages."""
    one, other = two
    parent, (first, second) = split_between(one, other)
    other.commit(spawned(parent, first=2, hands_over=True), collected(first))
    bad = checkpoint(second, 1)
    bad.output = (None, None)  # type: ignore[assignment]
    other.commit(bad)
    assert states(one) == {"1": "ready", "1/0": "collected", "1/1": "failed"}


@pytest.mark.parametrize("again", [False, True])
def test_children_and_their_parent_are_kept_together(two: list[Worker], *, again: bool) -> None:
    """Or neither, if the commit fails; if only its answer was lost, it changes nothing."""
    one, _ = two
    (parent,) = one.new(1)
    merged = checkpoint(parent, 2)
    merged.start = 0
    batch: list[Record] = [spawned(parent, child(parent, 0), child(parent, 1)), merged]
    if again:
        one.commit(*batch)
        before = one.all(ITEMS), one.all(CHECKPOINTS)
        parent.stage = 0
        one.commit(*batch)
        assert (one.all(ITEMS), one.all(CHECKPOINTS)) == before
        return
    fail_to_commit(one, batch)
    assert states(one) == {"1": "running"}
    assert one.all(CHECKPOINTS) == []


def test_a_round_whose_answer_was_lost(two: list[Worker]) -> None:
    """Children of an earlier round stay those, and are nobody else's."""
    one, _ = two
    (parent,) = one.new(1)
    old, new = child(parent, 0), child(parent, 0, "1/1.0")
    merged = checkpoint(parent, 2)
    merged.start = 0
    back = SentBack(claim=parent, stage=3, to=0, kept=0, attempts=2, rounds=1, feedback=encode("again"), start=3)
    batch: list[Record] = [spawned(parent, old), collected(old), merged, back, spawned(parent, new)]
    fail_to_commit(one, batch)
    for _ in range(2):
        assert one.commit(*batch) == ["collected"]
        assert {row.item_key: (row.number, row.state) for row in one.all(ITEMS) if row.parent_key} == {
            "1/0": (-1, "collected"),
            "1/1.0": (0, "running"),
        }
        (row,) = [row for row in one.all(ITEMS) if row.parent_key is None]
        assert (row.stage, row.rounds, row.children, row.collected_by, row.state) == (0, 1, 1, 2, "running")
        assert [row.stage for row in one.all(CHECKPOINTS) if row.item_key == "1"] == []
        parent.stage = 0
    assert ended(new).outcome.status == "written"


def test_a_child_whose_id_is_taken_keeps_nothing(two: list[Worker]) -> None:
    """Not even where the other one is, as both are in the same hands."""
    one, _ = two
    (parent,) = one.new(1)
    first, second = child(parent, 0, "a"), child(parent, 1, "a")
    assert one.commit(spawned(parent, first, second), ended(second)) == ["failed"]
    assert states(one) == {"1": "running", "a": "running"}
    assert one.commit(checkpoint(first, 1), collected(first)) == ["collected"]
    assert one.all(QUESTIONS) == []


def test_back_to_its_collector(two: list[Worker]) -> None:
    """The parent stands where its children were made, and is called with them next."""
    one, other = two
    (parent,) = one.new(1)
    kid, merged = child(parent, 0), checkpoint(parent, 2)
    merged.start = 0
    one.commit(spawned(parent, kid), collected(kid), merged)
    back = SentBack(claim=parent, stage=3, to=2, kept=0, attempts=2, rounds=1, feedback=encode("again"), start=3)
    one.commit(back)
    assert {row.item_key: (row.stage, row.collected_by, row.number) for row in one.all(ITEMS)} == {
        "1": (0, 2, None),
        "1/0": (1, None, 0),
    }
    one.release()
    (claim,) = other.ready()
    assert (claim.finished, len(claim.value), claim.rounds, claim.feedback) == (2, 1, 1, "again")


def test_a_parent_goes_on_when_a_child_is_expanded(two: list[Worker]) -> None:
    """That is how the child ends: a parent that waits for its last one is ready with it."""
    one, other = two
    (parent,) = one.new(1)
    first, second = child(parent, 0), child(parent, 1)
    second.stage = second.first = 3
    some = Spawned(
        claim=parent,
        stage=2,
        attempts=2,
        children=[NewChild(claim=second, output=encode(1))],
        made=2,
        is_all=False,
        collected_by=None,
        hands_over=False,
        start=0,
    )
    one.commit(spawned(parent, first), collected(first), some)
    one.release()
    assert states(other) == {"1": "waiting", "1/0": "collected", "1/1": "ready"}
    (claim,) = other.ready()
    every = Spawned(
        claim=claim,
        stage=3,
        attempts=1,
        children=(),
        made=0,
        is_all=True,
        collected_by=None,
        hands_over=False,
        start=3,
    )
    other.commit(every)
    assert states(other) == {"1": "ready", "1/0": "collected", "1/1": "expanded"}


def test_a_parent_whose_worker_is_lost_waits(two: list[Worker]) -> None:
    """For children that others have, and is not expanded again."""
    one, other = two
    (parent,) = one.new(1)
    one.commit(spawned(parent, child(parent, 0)))
    one.fall_silent()
    other.judge()
    assert states(other) == {"1": "waiting", "1/0": "ready"}
    (claim,) = other.ready()
    other.commit(collected(claim))
    assert states(other) == {"1": "ready", "1/0": "collected"}
    with other.database.transaction() as connection:
        assert connection.execute(select(ITEMS.c.crashes).where(ITEMS.c.item_key == "1")).scalar_one() == 1


@pytest.mark.parametrize("collected_by", [None, 2])
def test_an_earlier_stage_in_the_same_batch(two: list[Worker], collected_by: int | None) -> None:
    """The parent has ended with its children, or waits for them, though a checkpoint came with these."""
    one, other = two
    (parent,) = one.new(1)
    made = child(parent, 0)
    made.first = made.stage = 2
    family = spawned(parent, made)
    family.stage, family.start, family.collected_by = 1, 1, collected_by
    one.commit(checkpoint(parent, 0), family)
    one.fall_silent()
    other.judge()
    assert states(other) == {"1": "expanded" if collected_by is None else "waiting", "1/0": "ready"}


def test_a_second_family_in_the_same_batch(two: list[Worker]) -> None:
    """The parent still waits for the first one, should its worker be lost now."""
    one, other = two
    (parent,) = one.new(1)
    half = spawned(parent, child(parent, 1), first=1, is_all=False)
    half.stage, half.children[0].claim.first, half.children[0].claim.stage = 2, 3, 3
    one.commit(spawned(parent, child(parent, 0)), half)
    one.fall_silent()
    other.judge()
    assert states(other)["1"] == "waiting"


@pytest.mark.parametrize("until", [1, 2])
def test_two_that_write_the_last_row_at_once(two_on_postgres: list[Worker], until: int) -> None:
    """No more rows than are wanted: what is too much is given back, with all that was paid for."""
    one, other = two_on_postgres
    for worker in (one, other):
        quota = SharedQuota(Quota(until), RUN)
        worker.commits._quota = quota  # pyright: ignore[reportPrivateUsage] - given when a worker is made
        with worker.database.transaction() as connection:
            quota.open(connection)
    batches: list[list[Record]] = [[checkpoint(claim, 0), ended(claim)] for claim in (*one.new(1), *other.new(2))]
    statuses: list[str] = []
    thread = threading.Thread(target=lambda: statuses.extend(one.commit(*batches[0])))

    def wait() -> None:
        other.rows.then = lambda: None
        thread.start()
        thread.join(0.3)

    other.rows.then = wait
    assert other.commit(*batches[1]) == ["written"]
    thread.join(LIMIT)
    assert statuses == (["cancelled"] if until == 1 else ["written"])
    assert len(one.all(QUESTIONS)) == until
    assert states(one) == {"1": "ready" if until == 1 else "written", "2": "written"}
    assert len(one.all(CHECKPOINTS)) == 2


@pytest.mark.parametrize("at_once", [False, True])
def test_feedback_is_for_the_stage_that_expands_only(two: list[Worker], *, at_once: bool) -> None:
    """Not for the one that collects, should that be called by another worker."""
    one, _ = two
    (parent,) = one.new(1)
    back = SentBack(claim=parent, stage=0, to=0, kept=0, attempts=1, rounds=1, feedback=encode("again"), start=0)
    batches: list[list[Record]] = [[back], [spawned(parent, child(parent, 0))]]
    for batch in [[*batches[0], *batches[1]]] if at_once else batches:
        one.commit(*batch)
    (row,) = [row for row in one.all(ITEMS) if row.parent_key is None]
    assert (row.rounds, row.feedback, row.collected_by) == (1, None, 2)
