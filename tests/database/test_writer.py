from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    CheckConstraint,
    Column,
    Engine,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    exc,
    text,
)
from structlog.testing import capture_logs

from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.writer import Writer
from rxpipe.errors import SinkError
from rxpipe.pipeline.outcome import Outcome

from .sink_helpers import MakeWriter, outcome, stored


def strict(name: str) -> Table:
    """A table that refuses a row for four reasons."""
    return Table(
        name,
        MetaData(),
        Column("id", String(20), primary_key=True),
        Column("title", String(5), CheckConstraint("length(title) <= 5"), nullable=False),
        Column("count", Integer),
        Column("grade", Float, CheckConstraint("grade >= 0")),
    )


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


def statements_of(engine: Engine) -> list[str]:
    """The statements of the engine from now on, those of savepoints among them."""
    seen: list[str] = []

    def executed(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement.split()[0])

    def commit(_connection: Any) -> None:
        seen.append("COMMIT")

    event.listen(engine, "before_cursor_execute", executed)
    event.listen(engine, "commit", commit)
    return seen


def test_a_batch_is_one_transaction_and_one_statement(make_writer: MakeWriter) -> None:
    """In the good case."""
    writer = make_writer()
    statements = statements_of(writer.engine)
    assert writer.write([outcome(item_id, {"question": "?"}) for item_id in range(50)]) == [None] * 50
    assert [each for each in statements if each != "BEGIN"] == ["INSERT", "COMMIT"]
    assert len(stored(writer)) == 50


def test_no_outcomes_are_nothing_to_do(make_writer: MakeWriter) -> None:
    """Not even a transaction."""
    writer = make_writer()
    statements = statements_of(writer.engine)
    assert writer.write([]) == []
    assert statements == []


def test_writing_a_batch_again_changes_nothing_but_the_time(make_writer: MakeWriter) -> None:
    """So a commit whose answer was lost is harmless."""
    writer = make_writer()
    batch = [outcome(1, {"question": "?"}), outcome(2, status="failed", error=ValueError("no"))]
    writer.write(batch)
    first = stored(writer)
    assert writer.write(batch) == [None, None]
    second = stored(writer)
    for key, row in first.items():
        old, new = list(row), list(second[key])
        assert old.pop(10) < new.pop(10)  # updated_at
        assert old == new


def test_of_two_outcomes_with_one_id_the_last_one_counts(make_writer: MakeWriter) -> None:
    """Both are committed."""
    writer = make_writer()
    assert writer.write([outcome(1, {"question": text}) for text in ("first", "second")]) == [None, None]
    assert stored(writer)["1"].question == "second"


def test_an_outcome_without_a_row_deletes_the_row_of_its_id(make_writer: MakeWriter) -> None:
    """Of several with one ID the last one counts, also in one batch; an ID that no row can have deletes nothing."""
    writer = make_writer()
    writer.write([outcome(one) for one in range(150)])
    ends = [outcome(1, status="dropped"), outcome(1), outcome(2), outcome(2, status="dropped")]
    ends += [outcome(one, status="dropped") for one in range(3, 149)]
    assert writer.write([*ends, outcome("\0", status="dropped")]) == [None] * 151
    assert set(stored(writer)) == {"0", "1", "149"}


@pytest.mark.parametrize("size", [1, 2, 7])
def test_ids_that_come_again_are_told(make_writer: MakeWriter, size: int) -> None:
    """At the end, whatever the batches; not those that an earlier writer has written."""
    for _ in range(2):
        writer = make_writer()
        writer.write([outcome(one) for one in range(3)])
        with capture_logs() as logs:
            writer.close()
        writer.open()
        assert logs == []
    writer = make_writer()
    outcomes = [outcome(one) for one in (1, 2, 3, 1, 4, 1, 2)]
    for first in range(0, 7, size):
        writer.write(outcomes[first : first + size])
    with capture_logs() as logs:
        writer.close()
    writer.open()
    (told,) = [log for log in logs if log["log_level"] == "warning"]
    assert (told["rows"], told["id"]) == (3, "1")


def test_rows_with_other_columns_keep_their_order(make_writer: MakeWriter, name: str) -> None:
    """Rows are written by their columns, and yet the last one with a key counts."""

    def row(item: Outcome[Any]) -> dict[str, Any]:
        return {"id": "same", "title": "t", **item.value}

    writer = make_writer(table=strict(name), row=row)
    batch = [outcome(1, value) for value in ({"count": 1}, {"grade": 1.0}, {"count": 2, "title": "u"}, {"title": "v"})]
    assert writer.write(batch) == [None] * 4
    assert tuple(stored(writer)["same"]) == ("same", "v", 2, 1.0)


def test_a_value_that_cannot_be_encoded_leaves_a_failed_row(make_writer: MakeWriter) -> None:
    """With the reason, and the others are committed."""
    writer = make_writer()
    results = writer.write([outcome(1, {"question": "?"}), outcome(2, {"question": object()}), outcome(3)])
    assert [type(result) for result in results] == [type(None), RowRefused, type(None)]
    rows = stored(writer)
    assert [row.status for row in rows.values()].count("failed") == 1
    assert (rows["2"].status, rows["2"].question) == ("failed", None)
    assert rows["2"].error == f"RowRefused: {results[1]}"
    assert "builtins.object is not data" in rows["2"].error


class Hostile:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


@pytest.mark.parametrize("error", [ValueError("v"), SystemExit("s"), GeneratorExit("g"), RecursionError("r")])
def test_a_value_that_raises_anything_fails_alone(make_writer: MakeWriter, error: BaseException) -> None:
    """Also what is no ``Exception``."""
    writer = make_writer()
    results = writer.write([outcome(1), outcome(2, Hostile(error))])
    assert results[0] is None
    assert results[1] is not None
    assert results[1].__cause__ is error
    assert stored(writer)["2"].status == "failed"


def test_ctrl_c_on_the_main_thread_is_not_taken_for_a_values() -> None:
    """The program must be able to end."""
    with Writer("sqlite://") as writer, pytest.raises(KeyboardInterrupt):
        writer.write([outcome(1, Hostile(KeyboardInterrupt()))])


def test_a_keyboard_interrupt_in_another_thread_is_a_values() -> None:
    """Python delivers Ctrl-C to the main thread only."""
    results: list[Any] = []
    with Writer("sqlite://") as writer:

        def write() -> None:
            results.extend(writer.write([outcome(1, Hostile(KeyboardInterrupt()))]))

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert isinstance(results[0], RowRefused)


def test_an_id_that_cannot_be_a_key_has_no_row(make_writer: MakeWriter) -> None:
    """Nor a failed one; its outcome says so."""
    writer = make_writer()
    results = writer.write([outcome("x" * 300), outcome("ok")])
    assert isinstance(results[0], RowRefused)
    assert results[1] is None
    assert set(stored(writer)) == {"ok"}


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


def test_the_wal_is_written_by_one_while_another_reads(sqlite: str, tmp_path: Path) -> None:
    """A reader in mid-transaction does not hold up the sink."""
    with Writer(sqlite) as writer:
        writer.write([outcome(1)])
        reader = sqlite3.connect(tmp_path / "bank.db", isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM results").fetchone() == (1,)
        assert writer.write([outcome(2)]) == [None]
        reader.close()


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


@pytest.fixture
def default_writer(make_writer: MakeWriter) -> Writer:
    return make_writer()


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(), max_size=10),
        st.binary(max_size=5),
        st.just(object()),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["question", "answer", "score", "\x00"]), inner, max_size=4),
    ),
    max_leaves=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(VALUES, max_size=10))
def test_every_outcome_has_a_row_whatever_its_value(default_writer: Writer, values: list[Any]) -> None:
    """With its value, or failed with the reason."""
    with default_writer.engine.begin() as connection:
        connection.execute(default_writer.table.delete())
    results = default_writer.write([outcome(index, value) for index, value in enumerate(values)])
    rows = stored(default_writer)
    assert len(rows) == len(values)
    for index, (result, value) in enumerate(zip(results, values, strict=True)):
        assert (rows[str(index)].status == "failed") == (result is not None) == ("object object" in repr(value))


def test_an_engine_that_cannot_connect_is_fatal_whatever_it_raises(sqlite: str) -> None:
    """No row is to blame, and the database did not say that it is away."""
    with Writer(sqlite) as writer:
        writer.engine.dispose()

        def refuse(*_arguments: Any) -> None:
            raise KeyError("vault")

        event.listen(writer.engine, "do_connect", refuse)
        with pytest.raises(SinkError, match="KeyError: 'vault'"):
            writer.write([outcome(1), outcome(2)])


def test_transient_errors_come_out_as_they_are(sqlite: str) -> None:
    """Nothing is blamed on rows, and the sink decides when to write again."""
    with Writer(f"{sqlite}?timeout=0.01") as writer, writer.engine.connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(exc.OperationalError, match="locked"):
            writer.write([outcome(1, object())])
