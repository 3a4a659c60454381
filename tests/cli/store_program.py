"""The commands on a run store: a store that the environment names, and what they print about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from .program import rxpipe


def lines(*arguments: str | Path) -> list[str]:
    """What a command that succeeds prints, line by line, but for the last, which tells the database."""
    *shown, database = answer(*arguments)
    assert database.startswith("database: ")
    return shown


def answer(*arguments: str | Path) -> list[str]:
    """All that a command that succeeds prints, line by line, without blanks behind."""
    ended = rxpipe(*arguments)
    assert (ended.code, ended.err) == (0, "")
    return [line.rstrip() for line in ended.out.splitlines()]


def document(*arguments: str) -> Any:
    """The JSON document that a command prints."""
    ended = rxpipe(*arguments, "--json")
    assert (ended.code, ended.err) == (0, "")
    return json.loads(ended.out)


def sql(url: str, statement: str) -> list[Any]:
    """Execute a statement, and fetch what it gives."""
    with create_engine(url, poolclass=NullPool).begin() as connection:
        result = connection.execute(text(statement))
        return list(result.all()) if result.returns_rows else []
