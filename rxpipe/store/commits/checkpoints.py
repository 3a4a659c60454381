"""Rows of checkpoints, many in one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, Insert, bindparam, insert, select

from rxpipe.database.json_rows import PARAMETER, as_parameter, json_lists, this_run
from rxpipe.store.schema.tables import CHECKPOINTS

_LARGEST = 4_000_000  # characters of checkpoints in one statement
_LARGE = 1_000_000  # characters of a checkpoint that stays out of a JSON text, as SQLite makes many copies of that text
_COLUMNS = tuple(column for column in CHECKPOINTS.c if column is not CHECKPOINTS.c.run_id)


Row: TypeAlias = tuple[str, int, int, str, str | None, float]
"""``item_key``, ``stage``, ``fence``, ``output``, ``pickled`` and ``at`` of a checkpoint."""

R = TypeVar("R")


def add_checkpoints(connection: Connection, of_run: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Keep stage results, or values of a source.

    Args:
        connection: In a transaction.
        of_run: The parameter of the run's number.
        rows: The rows to keep.
    """
    dialect = connection.dialect.name
    lists, large = portions(rows, [size(row[3], row[4]) for row in rows])
    for some in lists:
        connection.execute(_add_statement(dialect), {**of_run, PARAMETER: as_parameter(some)})
    for row in large:
        given = zip(_COLUMNS, row, strict=True)
        connection.execute(_large_statement(), {**of_run, **{f"to_{column.name}": value for column, value in given}})


def size(output: str, pickled: str | None) -> int:
    """Returns the length of an output in characters."""
    return len(output) + len(pickled or "")


def portions(rows: Sequence[R], sizes: Sequence[int]) -> tuple[list[list[R]], list[R]]:
    """Returns rows in lists of a moderate size, and the rows that are too large for a list."""
    if sum(sizes) <= _LARGE:  # nearly always true
        return ([list(rows)] if rows else []), []
    lists: list[list[R]] = []
    large: list[R] = []
    left = 0
    for row, characters in zip(rows, sizes, strict=True):
        if characters > _LARGE:
            large.append(row)
            continue
        if left <= 0:
            lists.append([])
            left = _LARGEST
        lists[-1].append(row)
        left -= characters
    return lists, large


@cache
def _add_statement(dialect: str) -> Insert:
    rows = json_lists(dialect, *_COLUMNS)
    values = select(this_run(), *(rows.c[column.name] for column in _COLUMNS))
    return insert(CHECKPOINTS).from_select([CHECKPOINTS.c.run_id, *_COLUMNS], values)


@cache
def _large_statement() -> Insert:
    given_ones = {column: bindparam(f"to_{column.name}", type_=column.type) for column in _COLUMNS}
    return insert(CHECKPOINTS).values({CHECKPOINTS.c.run_id: this_run(), **given_ones})
