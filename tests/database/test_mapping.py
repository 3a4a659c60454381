from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Enum,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Uuid,
    func,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.mapping import ColumnMapping, RowFunction, function_row, table_of
from rxpipe.database.writer import Writer
from rxpipe.errors import ConfigError
from rxpipe.pipeline.outcome import Outcome

from .sink_helpers import MakeWriter, outcome, stored

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def cards(name: str = "cards") -> Table:
    return Table(
        name,
        MetaData(),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("title", String(50), nullable=False),
        Column("tags", JSON),
        Column("grade", String(5), server_default="none"),
        Column("made_at", DateTime, server_default=func.now()),
    )


class Base(DeclarativeBase):
    pass


class Card(Base):
    __tablename__ = "orm_cards"
    id: Mapped[int] = mapped_column(primary_key=True)
    heading: Mapped[str] = mapped_column("title", String(50))


class Parent(Base):
    __tablename__ = "parents"
    id: Mapped[int] = mapped_column(primary_key=True)


class Child(Parent):
    __tablename__ = "children"
    id: Mapped[int] = mapped_column(ForeignKey("parents.id"), primary_key=True)


def by_columns(*columns: Column[Any], value: Any = None, item_id: Any = 7, **more: Any) -> dict[str, Any] | None:
    table = Table("t", MetaData(), *columns)
    return ColumnMapping(table, table_of(table)[1]).row(outcome(item_id, value, **more), NOW)


def key() -> Column[Any]:
    return Column("id", Integer, primary_key=True)


def numbered(item: Outcome[Any]) -> dict[str, Any]:
    return {"number": item.id, "title": item.value["question"], "tags": ["a", item.status]}


def returning(made: Any) -> RowFunction:
    def row(_item: Outcome[Any]) -> Any:
        return made

    return row


def test_a_row_function_fills_the_users_table(make_writer: MakeWriter, name: str) -> None:
    """It is given the outcome; columns that it leaves out have their defaults."""
    writer = make_writer(
        table=cards(name),
        row=numbered,
    )
    assert writer.write([outcome(1, {"question": "How?"})]) == [None]
    row = stored(writer)[1]
    assert (row.title, row.tags, row.grade) == ("How?", ["a", "written"], "none")
    assert row.made_at is not None


def test_a_row_of_none_is_not_written_and_counts_as_written(make_writer: MakeWriter, name: str) -> None:
    """The function chose to."""
    writer = make_writer(table=cards(name), row=returning(None))
    assert writer.write([outcome(1)]) == [None]
    assert stored(writer) == {}


def raising(error: BaseException) -> Any:
    def row(_item: Any) -> Mapping[str, Any]:
        raise error

    return row


class _Odd(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("odd")

    def __iter__(self) -> Any:
        return iter(["number"])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (raising(ValueError("oops")), "the row function raised ValueError: oops"),
        (raising(SystemExit("out")), "the row function raised SystemExit: out"),
        (returning([1]), "the row function returned a list, not a mapping"),
        (returning({}), "the row function returned no columns; the table has number, title"),
        (returning({"nmber": 1, 2: 3}), "unknown columns 'nmber', 2; the table has number, title"),
        (returning(_Odd()), "the row function raised RuntimeError: odd"),
    ],
    ids=["raises", "exits", "list", "empty", "unknown", "odd"],
)
def test_a_row_function_that_fails_refuses_this_row(row: Any, reason: str) -> None:
    """With the reason; the batch goes on."""
    _, names = table_of(cards())
    with pytest.raises(RowRefused) as caught:
        function_row(row, names, outcome(1))
    assert reason in str(caught.value)


def test_the_cause_of_a_failed_row_function_is_kept() -> None:
    """For its traceback."""
    error = ValueError("oops")
    with pytest.raises(RowRefused) as caught:
        function_row(raising(error), {}, outcome(1))
    assert caught.value.__cause__ is error


def test_a_class_takes_names_of_attributes_and_of_columns(make_writer: MakeWriter) -> None:
    """Both mean the same column."""

    def row(item: Outcome[Any]) -> dict[str, Any]:
        return {"id": item.id, item.value: "t"}

    writer = make_writer(table=Card, row=row)
    assert writer.write([outcome(1, "heading"), outcome(2, "title")]) == [None, None]
    assert [row.title for row in stored(writer).values()] == ["t", "t"]


def test_a_column_with_a_key_takes_both_its_names() -> None:
    """SQLAlchemy wants the key."""
    table = Table("t", MetaData(), Column("Card No", Integer, key="number", primary_key=True))
    _, names = table_of(table)
    for given in ("Card No", "number"):
        assert function_row(returning({given: 1}), names, outcome(1)) == {"number": 1}


@pytest.mark.parametrize("table", [7, None, str, Base, Child, Column("x", Integer()), " "])
def test_what_is_no_table_is_a_config_error(table: Any) -> None:
    """Found when the writer is made, like any wrong argument."""
    with pytest.raises(ConfigError, match="table: a name"):
        Writer("sqlite://", table=table)


def test_what_is_no_function_is_a_config_error() -> None:
    """The same for the row function."""
    row: Any = {"id": 1}
    with pytest.raises(ConfigError, match="row: a function"):
        Writer("sqlite://", row=row)


def test_a_row_function_may_fill_the_default_table(make_writer: MakeWriter) -> None:
    """Columns that it leaves out are empty; what it refuses is there as a failed row."""

    def row(item: Outcome[Any]) -> dict[str, Any]:
        return {"id": str(item.id), "status": item.value["s"]}

    writer = make_writer(row=row)
    assert [type(each) for each in writer.write([outcome(1, {"s": "mine"}), outcome(2, {})])] == [
        type(None),
        RowRefused,
    ]
    rows = stored(writer)
    assert (rows["1"].status, rows["1"].value) == ("mine", None)
    assert (rows["2"].status, rows["2"].error) == ("failed", "RowRefused: the row function raised KeyError: 's'")


def test_without_a_function_the_columns_names_decide(make_writer: MakeWriter, name: str) -> None:
    """The key is the outcome's ID, the others the value's fields."""
    writer = make_writer(table=cards(name))
    assert writer.write([outcome("3", {"title": "t", "tags": {"x"}, "other": 1})]) == [None]
    row = stored(writer)[3]
    assert (row.title, row.tags, row.grade) == ("t", ["x"], "none")


def test_columns_called_like_the_default_tables_mean_the_same() -> None:
    """Whatever the value has under these names."""
    row = by_columns(
        key(),
        *(Column(each, String(50)) for each in ("status", "error", "stage", "value")),
        *(Column(each, Integer) for each in ("attempts", "seconds")),
        Column("updated_at", DateTime(timezone=True)),
        value={"status": "draft", "question": "?"},
        status="failed",
        error=ValueError("no"),
        stage="grading",
    )
    assert row == {
        "id": 7,
        "status": "failed",
        "error": "ValueError: no",
        "stage": "grading",
        "value": '{"status":"draft","question":"?"}',
        "attempts": 3,
        "seconds": 1.5,
        "updated_at": NOW,
    }


def test_a_time_without_a_zone_is_utc() -> None:
    """PostgreSQL would convert an aware one to the session's zone."""
    row = by_columns(key(), Column("created_at", DateTime), Column("updated_at", DateTime))
    assert row == {"id": 7, "created_at": NOW.replace(tzinfo=None), "updated_at": NOW.replace(tzinfo=None)}


def test_created_at_is_left_to_its_own_default() -> None:
    """The table knows when."""
    assert by_columns(key(), Column("created_at", DateTime, server_default=func.now())) == {"id": 7}


@pytest.mark.parametrize(
    ("name", "kind", "given", "expected"),
    [
        ("x", Text(), ["a"], '["a"]'),
        ("x", Text(), "a\x00", "a\ufffd"),
        ("x", JSON(), {UUID(int=0)}, ["00000000-0000-0000-0000-000000000000"]),
        ("x", JSON(), None, None),
        ("x", Enum("a", "b"), "a", "a"),
        ("score", Float(), float("nan"), None),
        ("score", Numeric(), 1, 1.0),
        ("score", Integer(), 1, 1),
        ("value", Float(), 0.5, 0.5),
        ("value", JSON(), 0.5, {"value": 0.5}),
    ],
)
def test_a_field_fits_its_columns_type(name: str, kind: TypeEngine[Any], given: Any, expected: Any) -> None:
    """Text columns take JSON of what is not text, and JSON columns any data."""
    row = by_columns(key(), Column(name, kind), value={name: given})
    assert row == {"id": 7, name: expected}


def test_a_class_reads_fields_by_attribute_name_too() -> None:
    """A value has the attributes' names more often than the columns'."""
    table, names = table_of(Card)
    mapping = ColumnMapping(table, names)
    assert mapping.row(outcome(1, {"heading": "h"}), NOW) == {"id": 1, "title": "h"}
    assert mapping.row(outcome(1, {"title": "t"}), NOW) == {"id": 1, "title": "t"}


def test_a_method_of_the_value_is_no_field() -> None:
    """A text has a method ``title``."""
    assert by_columns(key(), Column("title", Text), value="some text") == {"id": 7}


@pytest.mark.parametrize(
    ("column", "item_id", "expected"),
    [
        (Column("id", Integer), "12", 12),
        (Column("id", String(9)), 12, "12"),
        (Column("id", Uuid), "00000000-0000-0000-0000-000000000007", UUID(int=7)),
        (Column("id", Uuid), UUID(int=7), UUID(int=7)),
    ],
)
def test_an_id_fits_the_keys_type(column: Column[Any], item_id: Any, expected: Any) -> None:
    """Drivers and databases are stricter than sources."""
    found = by_columns(Column("id", column.type, primary_key=True), item_id=item_id)
    assert found == {"id": expected}


@pytest.mark.parametrize("item_id", ["q-7", "07", " 7", "1_0", "+7"])
def test_an_id_that_does_not_fit_the_key_is_refused(item_id: str) -> None:
    """With the column's name; also one that would become another ID's number."""
    with pytest.raises(RowRefused, match="does not fit the column id"):
        by_columns(key(), item_id=item_id)


def test_of_several_key_columns_the_one_called_id_is_the_outcomes() -> None:
    """The others are the value's own."""
    row = by_columns(
        Column("run", Integer, primary_key=True), Column("id", Integer, primary_key=True), value={"run": 2, "id": 9}
    )
    assert row == {"run": 2, "id": 7}


def test_failed_items_stay_out_of_a_table_without_a_status() -> None:
    """Nothing there would tell them from good ones."""
    assert by_columns(key(), Column("title", Text), status="failed") is None
