from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import POSTGRES, answering, execute, own_database
from sqlalchemy import URL

from .kept import Kept


@pytest.fixture(scope="session")
def postgres_database() -> Iterator[URL]:
    """A PostgreSQL database of the tests' own."""
    with own_database(answering(POSTGRES)) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_database: URL) -> str:
    """An empty schema in it, which is quicker to make than a database."""
    schema = f"test_{uuid.uuid4().hex}"
    execute(postgres_database, f"CREATE SCHEMA {schema}")
    url = postgres_database.update_query_dict({"options": f"-csearch_path={schema}"})
    return url.render_as_string(hide_password=False)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A file that is not there yet."""
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def kept(store_url: str) -> Iterator[Kept]:
    """A run with one worker."""
    kept = Kept(store_url)
    yield kept
    kept.database.close()
