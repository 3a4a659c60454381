from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from rxpipe.database.writer import Writer

from .sink_helpers import MYSQL, POSTGRES, MakeWriter


@pytest.fixture(scope="session")
def reachable() -> Callable[[str], str]:
    """A server's URL, if it answers; else the test is skipped."""
    answers: dict[str, str | None] = {}

    def ask(url: str) -> str | None:
        engine = create_engine(url, connect_args={"connect_timeout": 1})
        try:
            engine.connect().close()
        except SQLAlchemyError as error:
            return f"no server: {error}"
        finally:
            engine.dispose()
        return None

    def get(url: str) -> str:
        if url not in answers:
            answers[url] = ask(url)
        reason = answers[url]
        if reason is not None:
            pytest.skip(reason)
        return url

    return get


@pytest.fixture
def postgres(reachable: Callable[[str], str]) -> str:
    return reachable(POSTGRES)


@pytest.fixture
def mysql(reachable: Callable[[str], str]) -> str:
    return reachable(MYSQL)


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
