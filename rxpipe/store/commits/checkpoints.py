"""Rows of checkpoints, many in one statement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Insert, bindparam, insert, select

from rxpipe.store.schema.json_rows import PARAMETER, as_parameter, json_rows, this_run
from rxpipe.store.schema.tables import CHECKPOINTS

_LARGEST = 4_000_000  # characters of checkpoints in one statement
_LARGE = 1_000_000  # characters of a checkpoint that is no part of a JSON text, of which SQLite makes many copies


def add_checkpoints(connection: Connection, of_run: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep what stages returned, or what a source gave.

    Args:
        connection: In a transaction.
        of_run: The parameter of the run's number.
        rows: ``item_key``, ``stage``, ``fence``, ``output``, ``pickled`` and ``at`` of each.
    """
    dialect = connection.dialect.name
    for some in chunks([one for one in rows if not is_large(one)]):
        connection.execute(_add_statement(dialect), {**of_run, PARAMETER: as_parameter(some)})
    for one in rows:
        if is_large(one):
            connection.execute(_large_statement(), {**of_run, **{f"to_{name}": one[name] for name in one}})


def is_large(row: Mapping[str, Any]) -> bool:
    """Whether a row with an output is to be no part of a JSON text."""
    return _size(row) > _LARGE


def chunks(checkpoints: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Rows with outputs in lists of a size that is no trouble to anyone."""
    some: list[Mapping[str, Any]] = []
    size = 0
    for checkpoint in checkpoints:
        some.append(checkpoint)
        size += _size(checkpoint)
        if size > _LARGEST:
            yield some
            some, size = [], 0
    if some:
        yield some


def _size(checkpoint: Mapping[str, Any]) -> int:
    return len(checkpoint["output"]) + len(checkpoint["pickled"] or "")


@cache
def _add_statement(dialect: str) -> Insert:
    columns = [column for column in CHECKPOINTS.c if column is not CHECKPOINTS.c.run_id]
    rows = json_rows(dialect, *columns)
    values = select(this_run(), *(rows.c[column.name] for column in columns))
    return insert(CHECKPOINTS).from_select([CHECKPOINTS.c.run_id, *columns], values)


@cache
def _large_statement() -> Insert:
    columns = [column for column in CHECKPOINTS.c if column is not CHECKPOINTS.c.run_id]
    given_ones = {column: bindparam(f"to_{column.name}", type_=column.type) for column in columns}
    return insert(CHECKPOINTS).values({CHECKPOINTS.c.run_id: this_run(), **given_ones})
