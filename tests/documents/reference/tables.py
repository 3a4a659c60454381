"""The page of the store's tables and their columns, from its metadata."""

from __future__ import annotations

from sqlalchemy import Column
from sqlalchemy.dialects import postgresql

from rxpipe.store.schema.tables import METADATA

from .columns import COLUMNS, TABLES, WHEREVER
from .markdown import head, table


def page() -> str:
    """The text."""
    text = head(
        "Tables of the run store",
        "With `durable: true` (the default) a run's state is in these tables, beside your rows. You may read them "
        "while a run goes on; write to them by commands only. Times are seconds since 1970 by the database's clock. "
        "Types are PostgreSQL's; SQLite has its own of the same meaning. "
        "[Durable runs](../durability.md) says how they are used.",
    )
    for name, one in METADATA.tables.items():
        rows = [(f"`{column.name}`", _type(column), described(name, column.name)) for column in one.columns]
        text += f"\n## `{name}`\n\n{TABLES[name]}\n\n{table(['Column', 'Type', 'Meaning'], rows)}"
    return text


def _type(column: Column[object]) -> str:
    kind = column.type.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    return f"{kind}{', key' if column.primary_key else ', may be null' if column.nullable else ''}"


def described(name: str, column: str) -> str:
    """What a column holds."""
    return COLUMNS.get(f"{name.removeprefix('rxpipe_')}.{column}") or WHEREVER[column]
