"""The user's row functions beside a store: nothing is held while they run, and each is called once for a row."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from pipeline_helpers import LIMIT, finish, same, until
from sqlalchemy import Column, Engine, MetaData, String, Table, create_engine, event, insert

from rxpipe import DatabaseSink, Outcome, Pipeline, Retry, RunStore, Stage

from .bank import rows, states

METADATA = MetaData()
BANK = Table("bank", METADATA, Column("id", String(40), primary_key=True), Column("title", String(40)))
NOTES = Table("notes", METADATA, Column("note", String(40)))


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    """Connections of the user's own, which wait for a lock for a moment only."""
    options = {"timeout": 0.5} if store_url.startswith("sqlite") else {}
    engine = create_engine(store_url, connect_args=options)
    METADATA.create_all(engine)
    yield engine
    engine.dispose()


@pytest.mark.slow
def test_a_row_function_may_write_to_the_same_database(store_url: str, engine: Engine) -> None:
    """Also to the same SQLite file, which takes one writer at a time."""

    def row(outcome: Outcome[Any]) -> dict[str, Any]:
        with engine.begin() as connection:
            connection.execute(insert(NOTES).values(note=str(outcome.id)))
        return {"id": str(outcome.id), "title": "t"}

    sink = DatabaseSink(store_url, table=BANK, row=row)
    report = Pipeline(Stage("a", same), sink=sink, store=RunStore()).run(range(20))
    assert (report.written, report.failed) == (20, 0)
    assert len(rows(store_url, BANK)) == len(rows(store_url, NOTES)) == 20


def test_a_row_function_holds_up_nobody(store_url: str, engine: Engine) -> None:
    """A run that is disposed while one hangs gives its items back all the same."""
    is_in_row, may_return = threading.Event(), threading.Event()

    def row(outcome: Outcome[Any]) -> dict[str, Any]:
        is_in_row.set()
        assert may_return.wait(LIMIT)
        return {"id": str(outcome.id)}

    sink = DatabaseSink(store_url, table=BANK, row=row)
    outcomes = Pipeline(Stage("a", same), sink=sink, store=RunStore()).outcomes([1]).subscribe()
    try:
        assert is_in_row.wait(LIMIT)
        outcomes.dispose()
        until(lambda: states(store_url) == {"1": "ready"})
    finally:
        may_return.set()


def test_a_row_is_made_once(store_url: str, engine: Engine) -> None:
    """Its function is not called again with each try to commit the row."""
    made: Counter[Any] = Counter()
    cut = [True]

    def row(outcome: Outcome[Any]) -> dict[str, Any]:
        made[outcome.id] += 1
        return {"id": str(outcome.id)}

    def executed(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("INSERT INTO bank") and cut.pop():
            raise ConnectionError("the connection is cut")

    event.listen(Engine, "before_cursor_execute", executed)
    try:
        sink = DatabaseSink(store_url, table=BANK, row=row, retry=Retry(max_attempts=3, initial=0.001))
        cut[:] = [False, False, True]
        run = Pipeline(Stage("a", same), sink=sink, store=RunStore()).start([1])
        finish(run)
    finally:
        event.remove(Engine, "before_cursor_execute", executed)
    assert made == {1: 1}
    assert states(store_url) == {"1": "written"}
