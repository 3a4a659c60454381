"""Where runs are: SQLite files, and schemas of a PostgreSQL database."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from servers import execute
from sqlalchemy import URL


@dataclass(frozen=True)
class Place:
    """Where a run is: a database with nothing in it, and a directory for all else.

    Attributes:
        url: The database.
        directory: Where processes write.
    """

    url: str
    directory: str


Places = Callable[[], Place]


def sqlite_places(directory: Path) -> Places:
    """Places with an SQLite file each."""

    def place() -> Place:
        new = directory / uuid.uuid4().hex
        new.mkdir()
        return Place(f"sqlite:///{new / 'bank.db'}", str(new))

    return place


def postgres_places(database: URL, directory: Path) -> Places:
    """Places with a schema each in one database: these are made much faster than databases."""
    numbers = itertools.count(1)

    def place() -> Place:
        schema = f"place_{next(numbers)}"
        new = directory / schema
        new.mkdir()
        execute(database, f"CREATE SCHEMA {schema}")
        return Place(text_of(with_search_path(database, schema)), str(new))

    return place


def with_search_path(url: URL, path: str) -> URL:
    """A URL whose sessions look for names in these schemas."""
    return url.update_query_dict({"options": f"-csearch_path={path}"})


def text_of(url: URL) -> str:
    """A URL as text, password and all."""
    return url.render_as_string(hide_password=False)
