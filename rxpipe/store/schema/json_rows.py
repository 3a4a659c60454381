"""Many rows as one parameter: a JSON text, which the database takes apart.

A statement with a parameter for every value of 500 rows takes a driver longer to prepare than the database to execute.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    String,
    any_,
    bindparam,
    cast,
    func,
    select,
)
from sqlalchemy import column as named

PARAMETER = "json_rows"
RUN = "this_run"  # the parameter of a run's number, in statements that are made once for all runs


def this_run() -> ColumnElement[int]:
    """The number of the run, given as ``RUN``."""
    return bindparam(RUN, type_=Integer())


def json_rows(dialect: str, *columns: Column[Any]) -> FromClause:
    """Rows to select from, with the names and types of these columns, from JSON text in ``PARAMETER``.

    Args:
        dialect: ``postgresql`` or ``sqlite``.
        columns: What they have; a row that lacks one has NULL there.

    Returns:
        A table of the statement, called ``json_rows``.
    """
    if dialect == "postgresql":
        text = cast(bindparam(PARAMETER, type_=String()), JSON)
        rows = func.json_to_recordset(text).table_valued(*(named(one.name, one.type) for one in columns))
        return rows.render_derived(name="json_rows", with_types=True)
    each = func.json_each(bindparam(PARAMETER, type_=String())).table_valued("value")
    values = (func.json_extract(each.c.value, f"$.{one.name}", type_=one.type).label(one.name) for one in columns)
    return select(*values).subquery("json_rows")


def is_among(dialect: str, column: Column[Any], values: Select[Any]) -> ColumnElement[bool]:
    """Whether a column's value is among selected ones, so that each is looked up in the index of the column.

    PostgreSQL takes an array for that. It knows little of a table that is new, takes a run for small, and would read
    the whole run to join it with what was selected.
    """
    if dialect == "postgresql":
        return column == any_(func.array(values.scalar_subquery()))
    return column.in_(values)


def is_in_rows(dialect: str, column: Column[Any]) -> ColumnElement[bool]:
    """Whether a column's value is in the rows of ``PARAMETER``."""
    return is_among(dialect, column, select(json_rows(dialect, column).c[column.name]))


def as_parameter(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as ``PARAMETER`` takes them."""
    return json.dumps(list(rows), ensure_ascii=False)  # not every encoding of a database takes escaped characters


def keys_as_parameter(keys: Iterable[str]) -> str:
    """Items' keys as ``PARAMETER`` takes them."""
    return as_parameter({"item_key": key} for key in keys)
