from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    dialects,
    event,
    select,
)

from rxpipe.database.rows import Row
from rxpipe.database.upsert import Upserts
from rxpipe.pipeline.outcome import Outcome

from .sink_helpers import MakeWriter, outcome, stored


def pairs(name: str = "pairs") -> Table:
    return Table(
        name,
        MetaData(),
        Column("run", Integer, primary_key=True, autoincrement=False),
        Column("id", String(20), primary_key=True),
        Column("text", String(20)),
        Column("more", String(20), server_default="empty"),
        Column("created_at", String(20)),
    )


def as_given(item: Outcome[Any]) -> dict[str, Any]:
    given: dict[str, Any] = item.value
    return given


@pytest.fixture(params=[False, True], ids=["own", "portable"])
def upserting(request: pytest.FixtureRequest) -> Iterator[tuple[Table, Any]]:
    """A way to write rows into ``pairs`` in a database in memory, and then to read it."""
    engine = create_engine("sqlite://")
    table = pairs()
    table.create(engine)
    upserts = Upserts(table, "sqlite", portable=request.param)

    def write(*rows: Row) -> list[tuple[Any, ...]]:
        with engine.begin() as connection:
            upserts.execute(connection, rows)
            return [tuple(row) for row in connection.execute(select(table).order_by(table.c.run, table.c.id))]

    yield table, write
    engine.dispose()


def test_new_rows_are_inserted_and_others_updated(upserting: tuple[Table, Any]) -> None:
    """By the whole of the primary key."""
    _, write = upserting
    write({"run": 1, "id": "a", "text": "old"}, {"run": 2, "id": "a", "text": "old"})
    assert write({"run": 1, "id": "a", "text": "new"}, {"run": 1, "id": "b", "text": "new"}) == [
        (1, "a", "new", "empty", None),
        (1, "b", "new", "empty", None),
        (2, "a", "old", "empty", None),
    ]


def test_only_the_columns_of_the_row_are_updated(upserting: tuple[Table, Any]) -> None:
    """What others wrote beside them stays."""
    _, write = upserting
    write({"run": 1, "id": "a", "text": "old", "more": "mine"})
    assert write({"run": 1, "id": "a", "text": "new"}) == [(1, "a", "new", "mine", None)]


def test_created_at_is_not_updated(upserting: tuple[Table, Any]) -> None:
    """It says when the row first came."""
    _, write = upserting
    write({"run": 1, "id": "a", "created_at": "monday", "text": "old"})
    assert write({"run": 1, "id": "a", "created_at": "friday", "text": "new"}) == [(1, "a", "new", "empty", "monday")]


def test_a_row_of_nothing_but_its_key_may_come_twice(upserting: tuple[Table, Any]) -> None:
    """There is nothing to update then."""
    _, write = upserting
    for _ in range(2):
        assert write({"run": 1, "id": "a"}) == [(1, "a", None, "empty", None)]


def test_of_rows_with_the_same_key_the_last_one_counts(upserting: tuple[Table, Any]) -> None:
    """Whether or not the key is in the table."""
    _, write = upserting
    rows = [{"run": 1, "id": "a", "text": text} for text in ("x", "y", "z")]
    for _ in range(2):
        assert write(*rows) == [(1, "a", "z", "empty", None)]


def test_many_rows_are_looked_up_in_parts(upserting: tuple[Table, Any]) -> None:
    """Databases limit the parameters of a statement."""
    _, write = upserting
    rows = [{"run": number, "id": "a", "text": "x"} for number in range(501)]
    write(*rows)
    assert len(write(*rows)) == 501


def test_a_key_that_the_database_spells_otherwise_is_found() -> None:
    """Alone, that is: where rows are searched for the one that was refused."""
    engine = create_engine("sqlite://")
    table = Table("t", MetaData(), Column("id", String(9), primary_key=True), Column("text", String(9)))
    table.create(engine)
    upserts = Upserts(table, "sqlite", portable=True)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES ('7', 'old')")
        upserts.execute(connection, [{"id": 7, "text": "new"}])
        assert connection.execute(select(table)).all() == [("7", "new")]
    engine.dispose()


def test_other_dialects_get_the_portable_way() -> None:
    """No statement of a dialect that cannot be compiled elsewhere."""
    statements: list[str] = []
    engine = create_engine("sqlite://")

    def executed(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement.split()[0])

    with engine.begin() as connection:
        pairs().create(connection)
        event.listen(engine, "before_cursor_execute", executed)
        Upserts(pairs(), "oracle").execute(connection, [{"run": 1, "id": "a"}, {"run": 2, "id": "a"}])
    assert statements == ["SELECT", "INSERT"]
    engine.dispose()


@pytest.mark.parametrize(
    ("name", "clause"),
    [
        ("sqlite", "ON CONFLICT (run, id) DO UPDATE SET text = excluded.text"),
        ("postgresql", "ON CONFLICT (run, id) DO UPDATE SET text = excluded.text"),
        ("mysql", "ON DUPLICATE KEY UPDATE text = VALUES(text)"),
    ],
)
def test_each_dialect_gets_its_own_upsert(name: str, clause: str) -> None:
    """One statement for all rows with the same columns."""
    upserts = Upserts(pairs(), name)
    seen: list[Any] = []

    class Recording:
        def execute(self, statement: Any, _rows: Any) -> None:
            seen.append(statement)

    connection: Any = Recording()
    for _ in range(2):
        upserts.execute(connection, [{"run": 1, "id": "a", "text": "x", "created_at": "now"}])
    assert seen[0] is seen[1]
    dialect: Any = getattr(dialects, name).dialect()
    assert clause in str(seen[0].compile(dialect=dialect)).replace("`", "").replace("%%", "%")


def test_a_composite_key_works(make_writer: MakeWriter, name: str) -> None:
    """On each database."""
    writer = make_writer(table=pairs(name), row=as_given)
    for text in ("old", "new"):
        assert writer.write([outcome(1, {"run": run, "id": "a", "text": text}) for run in (1, 2, 1)]) == [None] * 3
    with writer.engine.connect() as connection:
        rows = connection.execute(select(writer.table).order_by(writer.table.c.run)).all()
    assert [tuple(row) for row in rows] == [(1, "a", "new", "empty", None), (2, "a", "new", "empty", None)]


def test_a_row_of_a_key_alone_works(make_writer: MakeWriter, name: str) -> None:
    """On each database, also the second time."""
    writer = make_writer(table=pairs(name), row=as_given)
    for _ in range(2):
        assert writer.write([outcome(1, {"run": 1, "id": "a"})]) == [None]
    assert len(stored(writer)) == 1


def test_a_table_without_a_key_gets_the_rows_again(make_writer: MakeWriter, name: str) -> None:
    """There is nothing to recognize them by."""
    table = Table(name, MetaData(), Column("text", String(9)))
    writer = make_writer(table=table, row=as_given)
    for _ in range(2):
        assert writer.write([outcome(1, {"text": "a"}), outcome(1, {"text": "a"})]) == [None, None]
    with writer.engine.connect() as connection:
        assert len(connection.execute(select(table)).all()) == 4


def test_a_key_that_the_database_gives_out_is_left_to_it(make_writer: MakeWriter, name: str) -> None:
    """The rows have none, so they are inserted."""
    table = Table(name, MetaData(), Column("number", Integer, primary_key=True), Column("text", String(9)))
    writer = make_writer(table=table, row=as_given)
    writer.write([outcome(1, {"text": "a"}), outcome(1, {"text": "b"})])
    assert sorted(row.text for row in stored(writer).values()) == ["a", "b"]


def test_another_unique_key_never_lets_a_row_overwrite_another_items(make_writer: MakeWriter, name: str) -> None:
    """MySQL's own upsert would: it goes by whatever key conflicts."""
    table = Table(
        name,
        MetaData(),
        Column("id", String(9), primary_key=True),
        Column("title", String(9)),
        Column("text", String(9)),
        UniqueConstraint("title"),
    )
    writer = make_writer(table=table, row=as_given)
    assert writer.write([outcome(1, {"id": "a", "title": "t", "text": "mine"})]) == [None]
    results = writer.write([outcome(2, {"id": "b", "title": "t", "text": "other"}), outcome(3, {"id": "c"})])
    assert [result is None for result in results] == [False, True]
    rows = stored(writer)
    assert (rows["a"].text, set(rows)) == ("mine", {"a", "c"})
