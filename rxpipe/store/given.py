"""Many rows as one parameter: a JSON text, which the database takes apart.

A statement with a parameter for every value of 500 rows takes a driver longer to prepare than the database to execute.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column, FromClause, String, bindparam, cast, func, select
from sqlalchemy import column as named

PARAMETER = "given"


def given(dialect: str, *columns: Column[Any]) -> FromClause:
    """Rows to select from, with the names and types of these columns; given as JSON text in ``PARAMETER``.

    Args:
        dialect: ``postgresql`` or ``sqlite``.
        columns: What they have; a row that lacks one has NULL there.

    Returns:
        A table of the statement, called ``given``.
    """
    if dialect == "postgresql":
        text = cast(bindparam(PARAMETER, type_=String()), JSON)
        rows = func.json_to_recordset(text).table_valued(*(named(one.name, one.type) for one in columns))
        return rows.render_derived(name="given", with_types=True)
    each = func.json_each(bindparam(PARAMETER, type_=String())).table_valued("value")
    values = (func.json_extract(each.c.value, f"$.{one.name}", type_=one.type).label(one.name) for one in columns)
    return select(*values).subquery("given")
