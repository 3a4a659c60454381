"""How databases go about the statements of a run: none of them reads all of a run that has many items."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from pipeline_helpers import LIMIT, same
from sqlalchemy import Connection, Engine, create_engine, event, text, update
from sqlalchemy.pool import NullPool

from rxpipe import Batch, DatabaseSink, Pipeline, Record, RunStore, SendBack, Stage, feedback
from rxpipe.database.json_rows import RUN
from rxpipe.store.commits.children import wake_parents
from rxpipe.store.schema.tables import CHECKPOINTS, ITEMS

ITEMS_BEFORE = 30_000  # SQLite's plans are the same for a million, and PostgreSQL's are chosen for large tables
READY = 600
NUMBERS = "WITH RECURSIVE numbers(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < :most)"
LARGE = "rxpipe_(items|checkpoints|failures|usage)"
# A run's items in one state are few, or are wanted in order.
READS_ALL = re.compile(
    rf"SCAN {LARGE}|SEARCH {LARGE} USING (?!INDEX rxpipe_items_|COVERING INDEX rxpipe_items_).*\(run_id=\?\)"
    rf"|Seq Scan on {LARGE}|^ *Index Cond: \(run_id = \d+\)$"
)
BY_STATE = re.compile("using rxpipe_items_(ready|running|quarantined|waiting)", re.IGNORECASE)


def pipeline(url: str) -> Pipeline:
    return Pipeline(Stage("a", same), Stage("b", same), sink=DatabaseSink(url, table="bank"), store=RunStore())


@pytest.fixture
def full_url(store_url: str) -> str:
    """A database with a run of many items, of which nobody has made statistics; some wait behind their first stage."""
    pipeline(store_url).run([0])
    item = (
        f"INSERT INTO {ITEMS.name} "
        "(run_id, item_key, is_integer, seq, state, stage, fence, attempts, failures, crashes) "
        f"{NUMBERS} SELECT 1, CAST(number AS TEXT), number > 0, number, "
        "CASE WHEN number <= :ready THEN 'ready' ELSE 'written' END, CASE WHEN number <= :ready THEN 1 ELSE 2 END, "
        "1, 2, 0, 0 FROM numbers"
    )
    checkpoint = (
        f"INSERT INTO {CHECKPOINTS.name} (run_id, item_key, stage, fence, output, at) "
        f"{NUMBERS} SELECT 1, CAST(number AS TEXT), :stage, 1, '1', 0 FROM numbers WHERE :stage = 0 OR number > :ready"
    )
    engine = create_engine(store_url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(item), {"most": ITEMS_BEFORE, "ready": READY})
        for stage in (0, 1):
            connection.execute(text(checkpoint), {"most": ITEMS_BEFORE, "stage": stage, "ready": READY})
    return store_url


@contextmanager
def plans() -> Generator[dict[str, str]]:
    """The statements from now on, each with its plan."""
    found: dict[str, str] = {}

    def executed(
        connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        if many or statement in found or not re.match("SELECT|INSERT|UPDATE|DELETE|WITH", statement):
            return
        explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
        driver: Any = connection.connection.dbapi_connection
        cursor = driver.cursor()
        try:
            found[statement] = "\n".join(row[-1] for row in cursor.execute(f"{explain} {statement}", parameters))
        finally:
            cursor.close()

    event.listen(Engine, "before_cursor_execute", executed)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", executed)


def reads_all(plan: str) -> bool:
    """Whether a plan reads all of a run."""
    lines = plan.splitlines()
    return any(
        READS_ALL.search(line) and not any(BY_STATE.search(near) for near in lines[max(0, place - 1) : place + 1])
        for place, line in enumerate(lines)
    )


def sent_back_once(value: Any) -> Any:
    return value if value == "again" else SendBack("a", "again")


def flow(url: str, **store: Any) -> Pipeline:
    """Everything that a stage can do with items."""
    return Pipeline(
        Stage("a", lambda value: feedback() or value),
        Stage("b", lambda value: [value, value], expand=True),
        Stage("c", same, batch=Batch(max_items=3)),
        Stage("d", lambda children: children.values[0], collect=True),
        Stage("e", sent_back_once),
        Stage("f", lambda value: [value], expand=True),
        sink=DatabaseSink(url, table="flow"),
        store=RunStore(**store),
        name="flow",
    )


@pytest.fixture
def full_flow_url(full_url: str) -> str:
    """The same with another run, whose items have many children; one of them waits for some of its own."""
    flow(full_url).run([Record(0, "a"), Record(1, "b")])
    columns = "run_id, item_key, is_integer, seq, state, stage, fence, owner, attempts, failures, crashes"
    family = "parent_key, root_key, number, depth, made_by"
    parent = (
        f"INSERT INTO {ITEMS.name} ({columns}, children, collected_by) "
        "VALUES (2, 'large', false, 9, 'waiting', 1, 1, NULL, 1, 0, 0, :most, 3)"
    )
    children = (
        f"INSERT INTO {ITEMS.name} ({columns}, {family}) {NUMBERS} SELECT 2, 'large/' || number, false, 9, "
        "CASE WHEN number > :most - 5 THEN 'ready' ELSE 'collected' END, "
        "CASE WHEN number > :most - 5 THEN 2 ELSE 3 END, "
        "1, NULL, 0, 0, 0, 'large', 'large', number, 1, 1 FROM numbers"
    )
    checkpoints = (
        f"INSERT INTO {CHECKPOINTS.name} (run_id, item_key, stage, fence, output, at) "
        f"{NUMBERS} SELECT 2, 'large/' || number, 1, 1, '1', 0 FROM numbers UNION ALL SELECT 2, 'large', 0, 1, '1', 0"
    )
    engine = create_engine(full_url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in (parent, children, checkpoints):
            connection.execute(text(statement), {"most": ITEMS_BEFORE})
    return full_url


def go_on(url: str) -> None:
    """What waits goes on, and what is new comes in."""
    assert pipeline(url).run(range(ITEMS_BEFORE + 1, ITEMS_BEFORE + 10)).written == READY + 9


def submit_known(url: str) -> None:
    """IDs that have ended before are submitted."""
    with pipeline(url).open() as opened:
        assert opened.submit(ITEMS_BEFORE).result(LIMIT).value == 1


@pytest.mark.slow
@pytest.mark.parametrize("act", [go_on, submit_known])
def test_no_statement_reads_all_of_a_run(full_url: str, act: Callable[[str], None]) -> None:
    """But for the counts that are made once, at the start."""
    with plans() as found:
        act(full_url)
    assert any("rxpipe_checkpoints" in statement for statement in found)
    bad = [f"{statement}\n{plan}" for statement, plan in found.items() if "GROUP BY" not in statement]
    assert [one for one in bad if reads_all(one)] == []


def go_on_with_a_flow(url: str) -> None:
    """Records come again, one with another value, and some are new; the parent that waits is called."""
    records = [Record(0, "other"), Record(1, "b"), *(Record(number, "new") for number in range(2, 20))]
    report = flow(url, on_change="redo").run(records)
    assert (report.collected, report.written) == (5 + 2 * 19 * 2 + 2, 19 + 1)


def end_a_flow_early(url: str) -> None:
    """With ``until``."""
    assert flow(url).run(range(100, 200), until=10).finished


@pytest.mark.slow
@pytest.mark.parametrize("act", [go_on_with_a_flow, end_a_flow_early])
def test_no_statement_of_a_flow_reads_all_of_a_run(full_flow_url: str, act: Callable[[str], None]) -> None:
    """Nor do those for children, parents, what is sent back, records that have changed and ``until``."""
    with plans() as found:
        act(full_flow_url)
    bad = [f"{statement}\n{plan}" for statement, plan in found.items() if "GROUP BY" not in statement]
    counted = "count(*)"  # of what is written, once
    assert [one for one in bad if reads_all(one) and counted not in one] == []


def test_a_commit_does_not_read_all_children_of_a_parent(sqlite_url: str) -> None:
    """To see whether the last one has ended."""
    flow(sqlite_url).run([0])
    with plans() as found, create_engine(sqlite_url, poolclass=NullPool).begin() as connection:
        connection.execute(update(ITEMS).where(ITEMS.c.item_key == "0").values(state="waiting"))
        wake_parents(connection, {RUN: 1}, ["0"])
    (plan,) = (plan for plan in found.values() if "child" in plan)
    assert "rxpipe_items_children (run_id=? AND parent_key=? AND state=?)" in plan


def test_items_are_counted_early(postgres_url: str) -> None:
    """PostgreSQL has statistics of a new run's items before there are many, also where it makes none by itself."""
    engine = create_engine(postgres_url, poolclass=NullPool)
    counted = text(f"SELECT reltuples FROM pg_class WHERE oid = CAST('{ITEMS.name}' AS regclass)")
    for most, has_statistics in ((10, False), (1000, True)):
        pipeline(postgres_url).run(range(most))
        with engine.connect() as connection:
            assert (connection.execute(counted).scalar_one() > 0) == has_statistics
