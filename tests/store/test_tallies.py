"""The sums that commits keep are those of the rows."""

from __future__ import annotations

from typing import Any

from pipeline_helpers import same
from sqlalchemy import Connection, func, select

from rxpipe import DatabaseSink, Drop, Pipeline, Record, RunStore, Stage, Usage, record_usage
from rxpipe.store.commits.tallies import tallies
from rxpipe.store.maintenance.requeue import requeue, requeue_rows
from rxpipe.store.queries import usage
from rxpipe.store.queries.existing_store import change, opened
from rxpipe.store.queries.history import run
from rxpipe.store.schema.migrations import migrate
from rxpipe.store.schema.tables import CHECKPOINTS, ENDED, FAILURES, ITEMS

from .kept import Kept, ended, use, whole
from .older import make_older
from .stores import connected

pytest_plugins = ("store.store_fixtures",)


def counted(connection: Connection, run_id: int) -> dict[str, int]:
    """How many items have ended, by their rows."""
    query = select(ITEMS.c.state, func.count()).where(ITEMS.c.run_id == run_id).group_by(ITEMS.c.state)
    return {state: count for state, count in connection.execute(query) if state in ENDED}


def ends_of(connection: Connection) -> dict[str, float | None]:
    """When items ended, by their keys."""
    query = select(ITEMS.c.item_key, ITEMS.c.ended_at)
    return {row.item_key: row.ended_at for row in connection.execute(query)}


def last_rows(connection: Connection) -> dict[str, float | None]:
    """When the last row of each item was written, by their keys."""
    found: dict[str, float | None] = {}
    for table in (CHECKPOINTS, FAILURES):
        query = select(table.c.item_key, func.max(table.c.at).label("at")).group_by(table.c.item_key)
        for row in connection.execute(query):
            found[row.item_key] = max(row.at, found.get(row.item_key) or 0.0)
    return found


def check(url: str, run_id: int = 1) -> dict[str, int]:
    """See that sums and rows are the same, and give them."""
    with connected(url) as connection:
        states, used = tallies(connection)[run_id]
        rows = counted(connection, run_id)
        assert {state: count for state, count in states.items() if count} == rows
        assert used == usage.of_run(connection, run_id)
    return rows


def pipeline(url: str, *, last: Any = None, on_change: Any = "keep", resume: bool = False) -> Pipeline:
    """Items are expanded, fail and are dropped."""

    def split(value: int) -> list[int]:
        record_usage(Usage(prompt_tokens=value, cost=0.5))
        if value == 3:
            raise ValueError("no 3")
        return [10 * value, 10 * value + 1]

    def work(value: int) -> int:
        if value % 10:
            raise Drop("odd")
        return value

    return Pipeline(
        Stage("split", split, expand=True),
        Stage("work", last or work),
        sink=DatabaseSink(url, table="rows"),
        store=RunStore(on_change=on_change, resume=resume),
        name="tallied",
    )


def test_of_a_run(store_url: str) -> None:
    """Of each way to end, and of what calls used."""
    pipeline(store_url).run([1, 2, 3])
    assert check(store_url) == {"expanded": 2, "failed": 1, "written": 2, "dropped": 2}


def test_of_what_is_done_again(store_url: str) -> None:
    """Failed items and rows that are requeued, and records with another value, are not counted twice."""
    records = [Record("a", 1), Record("b", 3)]
    pipeline(store_url).run(records)
    with opened(store_url) as engine, change(engine) as connection:
        requeue(connection, run(connection, 1))
        requeue_rows(connection, run(connection, 1))
    check(store_url)
    pipeline(store_url).run(records)
    assert check(store_url)["failed"] == 1
    pipeline(store_url, on_change="redo").run([Record("a", 2), records[1]])
    check(store_url)


def test_of_a_run_that_goes_on_with_other_stages(store_url: str) -> None:
    """What is called again has not ended."""
    pipeline(store_url).run([1])
    pipeline(store_url, last=same, resume=True).run([1])
    assert check(store_url) == {"expanded": 1, "written": 2}


def test_a_commit_whose_answer_was_lost_counts_once(kept: Kept) -> None:
    """Its items, and what its calls have used."""
    (claim,) = kept.claim(1)
    records = [*whole(claim), use(claim)]
    for _ in range(2):
        kept.commit(records)
        claim.stage = 0
    with kept.database.transaction() as connection:
        states, used = tallies(connection)[1]
    assert (states["written"], used.cost) == (1, 0.25)


def test_what_another_worker_has_is_not_counted(kept: Kept) -> None:
    """But what was used for it is."""
    (claim,) = kept.claim(1)
    kept.claim_again()
    kept.commit([use(claim), ended(claim)])
    with kept.database.transaction() as connection:
        states, used = tallies(connection)[1]
    assert (states["written"], used.cost) == (0, 0.25)


def test_of_an_older_store(bank_url: str) -> None:
    """They are added up when it is brought up to date; and its items ended when their last row was written."""
    with connected(bank_url) as connection:
        rows = last_rows(connection)
        make_older(connection, 5)
        migrate(connection)
        connection.commit()
        after = ends_of(connection)
    assert check(bank_url) == {"written": 6, "failed": 4}
    assert after == rows
