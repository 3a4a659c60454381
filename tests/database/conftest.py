from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import MYSQL, POSTGRES, answering

from rxpipe.database.writer import Writer

from .sink_helpers import MakeWriter


@pytest.fixture
def postgres() -> str:
    return answering(POSTGRES)


@pytest.fixture
def mysql() -> str:
    return answering(MYSQL)


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'bank.db'}"


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def url(request: pytest.FixtureRequest) -> str:
    """Each database in turn."""
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def name() -> str:
    """A table's name that no other test uses."""
    return f"rxpipe_{uuid.uuid4().hex}"


@pytest.fixture
def writers(name: str) -> Iterator[MakeWriter]:
    made: list[Writer] = []

    def make(*, table: Any = name, row: Any = None, database: Any = "") -> Writer:
        writer = Writer(database, table=table, row=row)
        writer.open()
        made.append(writer)
        return writer

    yield make
    for writer in made:
        if writer.engine.dialect.name != "sqlite":
            writer.table.drop(writer.engine, checkfirst=True)
        writer.close()


@pytest.fixture
def make_writer(writers: MakeWriter, url: str) -> MakeWriter:
    """Opens writers on each database in turn."""

    def make(*, table: Any = None, row: Any = None, database: Any = None) -> Writer:
        options: dict[str, Any] = {} if table is None else {"table": table}
        return writers(row=row, database=url if database is None else database, **options)

    return make
