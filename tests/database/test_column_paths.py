"""Rows of the user's own table by paths into values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Boolean, Column, DateTime, Float, Integer, MetaData, Numeric, String, Table, Uuid, select

from rxpipe.database.column_paths import columns_row, columns_table
from rxpipe.database.field_names import NoSuchField
from rxpipe.pipeline.outcome import Origin, Outcome

from .sink_helpers import MakeWriter, outcome, stored


@dataclass
class Grade:
    score: float
    notes: list[str]

    def method(self) -> int:
        return 1


def no_row(_outcome: Outcome[Any]) -> None:
    """Of a writer that only makes the table."""


def cell(path: str, value: Any = None, **more: Any) -> Any:
    """What a path leads to."""
    row = columns_row({"cell": path, "status": "status"})(replace(outcome(7, value), origin=Origin(**more)))
    assert isinstance(row, Mapping)
    return row["cell"]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("question", {"question": "Why?"}, "Why?"),
        ("grade.score", {"grade": Grade(0.5, ["a"])}, 0.5),
        ("grade.notes.0", {"grade": Grade(0.5, ["a"])}, "a"),
        ("grade.notes.1", {"grade": Grade(0.5, ["a"])}, None),
        ("grade.method?", {"grade": Grade(0.5, ["a"])}, None),
        ("a.b?", {"a": 3}, None),
        ("a?", 3, None),
        ("0", ["x"], "x"),
        ("First name", {"First name": "Ada"}, "Ada"),
        ("value", [1, "é"], '[1,"é"]'),
        ("value.stage", {"stage": "mine"}, "mine"),
        ("value.value", {"value": 4}, 4),
        ("a", {"a": {"b": 1}}, '{"b":1}'),
        ("a", {"a": "x\0y"}, "x\ufffdy"),
        ("a", {"a": float("nan")}, None),
        ("a", {"a": Decimal("1.50")}, "1.50"),
        ("a", {"a": UUID(int=1)}, str(UUID(int=1))),
        ("a", {"a": True}, True),
        ("a", {"a": 2**70}, str(2**70)),
        ("a", {"a": date(2026, 1, 2)}, date(2026, 1, 2)),
        ("id", {"id": 3}, "7"),
        ("status", None, "written"),
        ("attempts", None, 3),
    ],
)
def test_a_path_into_the_value(path: str, value: Any, expected: Any) -> None:
    """Through keys, attributes and lists; what is no text, number or time is JSON. Nowhere is None."""
    found = cell(path, value)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("path", "expected"), [("record.topic", "sums"), ("record", '{"topic":"sums"}'), ("record.no?", None)]
)
def test_a_path_into_the_record(path: str, expected: str | None) -> None:
    """It is what the source gave, whatever has become of it."""
    assert cell(path, {"topic": "other"}, record={"topic": "sums"}) == expected


def test_what_became_of_the_item() -> None:
    """The outcome's own fields."""
    paths = {name: name for name in ("id", "status", "error", "stage", "attempts", "seconds", "parent")}
    failed = replace(
        outcome("17/0", status="failed", error=ValueError("no"), stage="grading"), origin=Origin(parent=17)
    )

    assert columns_row(paths)(failed) == {
        "id": "17/0",
        "status": "failed",
        "error": "ValueError: no",
        "stage": "grading",
        "attempts": failed.attempts,
        "seconds": failed.seconds,
        "parent": "17",
    }


def test_without_a_status_only_written_items_have_rows() -> None:
    """Nothing would tell a failed one from a good one."""
    assert columns_row({"id": "id"})(outcome(1, None, status="failed")) is None
    assert columns_row({"id": "id"})(outcome(1)) == {"id": "1"}


PATHS = {"number": "id", "title": "question", "grade": "grade.score", "status": "status", "tags": "tags", "at": "at"}
VALUE = {
    "question": "Why?",
    "grade": {"score": 0.5},
    "tags": ["a", "b"],
    "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
}


def test_the_table_is_made(make_writer: MakeWriter, name: str) -> None:
    """With a key, numbers and text; and written again a row is the same row."""
    writer = make_writer(table=columns_table(name, PATHS), row=columns_row(PATHS))
    assert writer.write([outcome(1, VALUE), outcome("x", {"question": 3})]) == [None, None]
    assert writer.write([outcome(1, {**VALUE, "question": "How?"})]) == [None]

    rows = stored(writer)
    assert (rows["1"].title, rows["1"].grade, rows["1"].tags) == ("How?", 0.5, '["a","b"]')
    assert rows["1"].at.startswith("2026-01-02 03:04:05")
    assert (rows["x"].title, rows["x"].grade, rows["x"].status) == ("3", None, "written")


def test_a_table_of_the_users_is_filled(make_writer: MakeWriter, name: str) -> None:
    """Whatever the types of its columns are; its other columns are left alone."""
    table = Table(
        name,
        MetaData(),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("title", String(50), nullable=False),
        Column("grade", Numeric(5, 2)),
        Column("status", String(10)),
        Column("at", DateTime),
        Column("done", Boolean),
        Column("share", Float),
        Column("uid", Uuid),
        Column("mine", Integer, server_default="3"),
    )
    first = make_writer(table=table, row=no_row)
    paths = {key: path for key, path in PATHS.items() if key != "tags"} | {key: key for key in ("done", "share", "uid")}
    writer = make_writer(table=columns_table(name, paths), row=columns_row(paths))
    value = {**VALUE, "at": datetime(2026, 1, 2, 3, 4, 5), "done": True, "share": 1, "uid": UUID(int=5)}
    for one in (value, {**value, "question": "How?"}):
        assert writer.write([outcome(7, one)]) == [None]

    with first.engine.connect() as connection:
        (row,) = connection.execute(select(table)).all()
    assert (row.number, row.title, row.grade, row.done, row.share) == (7, "How?", Decimal("0.50"), True, 1.0)
    assert (row.at, UUID(str(row.uid)), row.mine) == (value["at"], UUID(int=5), 3)


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("scor", {"score": 1, "text": "x"}, "a dict has no field 'scor': it has score, text; if only .* write 'scor"),
        ("grade.scor", {"grade": Grade(1, [])}, "a Grade has no field 'scor': it has score, notes; .* 'grade.scor"),
        ("a", 3, "a int has no field 'a': it has no fields"),
    ],
)
def test_a_field_that_no_value_has(path: str, value: Any, text: str) -> None:
    """The first value tells of a misspelt name."""
    with pytest.raises(NoSuchField, match=f"columns: {text}"):
        cell(path, value)


def test_a_field_that_a_value_had() -> None:
    """Later values may lack it, and so may items that were not written."""
    row = columns_row({"cell": "text", "status": "status"})
    ended = outcome(7, {}, status="failed"), outcome(7, {"text": "x"}), outcome(7, {})
    assert [one and one["cell"] for one in map(row, ended)] == [None, "x", None]
