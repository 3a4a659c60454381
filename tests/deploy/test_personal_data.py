"""``docs/production/personal-data.md``: its query finds all items of a person, and ``forget`` takes what it finds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import POSTGRES, answering, own_database
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from rxpipe import DatabaseSink, Drop, Pipeline, Record, RunStore, Stage, submit
from rxpipe.store.maintenance.forget import forget

PAGE = Path(__file__).parents[2] / "docs" / "production" / "personal-data.md"
(QUERY,) = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def parts(essay: dict[str, Any]) -> list[dict[str, Any]]:
    if essay["text"] == "":
        raise Drop("empty")
    return [{**essay, "part": part} for part in essay["text"].split()]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'bank.db'}"
        return
    with own_database(answering(POSTGRES)) as made:
        yield made.render_as_string(hide_password=False)


def test_the_query_finds_all_items_of_a_person(url: str) -> None:
    """With rows, dropped, and not done yet; once each, and not their children."""
    pipeline = Pipeline(Stage("parts", parts, expand=True), sink=DatabaseSink(url), store=RunStore(), name="bank")
    essays = [("essay-1", "ada", "one two"), ("essay-2", "bob", "three"), ("essay-3", "ada", ""), ("7", "ada", "four")]
    pipeline.run([Record(key, {"customer": who, "text": words}) for key, who, words in essays])
    submit(pipeline, [Record("essay-4", {"customer": "ada", "text": "five"}), "plain"])
    engine = create_engine(url, poolclass=NullPool)
    query = QUERY if engine.dialect.name == "postgresql" else QUERY.replace("::json", "")
    with engine.connect() as connection:
        found = [row[0] for row in connection.execute(text(query.replace("::json", r"\:\:json")))]
    assert sorted(found) == ["7", "essay-1", "essay-3", "essay-4"]
    told = forget(engine, found, name="bank", table=pipeline.sink.writer_on(engine).table)  # type: ignore[union-attr]
    assert (told.items, told.rows) == (7, 3)
    with engine.connect() as connection:
        assert connection.execute(text(query.replace("::json", r"\:\:json"))).all() == []
