from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import JSON, Column, DateTime, Integer, MetaData, String, Table, Text, event, text

from rxpipe.database.table import default_table
from rxpipe.database.writer import Writer
from rxpipe.errors import SinkError

from .sink_helpers import MakeWriter, outcome, stored


def test_the_default_table_is_created(make_writer: MakeWriter) -> None:
    """With these columns, in this order."""
    writer = make_writer()
    assert [column.name for column in writer.table.columns] == [
        *("id", "status", "question", "answer", "score", "error", "stage", "attempts", "seconds"),
        *("created_at", "updated_at", "value"),
    ]
    assert stored(writer) == {}


def test_a_row_is_read_back_as_it_was_written(make_writer: MakeWriter) -> None:
    """Text of any length and script, numbers exactly, the value as data, times aware and in UTC."""
    writer = make_writer()
    value = {"question": "多长😀", "answer": "x" * 100_000, "score": 0.1, "n": [1, {"a": None}]}
    before = datetime.now(UTC)
    assert writer.write([outcome("a", value)]) == [None]
    row = stored(writer)["a"]
    assert (row.question, row.answer, row.score, row.value) == ("多长😀", "x" * 100_000, 0.1, value)
    assert (row.status, row.error, row.stage, row.attempts, row.seconds) == ("written", None, None, 3, 1.5)
    assert before <= row.created_at <= datetime.now(UTC)
    assert row.created_at == row.updated_at
    assert row.created_at.utcoffset().total_seconds() == 0


def test_nothing_is_null_in_sql_not_json(make_writer: MakeWriter) -> None:
    """``value IS NULL`` finds the items that got nowhere."""
    writer = make_writer()
    writer.write([outcome("a")])
    with writer.engine.connect() as connection:
        count = connection.execute(text(f"SELECT count(*) FROM {writer.table.name} WHERE value IS NULL"))
        assert count.scalar() == 1


@pytest.mark.parametrize("other", ["A", "a ", "ä"])
def test_ids_are_compared_exactly(make_writer: MakeWriter, other: str) -> None:
    """MySQL's usual collations hold all of these for the same."""
    writer = make_writer()
    writer.write([outcome("a"), outcome(other)])
    assert set(stored(writer)) == {"a", other}


def test_an_id_and_its_text_are_the_same_item(make_writer: MakeWriter) -> None:
    """1 and "1" have one row."""
    writer = make_writer()
    writer.write([outcome(1), outcome("1")])
    assert set(stored(writer)) == {"1"}


def test_a_table_that_is_there_is_used(make_writer: MakeWriter) -> None:
    """And its rows are kept."""
    first = make_writer()
    first.write([outcome(1)])
    second = make_writer()
    second.write([outcome(2)])
    assert set(stored(first)) == {"1", "2"}


def test_the_table_may_have_columns_more(make_writer: MakeWriter, url: str, name: str) -> None:
    """Users add their own, as long as a row can do without."""
    first = make_writer()
    with first.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {name} ADD COLUMN reviewer INTEGER DEFAULT 0"))
    assert make_writer().write([outcome(1)]) == [None]


def wrong_tables(name: str) -> list[tuple[Table, list[str]]]:
    lacking = Table(name, MetaData(), Column("id", String(255), primary_key=True), Column("status", String(16)))
    right = default_table(name)
    others: dict[str, Column[str]] = {"id": Column("id", String(255)), "score": Column("score", Text)}
    types = Table(
        name,
        MetaData(),
        *(others.get(column.name, Column(column.name, column.type)) for column in right.columns),
        Column("owner", Integer, nullable=False),
    )
    return [
        (lacking, ["it lacks the columns question, answer, score"]),
        (
            types,
            [
                "column score is TEXT instead of",
                "primary key is () instead of (id)",
                "column owner is NOT NULL",
            ],
        ),
    ]


@pytest.mark.parametrize("which", [0, 1])
def test_a_table_that_does_not_fit_is_one_clear_error(make_writer: MakeWriter, url: str, name: str, which: int) -> None:
    """It names the table and every column that is wrong, and the table stays as it is."""
    table, reasons = wrong_tables(name)[which]
    make_writer(table=table)
    with pytest.raises(SinkError) as caught:
        Writer(url, table=name).open()
    assert f"the table {name} of " in str(caught.value)
    for reason in reasons:
        assert reason in str(caught.value)


def test_a_column_without_a_zone_does_not_fit_in_postgresql(writers: MakeWriter, postgres: str, name: str) -> None:
    """It would be off by the session's zone, silently."""
    right = default_table(name)
    columns = [Column(each.name, each.type, primary_key=each.primary_key) for each in right.columns]
    columns[9] = Column("created_at", DateTime(timezone=False))
    writers(database=postgres, table=Table(name, MetaData(), *columns))
    with pytest.raises(SinkError, match="created_at is TIMESTAMP WITHOUT TIME ZONE"):
        Writer(postgres, table=name).open()


def test_jsonb_fits(writers: MakeWriter, postgres: str, name: str) -> None:
    """A table that was made by hand with PostgreSQL's better JSON takes the same rows."""
    with Writer(postgres, table=name) as first, first.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {name} ALTER COLUMN value TYPE jsonb"))
    writer = writers(database=postgres)
    assert writer.write([outcome(1, {"a\x00": float("nan")})]) == [None]
    assert stored(writer)["1"].value == {"a\ufffd": None}


def test_a_view_of_that_name_is_an_error(sqlite: str) -> None:
    """A view has no primary key to update by."""
    with Writer(sqlite, table="real") as writer, writer.engine.begin() as connection:
        connection.execute(text("CREATE VIEW seen AS SELECT * FROM real"))
    with pytest.raises(SinkError, match="primary key is"):
        Writer(sqlite, table="seen").open()


def test_many_processes_may_create_the_table_at_once(make_writer: MakeWriter, url: str, name: str) -> None:
    """One of them does, and all can write."""
    make_writer().table.drop(make_writer().engine)

    def one(item_id: int) -> object:
        with Writer(url, table=name) as writer:
            return writer.write([outcome(item_id)])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(4))) == [[None]] * 4
    assert len(stored(make_writer())) == 4


def test_losing_the_race_to_create_the_table_is_no_error(make_writer: MakeWriter, url: str, name: str) -> None:
    """The table appears between the look and the leap."""
    late = Writer(url, table=name)
    event.listen(late.table, "before_create", lambda *_arguments, **_more: make_writer())
    with late:
        assert late.write([outcome(1)]) == [None]


def test_json_columns_read_by_others_hold_plain_json(sqlite: str) -> None:
    """The value is encoded once: a table reflected by another program reads data, not text."""
    with Writer(sqlite) as writer:
        writer.write([outcome(1, {"a": 1})])
        plain = Table("results", MetaData(), Column("id", String), Column("value", JSON))
        assert stored(writer, plain)["1"].value == {"a": 1}
