"""The default table, with one row per item, and the check of an existing table."""

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
    """An ID's text, compared exactly: MySQL's usual collations treat ``A``, ``a`` and ``a `` as equal."""

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
    """JSON that is written as encoded text, and read as data."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> None:
        """Returns None: the text goes to the database as it is."""


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC. In Python it is timezone-aware, even if the database keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column type for a dialect."""
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return self.impl_instance

    def bind_processor(self, dialect: Dialect) -> Any:
        """Returns the function that converts a time for the driver.

        It converts a time once per batch, as all rows of a batch have the same time.
        """
        process: Any = super().bind_processor(dialect)
        last: tuple[datetime | None, Any] = (None, None)

        def process_once(value: datetime | None) -> Any:
            nonlocal last
            seen = last  # threads share this: take both values or neither
            if value is not seen[0]:
                last = seen = (value, process(value))
            return seen[1]

        return process_once

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Returns the time as the driver takes it."""
        return value if value is None or dialect.name == "postgresql" else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Returns the time as Python gets it."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def default_table(name: str, metadata: MetaData | None = None) -> Table:
    """Returns the table that a sink creates when it is given a name: one row per item, however the item ended.

    Args:
        name: The table's name.
        metadata: Where to register it; a new ``MetaData`` by default.
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


# Types that a column of the default table may also have if others made the table. They take the same rows.
_COMPATIBLE: dict[str, tuple[type[TypeEngine[Any]], ...]] = {
    "score": (Float, Numeric),
    "seconds": (Float, Numeric),
    "attempts": (Integer,),
    "created_at": (DateTime,),
    "updated_at": (DateTime,),
    "value": (JSON, String),
}


def mismatches(connection: Connection, table: Table) -> list[str]:
    """Returns the reasons why the table of that name cannot take the rows of the default table; empty if it can."""
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
