"""Rows of the cache: stage results that any run may use again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Insert, Select, bindparam, select, true
from sqlalchemy.dialects import postgresql, sqlite

from rxpipe.database.json_rows import PARAMETER, as_parameter, is_in_keys, json_rows, keys_as_parameter
from rxpipe.store.commits.checkpoints import portions, size
from rxpipe.store.commits.records import Checkpoint
from rxpipe.store.schema.tables import CACHE

_SIGNATURE = "signature_of_stage"


def add_results(connection: Connection, checkpoints: Sequence[Checkpoint], now: float) -> None:
    """Keep results, unless the cache has results for the same inputs.

    Args:
        connection: In the transaction of the checkpoints.
        checkpoints: The checkpoints whose ``new`` is set.
        now: The database's time.
    """
    rows: list[dict[str, Any]] = [
        {
            "signature": one.new.stage.result_key,
            "input_hash": one.new.input_hash,
            "call": one.new.stage.call,
            "version": one.new.stage.version,
            "output": one.output[0],
            "pickled": one.output[1],
            "prompt_tokens": one.new.usage.prompt_tokens,
            "completion_tokens": one.new.usage.completion_tokens,
            "cost": one.new.usage.cost,
            "at": now,
        }
        for one in checkpoints
        if one.new is not None
    ]
    rows.sort(key=lambda row: (row["signature"], row["input_hash"]))  # otherwise two workers might wait for each other
    dialect = connection.dialect.name
    lists, large = portions(rows, [size(row["output"], row["pickled"]) for row in rows])
    for some in lists:
        connection.execute(_add_statement(dialect), {PARAMETER: as_parameter(some)})
    for row in large:
        connection.execute(_large_statement(dialect), {f"to_{name}": row[name] for name in row})


def find_results(connection: Connection, signature: str, hashes: Sequence[str]) -> Mapping[str, Any]:
    """Returns the cached rows, by the hashes of their inputs."""
    parameters = {_SIGNATURE: signature, PARAMETER: keys_as_parameter(hashes)}
    rows = connection.execute(_find_statement(connection.dialect.name), parameters)
    return {row.input_hash: row for row in rows}


@cache
def _find_statement(dialect: str) -> Select[Any]:
    signature = bindparam(_SIGNATURE, type_=CACHE.c.signature.type)
    return select(CACHE).where(CACHE.c.signature == signature, is_in_keys(dialect, CACHE.c.input_hash))


@cache
def _add_statement(dialect: str) -> Insert:
    rows = json_rows(dialect, *CACHE.c)
    values = select(*(rows.c[column.name] for column in CACHE.c)).where(true())  # as in claims.py
    module: Any = postgresql if dialect == "postgresql" else sqlite
    statement: Insert = module.insert(CACHE).from_select([*CACHE.c], values).on_conflict_do_nothing()
    return statement


@cache
def _large_statement(dialect: str) -> Insert:
    module: Any = postgresql if dialect == "postgresql" else sqlite
    values = {column: bindparam(f"to_{column.name}", type_=column.type) for column in CACHE.c}
    statement: Insert = module.insert(CACHE).values(values).on_conflict_do_nothing()
    return statement
