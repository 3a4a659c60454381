"""Many rows as one parameter."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Double, Integer, MetaData, String, Table, create_engine, exc, insert, select
from sqlalchemy.types import TypeEngine

from rxpipe.database import upsert
from rxpipe.database.json_rows import PARAMETER, as_parameter, is_in_keys, json_lists, json_rows, keys_as_parameter
from rxpipe.database.rows import outcome_row
from rxpipe.database.table import default_table

from .sink_helpers import MakeWriter, outcome, stored

NUMBER: TypeEngine[float] = Double()
THINGS = Table(
    "things",
    MetaData(),
    Column("name", String(10), primary_key=True),
    Column("count", Integer()),
    Column("weight", NUMBER),
    Column("is_new", Boolean()),
)
ROWS: list[tuple[Any, ...]] = [('a"\\', 1, 0.1, True), ("é€😀", None, 1e300, False), ("", -(2**31), None, None)]


@pytest.mark.parametrize("as_lists", [False, True])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_rows_arrive_as_they_were(request: pytest.FixtureRequest, kind: str, *, as_lists: bool) -> None:
    """As mappings and as lists; and they are found by their keys."""
    engine = create_engine(request.getfixturevalue(kind))
    given = json_lists if as_lists else json_rows
    text = as_parameter(ROWS if as_lists else [dict(zip(THINGS.c.keys(), row, strict=True)) for row in ROWS])
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "CREATE TEMPORARY TABLE things (name VARCHAR(10), count INTEGER, weight DOUBLE PRECISION, is_new BOOLEAN)"
        )
        rows = given(engine.dialect.name, *THINGS.c)
        added = insert(THINGS).from_select([*THINGS.c], select(*(rows.c[column.name] for column in THINGS.c)))
        connection.execute(added, {PARAMETER: text})
        assert {tuple(row) for row in connection.execute(select(THINGS))} == set(ROWS)
        some = select(THINGS.c.name).where(is_in_keys(engine.dialect.name, THINGS.c.name))
        keys = keys_as_parameter([ROWS[0][0], ROWS[1][0], "none"])
        assert set(connection.execute(some, {PARAMETER: keys}).scalars()) == {ROWS[0][0], ROWS[1][0]}
        if kind == "postgres":  # SQLite has no lengths
            too_long = as_parameter([("much too long", 1, 1.0, True)])
            with pytest.raises(exc.DataError, match="too long"):
                connection.execute(added, {PARAMETER: too_long if as_lists else '[{"name": "much too long"}]'})
    engine.dispose()


@pytest.mark.parametrize("is_long", [False, True])
def test_outcomes_in_one_statement(
    postgres: str, writers: MakeWriter, monkeypatch: pytest.MonkeyPatch, *, is_long: bool
) -> None:
    """Are what they are one by one, as where they are long; of two with the same ID the last one counts."""
    if is_long:
        monkeypatch.setattr(upsert, "_LONG", 2)
    writer = writers(database=postgres)
    first = [
        outcome(1, {"question": "é€😀", "score": 0.1 + 0.2}),
        outcome(2, ["a\\u0000"]),
        outcome(1, {"answer": '"'}),
    ]
    assert writer.write(first) == [None] * 3
    found = stored(writer)
    assert found["1"].value == {"answer": '"'}
    assert (found["1"].question, found["1"].answer) == (None, '"')
    assert writer.write([outcome(1, {"score": 0.1 + 0.2, "question": "é€😀"})]) == [None]
    again = stored(writer)
    assert (again["1"].score, again["1"].question) == (0.1 + 0.2, "é€😀")
    assert again["1"].created_at == found["1"].created_at
    assert again["1"].updated_at > found["1"].updated_at
    assert again["2"] == found["2"]


def test_outcomes_have_all_columns() -> None:
    """One statement takes them all."""
    assert set(outcome_row(outcome(1), datetime.now(UTC))) == set(default_table("bank").c.keys())
