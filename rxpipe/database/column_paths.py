"""Rows of the user's own table by paths into values: ``{question: question, topic: record.topic}``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any, TypeGuard

from sqlalchemy import Column, Double, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeEngine, UserDefinedType

from rxpipe.database.encoding import json_text, one_line
from rxpipe.database.field_names import OPTIONAL, FieldReader
from rxpipe.database.mapping import RowFunction
from rxpipe.database.rows import key_text, stage_of
from rxpipe.database.table import KeyText
from rxpipe.database.text import clean_text
from rxpipe.pipeline.outcome import Outcome

Get = Callable[[Outcome[Any]], Any]

_OUTCOMES: dict[str, Get] = {
    "id": lambda outcome: outcome.id,
    "status": lambda outcome: outcome.status,
    "error": lambda outcome: None if outcome.error is None else one_line(outcome.error),
    "stage": stage_of,
    "attempts": lambda outcome: outcome.attempts,
    "seconds": lambda outcome: outcome.seconds,
    "parent": lambda outcome: outcome.parent,
}
_ROOTS: dict[str, Get] = {"value": lambda outcome: outcome.value, "record": lambda outcome: outcome.record}


class Untyped(UserDefinedType[Any]):
    """The type of a column whose type only the existing table knows.

    Values go to the database as they are. Columns of most types take text and numbers.

    Attributes:
        created_as: The column's type if the table is created.
    """

    cache_ok = True

    def __init__(self, created_as: TypeEngine[Any]) -> None:
        self.created_as = created_as

    def bind_processor(self, dialect: Dialect) -> Any:
        """Returns the function that makes a value into what the driver takes."""
        return _without_times if dialect.name == "sqlite" else None


@compiles(Untyped)
def _created_as(untyped: Untyped, compiler: Any, **options: Any) -> str:
    return str(compiler.process(untyped.created_as, **options))


def _without_times(value: Any) -> Any:
    """Returns a time as text, as SQLite has no times."""
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return value.isoformat() if isinstance(value, date | time) else value


def columns_table(name: str, columns: Mapping[str, str]) -> Table:
    """Returns the table with these columns, as it is created if it does not exist.

    The columns are text, except ``score``, ``attempts`` and ``seconds``, which are numbers. The column of the ``id`` is
    the primary key.

    Args:
        name: The table's name.
        columns: The paths by the names of the columns.
    """
    return Table(
        name,
        MetaData(),
        *(Column(column, Untyped(_type_of(path)), primary_key=path == "id") for column, path in columns.items()),
    )


def _type_of(path: str) -> TypeEngine[Any]:
    types: dict[str, TypeEngine[Any]] = {
        "id": KeyText(),
        "parent": KeyText(),
        "status": String(16),
        "attempts": Integer(),
        "seconds": Double(),
    }
    if path.removesuffix(OPTIONAL).rpartition(".")[2] == "score":
        return Double()
    return types.get(path) or Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql", "mariadb")


def columns_row(columns: Mapping[str, str]) -> RowFunction:
    """Returns the function that makes rows with these columns.

    A path is the name of a field (a mapping's key or an object's attribute) or a place in a list, or several of these
    with dots between. These are the rules:

    - A path begins in the value. A path that begins with ``record`` begins in the source's record.
    - ``id``, ``status``, ``error``, ``stage``, ``attempts``, ``seconds`` and ``parent`` are those of the outcome. A
      field of the value with such a name is written as ``value.stage``.
    - A path that ends with ``?`` may lead nowhere, and gives None there. Any other path must lead somewhere in the
      first value that is written; in later values it may lead nowhere.
    - If no column is the ``status``, nothing would tell a failed item from a good one. Then only written items have
      rows.

    Args:
        columns: The paths by the names of the columns.
    """
    return _row_of({column: _cell_maker(path) for column, path in columns.items()}, columns)


def columns_object(columns: Mapping[str, str]) -> RowFunction:
    """Returns the same function for JSON: IDs stay as the source gave them, and lists and mappings stay as they are."""
    return _row_of({column: _maker(path) for column, path in columns.items()}, columns)


def _row_of(makers: Mapping[str, Get], columns: Mapping[str, str]) -> RowFunction:
    has_status = "status" in columns.values()

    def row(outcome: Outcome[Any]) -> Mapping[str, Any] | None:
        if outcome.status != "written" and not has_status:
            return None
        return {column: make(outcome) for column, make in makers.items()}

    return row


def root_of(path: str) -> tuple[str, list[str]]:
    """Returns where a path begins, ``value``, ``record`` or ``outcome``, and the names of the fields on it."""
    if path in _OUTCOMES:
        return "outcome", []
    first, *rest = path.removesuffix(OPTIONAL).split(".")
    return (first, rest) if first in _ROOTS else ("value", [first, *rest])


def _cell_maker(path: str) -> Get:
    make = _maker(path)
    if path in ("id", "parent"):
        return lambda outcome: None if (key := make(outcome)) is None else key_text(key)
    return make if path in _OUTCOMES else lambda outcome: _cell(make(outcome))


def _maker(path: str) -> Get:
    if path in _OUTCOMES:
        return _OUTCOMES[path]
    is_optional = path.endswith(OPTIONAL)
    root, parts = root_of(path)
    begin = _ROOTS[root]
    strict = [FieldReader(part, "columns", path) for part in parts]
    lenient = [FieldReader(part + OPTIONAL, path) for part in parts]

    def make(outcome: Outcome[Any]) -> Any:
        is_strict = outcome.status == "written" and not is_optional
        return _at(begin(outcome), strict if is_strict else lenient)

    return make


def _at(value: Any, readers: Sequence[FieldReader]) -> Any:
    for reader in readers:
        part = reader.name
        if value is None:
            return None
        if part.isdecimal() and _is_list(value):
            value = value[int(part)] if int(part) < len(value) else None
        else:
            value = reader.read(value)
    return value


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _cell(value: Any) -> Any:
    """Returns a value as most columns take it: text, a number or a time; other values as JSON."""
    if value is None or isinstance(value, datetime | date | time):
        return value
    if type(value) is str:
        return clean_text(value)
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is bool or (type(value) is int and -(2**63) <= value < 2**63):
        return value
    text = json_text(value)
    plain = json.loads(text)
    return _cell(plain) if isinstance(plain, str | float | bool | None) else text
