from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from servers import POSTGRES, answering, own_database
from sqlalchemy import URL

from .children import Child, Servant
from .places import Place, Places, postgres_places, prepared_postgres_places, sqlite_places
from .sweep import Start
from .watch import disconnect
from .work import Fault, Job


@pytest.fixture
def start() -> Iterator[Start]:
    children: list[Child] = []

    def make(job: Job, fault: Fault | None = None) -> Child:
        child = Child(job, fault)
        children.append(child)
        return child

    yield make
    for child in children:
        child.end()


@pytest.fixture
def servant() -> Iterator[Servant]:
    """A process that works on many runs, one after the other."""
    with closing(Servant()) as made:
        yield made


@pytest.fixture
def database() -> Iterator[URL]:
    """A PostgreSQL database of the test's own."""
    with own_database(answering(POSTGRES)) as url:
        yield url
        disconnect(url)


@pytest.fixture
def on_postgres(database: URL, tmp_path: Path) -> Places:
    """Makes places in PostgreSQL."""
    return postgres_places(database, tmp_path)


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Places:
    """Makes places in SQLite."""
    return sqlite_places(tmp_path)


@pytest.fixture(params=["sqlite", "postgres"])
def places(request: pytest.FixtureRequest) -> Places:
    """Makes places on each database in turn."""
    made: Places = request.getfixturevalue(f"on_{request.param}")
    return made


@pytest.fixture(params=["sqlite", "postgres"])
def prepared(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    """The same, where there has been a run before."""
    if request.param == "sqlite":
        return sqlite_places(tmp_path, prepared=True)
    return prepared_postgres_places(request.getfixturevalue("database"), tmp_path)


@pytest.fixture
def place(places: Places) -> Place:
    """One place, on each database in turn."""
    return places()
