"""Rows that the database, its driver or the mapping refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, create_engine, event, text

from rxpipe.database.writer import Writer
from rxpipe.pipeline.outcome import Outcome

from .sink_helpers import MakeWriter, outcome, statements_of, stored, strict


def strict_row(item: Outcome[Any]) -> dict[str, Any]:
    return {"id": str(item.id), "title": "t", "count": 1, "grade": 0.5, **item.value}


BAD: list[dict[str, Any]] = [
    {"title": None},
    {"title": "too long"},
    {"title": object()},
    {"title": "\ud800"},
    {"count": 2**80},
    {"grade": -1.0},
    {"unknown": 1},
]


def test_a_refused_row_of_the_default_table_leaves_a_failed_row(make_writer: MakeWriter, name: str) -> None:
    """Here a constraint that its owner added, which SQLite checks by a trigger."""
    writer = make_writer()
    rule = {
        "sqlite": f"CREATE TRIGGER r BEFORE INSERT ON {name} WHEN NEW.score < 0 BEGIN SELECT RAISE(ABORT, 'low'); END",
    }.get(writer.engine.dialect.name, f"ALTER TABLE {name} ADD CONSTRAINT low CHECK (score >= 0)")
    with writer.engine.begin() as connection:
        connection.execute(text(rule))
    results = writer.write([outcome(item_id, {"score": 5 - item_id}) for item_id in range(10)])
    assert [result is None for result in results] == [True] * 6 + [False] * 4
    rows = stored(writer)
    assert (len(rows), rows["7"].status, rows["7"].score) == (10, "failed", None)
    assert "low" in rows["7"].error
    assert rows["7"].attempts == 3


@pytest.mark.parametrize("bad", BAD, ids=["missing", "long", "object", "surrogate", "big", "check", "unknown"])
def test_a_refused_row_fails_alone(make_writer: MakeWriter, name: str, bad: dict[str, Any]) -> None:
    """Whether the database, its driver or the mapping refuses it."""
    writer = make_writer(table=strict(name), row=strict_row)
    results = writer.write([outcome(1, {}), outcome(2, bad), outcome(3, {})])
    assert [result is None for result in results] == [True, False, True]
    assert "\n" not in str(results[1])
    assert set(stored(writer)) == {"1", "3"}


def test_one_bad_row_among_500_costs_tens_of_statements(make_writer: MakeWriter, name: str) -> None:
    """And two transactions."""
    writer = make_writer(table=strict(name), row=strict_row)
    statements = statements_of(writer.engine)
    results = writer.write([outcome(item_id, {"grade": -1.0 if item_id == 333 else 1.0}) for item_id in range(500)])
    assert [index for index, result in enumerate(results) if result] == [333]
    assert len(stored(writer)) == 499
    assert statements.count("COMMIT") == 1
    assert len(statements) < 70


def test_a_bad_row_after_a_good_one_with_the_same_id_leaves_the_good_one(make_writer: MakeWriter, name: str) -> None:
    """The last one that the database takes counts."""
    writer = make_writer(table=strict(name), row=strict_row)
    results = writer.write([outcome(1, {"title": "good"}), outcome(1, {"title": None})])
    assert [result is None for result in results] == [True, False]
    assert stored(writer)["1"].title == "good"


def test_nothing_is_committed_when_the_database_goes_away_in_the_search(sqlite: str, tmp_path: Path) -> None:
    """A batch with a bad row is written again as a whole."""
    with Writer(sqlite, table=strict("strict"), row=strict_row) as writer:
        attempts: list[str] = []

        def break_off(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            if statement.startswith("INSERT"):
                attempts.append(statement)
                if len(attempts) == 4:
                    raise ConnectionResetError

        event.listen(writer.engine, "before_cursor_execute", break_off)
        batch = [outcome(item_id, {"grade": -1.0 if item_id == 3 else 1.0}) for item_id in range(4)]
        with pytest.raises(ConnectionResetError):
            writer.write(batch)
        assert stored(writer) == {}
        assert [result is None for result in writer.write(batch)] == [True, True, True, False]


def deferred(name: str) -> tuple[Table, Table]:
    metadata = MetaData()
    parents = Table(f"{name}_p", metadata, Column("id", Integer, primary_key=True))
    children = Table(
        name,
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("parent", Integer, ForeignKey(f"{name}_p.id", deferrable=True, initially="DEFERRED")),
    )
    return parents, children


def child(item: Outcome[Any]) -> dict[str, Any]:
    return {"id": item.id, "parent": item.value}


def test_a_row_that_is_refused_at_the_commit_fails_alone(writers: MakeWriter, postgres: str, name: str) -> None:
    """A deferred constraint is checked only there."""
    parents, children = deferred(name)
    engine = create_engine(postgres)
    with engine.begin() as connection:
        parents.create(connection)
        connection.execute(parents.insert(), [{"id": 1}])
    try:
        writer = writers(database=postgres, table=children, row=child)
        results = writer.write([outcome(item_id, 9 if item_id == 2 else 1) for item_id in range(5)])
        assert [result is None for result in results] == [True, True, False, True, True]
        assert set(stored(writer)) == {0, 1, 3, 4}
        children.drop(engine)
    finally:
        parents.drop(engine)
        engine.dispose()


def test_savepoints_work_on_an_engine_of_the_users(tmp_path: Path) -> None:
    """sqlite3 begins no transaction at a savepoint: half of the batch would be committed."""
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with Writer(engine, table=strict("strict"), row=strict_row) as writer:
        statements = statements_of(engine)
        assert [result is None for result in writer.write([outcome(1, {}), outcome(2, {"title": None})])] == [
            True,
            False,
        ]
        assert statements.count("BEGIN") == 2
    engine.dispose()


def test_a_row_longer_than_mysql_takes_is_refused(writers: MakeWriter, mysql: str) -> None:
    """The server would close the connection, and the batch be written again, forever."""
    writer = writers(database=mysql)
    with writer.engine.connect() as connection:
        packet: int = connection.execute(text("SELECT @@max_allowed_packet")).scalar_one()
    results = writer.write([outcome(1), outcome(2, "x" * packet)])
    assert "more than the" in str(results[1])
    assert stored(writer)["2"].status == "failed"


@pytest.fixture
def strict_writer(make_writer: MakeWriter, name: str) -> Writer:
    return make_writer(table=strict(name), row=strict_row)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(st.one_of(st.just({}), st.just({}), st.sampled_from(BAD)), max_size=30))
def test_exactly_the_bad_rows_are_refused_and_all_good_ones_written(
    strict_writer: Writer, batch: list[dict[str, Any]]
) -> None:
    """Whatever the mixture."""
    with strict_writer.engine.begin() as connection:
        connection.execute(strict_writer.table.delete())
    results = strict_writer.write([outcome(item_id, value) for item_id, value in enumerate(batch)])
    good = {str(item_id) for item_id, value in enumerate(batch) if not value}
    assert {str(index) for index, result in enumerate(results) if result is None} == good
    assert set(stored(strict_writer)) == good
