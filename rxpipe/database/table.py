"""The default table, one row an item, and whether a table that is already there will do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    DateTime,
    Double,
    Float,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    TypeDecorator,
    inspect,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

KEY_LENGTH = 255


class KeyText(TypeDecorator[str]):
    """An ID's text, compared exactly: MySQL's usual collations hold ``A``, ``a`` and ``a `` for the same."""

    impl = String(KEY_LENGTH)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column type for a dialect."""
        if dialect.name not in ("mysql", "mariadb"):
            return self.impl_instance
        if getattr(dialect, "is_mariadb", False):
            collation = "utf8mb4_nopad_bin"
        else:
            collation = "utf8mb4_0900_bin" if (dialect.server_version_info or ()) >= (8, 0, 17) else "utf8mb4_bin"
        return dialect.type_descriptor(mysql.VARCHAR(KEY_LENGTH, charset="utf8mb4", collation=collation))

    @property
    def python_type(self) -> type[str]:
        """The type of its values."""
        return str


class JsonText(TypeDecorator[Any]):
    """JSON that is written as text already encoded, and read as data."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> None:
        """None: the text goes to the database as it is."""


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC, timezone-aware in Python also where the database keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column type for a dialect."""
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return self.impl_instance

    def bind_processor(self, dialect: Dialect) -> Any:
        """What makes a time into what the driver takes: once for a batch, whose rows have the same."""
        process: Any = super().bind_processor(dialect)
        last: tuple[datetime | None, Any] = (None, None)

        def process_once(value: datetime | None) -> Any:
            nonlocal last
            seen = last  # threads share this: take both or neither
            if value is not seen[0]:
                last = seen = (value, process(value))
            return seen[1]

        return process_once

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The time as the driver takes it."""
        return value if value is None or dialect.name == "postgresql" else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The time as Python gets it."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def default_table(name: str, metadata: MetaData | None = None) -> Table:
    """The table that a sink creates when it is given a name: one row for each item, whatever became of it.

    Args:
        name: The table's name.
        metadata: Where to register it; a new ``MetaData`` if not given.
    """
    long_text = Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql", "mariadb")
    number: TypeEngine[Any] = Double()
    return Table(
        name,
        metadata if metadata is not None else MetaData(),
        Column("id", KeyText(), primary_key=True),
        Column("status", String(16), nullable=False),
        Column("question", long_text),
        Column("answer", long_text),
        Column("score", number),
        Column("error", long_text),
        Column(
            "stage", String(KEY_LENGTH).with_variant(mysql.VARCHAR(KEY_LENGTH, charset="utf8mb4"), "mysql", "mariadb")
        ),
        Column("attempts", Integer()),
        Column("seconds", number),
        Column("created_at", UtcDateTime()),
        Column("updated_at", UtcDateTime()),
        Column("value", JsonText()),
    )


# What a column of the default table may be instead, where others made the table: the same to every row of
# ours.
_COMPATIBLE: dict[str, tuple[type[TypeEngine[Any]], ...]] = {
    "score": (Float, Numeric),
    "seconds": (Float, Numeric),
    "attempts": (Integer,),
    "created_at": (DateTime,),
    "updated_at": (DateTime,),
    "value": (JSON, String),
}


def mismatches(connection: Connection, table: Table) -> list[str]:
    """Why the table of that name cannot take the rows of the default table; empty if it can."""
    inspector = inspect(connection)
    found = {column["name"]: column for column in inspector.get_columns(table.name)}
    reasons: list[str] = []
    missing = [column.name for column in table.columns if column.name not in found]
    if missing:
        reasons.append(f"it lacks the columns {', '.join(missing)}")
    for name in [column.name for column in table.columns if column.name in found]:
        actual = found[name]["type"]
        naive = connection.dialect.name == "postgresql" and getattr(actual, "timezone", None) is False
        if naive or not isinstance(actual, _COMPATIBLE.get(name, (String,))):
            expected = table.columns[name].type.compile(connection.dialect)
            reasons.append(f"column {name} is {actual.compile(connection.dialect)} instead of {expected}")
    key = inspector.get_pk_constraint(table.name)["constrained_columns"]
    if "id" in found and key != ["id"]:
        reasons.append(f"its primary key is ({', '.join(key)}) instead of (id)")
    for name, column in found.items():
        if name not in table.columns and not column["nullable"] and not _fills_itself(column):
            reasons.append(f"column {name} is NOT NULL and has no default")
    return reasons


def _fills_itself(column: Any) -> bool:
    return column.get("default") is not None or bool(column.get("computed") or column.get("identity"))
