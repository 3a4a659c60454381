"""Where runs are: SQLite files, and schemas of a PostgreSQL database."""

from __future__ import annotations

import itertools
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from servers import execute
from sqlalchemy import URL

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage


@dataclass(frozen=True)
class Place:
    """Where a run is: a database with nothing in it, and a directory for all else.

    Attributes:
        url: The database.
        directory: Where processes write.
        name: Of the pipeline and of its table: a database may be the place of several runs.
    """

    url: str
    directory: str
    name: str = "questions"


_AT_ONCE = 8  # schemas that are made with one connection

Places = Callable[[], Place]


def sqlite_places(directory: Path, *, prepared: bool = False) -> Places:
    """Places with an SQLite file each; nothing is in it, or a run store that has been used."""
    template = directory / "prepared.db"
    if prepared:
        _use(f"sqlite:///{template}")

    def place() -> Place:
        new = directory / uuid.uuid4().hex
        new.mkdir()
        if prepared:
            shutil.copy(template, new / "bank.db")
        return Place(f"sqlite:///{new / 'bank.db'}", str(new))

    return place


def postgres_places(database: URL, directory: Path) -> Places:
    """Places with a schema each in one database: these are made much faster than databases."""
    numbers = itertools.count(1)
    made: list[str] = []

    def place() -> Place:
        if not made:
            made.extend(f"place_{number}" for number in itertools.islice(numbers, _AT_ONCE))
            execute(database, *(f"CREATE SCHEMA {schema}" for schema in made))
        schema = made.pop()
        new = directory / schema
        new.mkdir()
        return Place(text_of(with_search_path(database, schema)), str(new))

    return place


def prepared_postgres_places(database: URL, directory: Path) -> Places:
    """Places in a run store that has been used, in a PostgreSQL database that they share."""
    url = with_search_path(database, "public")
    _use(url)
    numbers = itertools.count(1)

    def place() -> Place:
        name = f"place_{next(numbers)}"
        new = directory / name
        new.mkdir()
        return Place(text_of(url), str(new), name)

    return place


def _use(database: str | URL) -> None:
    """Let there be all tables, for others."""
    Pipeline(Stage("none", str), sink=DatabaseSink(database, table="others"), store=RunStore(), name="others").run([])


def with_search_path(url: URL, path: str) -> URL:
    """A URL whose sessions look for names in these schemas."""
    return url.update_query_dict({"options": f"-csearch_path={path}"})


def text_of(url: URL) -> str:
    """A URL as text, password and all."""
    return url.render_as_string(hide_password=False)
