"""Many rows as one parameter: a JSON text, which the database takes apart.

With a parameter for every value of 500 rows, a driver needs longer to prepare the statement than the database to
execute it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import to_json
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    String,
    Text,
    TypeDecorator,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy import column as named
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

PARAMETER = "json_rows"
RUN = "this_run"  # the parameter of a run's number, in statements that are made once for all runs


def this_run() -> ColumnElement[int]:
    """The number of the run, given as ``RUN``."""
    return bindparam(RUN, type_=Integer())


def json_rows(dialect: str, *columns: Column[Any]) -> FromClause:
    """Returns rows to select from, with the names and types of these columns, from the JSON text in ``PARAMETER``.

    Args:
        dialect: ``postgresql`` or ``sqlite``.
        columns: The columns. A row that lacks one has NULL there.

    Returns:
        A table of the statement, called ``json_rows``.
    """
    if dialect == "postgresql":
        rows = func.json_to_recordset(_json()).table_valued(*(named(one.name, one.type) for one in columns))
        return rows.render_derived(name="json_rows", with_types=True)
    value = _each(dialect)
    values = (func.json_extract(value, f"$.{one.name}", type_=one.type).label(one.name) for one in columns)
    return select(*values).subquery("json_rows")


def json_lists(dialect: str, *columns: Column[Any], parameter: str = PARAMETER) -> FromClause:
    """Returns the same for rows that are lists of values, in the order of the columns: half the work for many rows.

    PostgreSQL takes the rows as JSONB. From JSON it would read a list up to the value, once for each column.
    """
    value = _each(dialect, parameter)
    values = (_nth(dialect, value, place, one).label(one.name) for place, one in enumerate(columns))
    return select(*values).subquery("json_rows")


def json_keys(dialect: str) -> Select[Any]:
    """Returns the keys in ``PARAMETER``, as ``keys_as_parameter`` gives them."""
    if dialect == "postgresql":
        return select(func.json_array_elements_text(_json(), type_=Text()).column_valued("json_keys"))
    return select(_each(dialect))


def _each(dialect: str, parameter: str = PARAMETER) -> ColumnElement[Any]:
    """Returns a column with each element of a list."""
    if dialect == "postgresql":
        given = cast(bindparam(parameter, type_=String()), JSONB)
        return func.jsonb_array_elements(given, type_=JSONB()).column_valued("json_each")
    return func.json_each(bindparam(parameter, type_=String())).table_valued("value").c.value


def _json() -> ColumnElement[Any]:
    return cast(bindparam(PARAMETER, type_=String()), JSON)


def _nth(dialect: str, value: ColumnElement[Any], place: int, column: Column[Any]) -> ColumnElement[Any]:
    if dialect == "postgresql":
        return cast(value.op("->>")(literal_column(str(place))), _unbounded(column.type))
    return func.json_extract(value, literal_column(f"'$[{place}]'"), type_=column.type)


def _unbounded(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """Returns a text type without a length, so that a text too long for its column is refused and not cut."""
    is_text = isinstance(kind, String) or (isinstance(kind, TypeDecorator) and isinstance(kind.impl_instance, String))
    return Text() if is_text else kind


def is_among(dialect: str, column: Column[Any], values: Select[Any]) -> ColumnElement[bool]:
    """Returns the condition that a column's value is among selected values. Each is looked up in the column's index.

    PostgreSQL takes an array for that. It has no statistics of a new table, takes a run for small, and would read the
    whole run to join it with the selected values.
    """
    if dialect == "postgresql":
        return column == any_(func.array(values.scalar_subquery()))
    return column.in_(values)


def is_in_keys(dialect: str, column: Column[Any]) -> ColumnElement[bool]:
    """Returns the condition that a column's value is among the keys in ``PARAMETER``."""
    return is_among(dialect, column, json_keys(dialect))


def as_parameter(rows: Iterable[Mapping[str, Any] | Sequence[Any]]) -> str:
    """Returns rows as ``PARAMETER`` takes them: mappings for ``json_rows``, lists for ``json_lists``."""
    return to_json(list(rows)).decode()  # without escapes, which not every encoding of a database takes


def keys_as_parameter(keys: Iterable[str]) -> str:
    """Returns items' keys as ``PARAMETER`` takes them."""
    return to_json(list(keys)).decode()
