"""IDs that can be no keys, and databases whose encoding has not all characters."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from pipeline_helpers import counts, same
from servers import POSTGRES, answering, execute
from sqlalchemy import make_url, select

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.database import default_table
from rxpipe.store.maintenance.requeue import requeue
from rxpipe.store.queries.existing_store import change, opened
from rxpipe.store.queries.failures import FailureInfo, count_failed, dead_letters
from rxpipe.store.queries.history import run
from rxpipe.store.schema.keys import is_stand_in
from rxpipe.store.schema.tables import CHECKPOINTS

from .bank import rows, states
from .stores import connected, looking

BANK = default_table("bank")
ODD = {"long": "x" * 300, "NUL": "a\0b", "surrogate": "\ud800", "number": 10**300, "huge": 10**5000}


def letters(url: str) -> list[FailureInfo]:
    """The dead letters of the latest run."""
    with looking(url) as connection:
        one = run(connection)
        found = list(dead_letters(connection, one, verbose=True))
        assert count_failed(connection, one) == len(found)
        return found


def pipeline(url: str, call: Any = same) -> Pipeline:
    return Pipeline(Stage("work", call, version=1), sink=DatabaseSink(url, table="bank"), store=RunStore())


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_id_that_can_be_no_key(store_url: str, odd: int | str) -> None:
    """It is a dead letter, without a call, once, and has no row; also if it comes again, or is tried again."""
    calls: list[Any] = []
    assert counts(pipeline(store_url, calls.append).run([1, odd, odd])) == (2, 1, 1, 0)
    (letter,) = letters(store_url)
    assert is_stand_in(str(letter.id))
    assert (letter.stage, letter.attempt, letter.final) == ("work", 0, True)
    assert letter.type == "rxpipe.database.error_kinds.RowRefused"
    assert pipeline(store_url, calls.append).run([odd]).taken == 0
    assert [row.id for row in rows(store_url, BANK)] == ["1"]

    with opened(store_url) as engine, change(engine) as connection:
        assert requeue(connection, run(connection)) == 1
    assert counts(pipeline(store_url, calls.append).run([])) == (1, 0, 1, 0)
    assert calls == [1]
    assert sorted(states(store_url).values()) == ["failed", "written"]


def test_ids_that_differ_late(store_url: str) -> None:
    """Their stand-ins differ, too."""
    assert pipeline(store_url).run(["x" * 300, "x" * 299 + "y"]).failed == 2
    assert len({letter.id for letter in letters(store_url)}) == 2


@pytest.fixture
def database_in(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of an encoding."""
    server, name = make_url(answering(POSTGRES)), f"rxpipe_{uuid.uuid4().hex}"
    execute(server, f"CREATE DATABASE {name} ENCODING '{request.param}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def read_from(url: str) -> str:
    """What rxpipe does by itself: else psycopg makes bytes of SQL_ASCII."""
    return f"{url}?client_encoding=utf8"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("database_in", "is_there"), [("LATIN1", False), ("SQL_ASCII", True)], indirect=["database_in"]
)
def test_an_id_that_the_encoding_has_not(database_in: str, is_there: bool) -> None:
    """It fails by itself; where the database takes any bytes, it is written."""
    report = pipeline(database_in).run([1, "é", "回"])
    assert (report.written, report.failed) == ((3, 0) if is_there else (2, 1))
    assert {row.id for row in rows(read_from(database_in), BANK)} == ({"1", "é", "回"} if is_there else {"1", "é"})
    if not is_there:
        (letter,) = letters(database_in)
        assert str(letter.id).startswith(r"\u56de... (1 characters, ")
    assert pipeline(database_in).run([1, "é", "回"]).taken == 0


@pytest.mark.slow
@pytest.mark.parametrize("database_in", ["LATIN1", "SQL_ASCII"], indirect=True)
def test_values_and_errors_that_the_encoding_has_not(database_in: str) -> None:
    """What stages return is kept as it was, and what they raise is kept with escapes."""
    seen: list[Any] = []

    def make(number: int) -> dict[str, str]:
        return {"é": '回😀 \\ " é'}

    def fail(value: Any) -> Any:
        seen.append(value)
        raise ValueError("回")

    two = Stage("make", make, version=1), Stage("fail", fail, version=1)
    for _ in range(2):
        report = Pipeline(*two, sink=DatabaseSink(database_in, table="bank"), store=RunStore()).run([1])
        assert report.run == 1
        with opened(database_in) as engine, change(engine) as connection:
            requeue(connection, run(connection))
    assert seen == [make(1)] * 2
    with connected(read_from(database_in)) as connection:
        assert len(connection.execute(select(CHECKPOINTS)).all()) == 1
