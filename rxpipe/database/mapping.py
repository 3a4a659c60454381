"""Outcomes as rows of the user's own table, by their function or by the names of the columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import JSON, Column, DateTime, Enum, Float, Numeric, String, Table, inspect
from sqlalchemy.exc import NoInspectionAvailable

from rxpipe.database.encoding import is_interrupt, json_text, one_line
from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.field_names import NoSuchField
from rxpipe.database.rows import Row, fields_of, key_text, score_of, stage_of, text_of
from rxpipe.database.table import JsonText
from rxpipe.errors import ConfigError
from rxpipe.pipeline.outcome import Outcome

RowFunction: TypeAlias = Callable[[Outcome[Any]], Mapping[str, Any] | None]
Field: TypeAlias = Callable[[str, Any], Any]
Maker: TypeAlias = Callable[[Outcome[Any], Field, datetime], Any]

_ABSENT: Any = object()  # the value has no such field: the column is left out, and its default applies

_OUTCOMES: dict[str, Maker] = {
    "status": lambda outcome, _field, _now: outcome.status,
    "error": lambda outcome, _field, _now: None if outcome.error is None else one_line(outcome.error),
    "stage": lambda outcome, _field, _now: stage_of(outcome),
    "attempts": lambda outcome, _field, _now: outcome.attempts,
    "seconds": lambda outcome, _field, _now: outcome.seconds,
}


def table_of(table: Table | type[Any]) -> tuple[Table, dict[str, str]]:
    """Returns a user's table, and the names that a row may use for each column, with the keys that SQLAlchemy needs.

    Raises:
        ConfigError: The value is neither a ``Table`` nor a declarative class of one table.
    """
    names: dict[str, str] = {}
    found: Any = table
    if not isinstance(table, Table):
        mapper = _mapper(table)
        tables: Any = getattr(mapper, "tables", ())
        if len(tables) != 1:
            raise ConfigError(f"table: a name, a Table or a declarative class of one table, not {table!r}")
        found = tables[0]
        names = {attribute.key: attribute.columns[0].key for attribute in mapper.column_attrs}
    # A column's own name takes precedence over an attribute with another column's name.
    return found, names | {column.key: column.key for column in found.columns} | _names(found)


def _mapper(cls: Any) -> Any:
    try:
        return inspect(cls)
    except NoInspectionAvailable:
        return None


def _names(table: Table) -> dict[str, str]:
    return {column.name: column.key for column in table.columns}


def function_row(function: RowFunction, names: Mapping[str, str], outcome: Outcome[Any]) -> Row | None:
    """Returns the row that a user's function makes of an outcome, by the keys of the columns; None to write nothing.

    Raises:
        RowRefused: The function raised, or did not return a row of the table.
        NoSuchField: The function reads a field that no value has.
    """
    try:
        made: Any = function(outcome)
        if made is None:
            return None
        if not isinstance(made, Mapping):
            raise RowRefused(f"the row function returned a {type(made).__name__}, not a mapping")
        given: dict[Any, Any] = dict(made)  # pyright: ignore[reportUnknownArgumentType] - checked below
    except (RowRefused, NoSuchField):
        raise
    except BaseException as error:
        if is_interrupt(error):
            raise
        raise RowRefused(f"the row function raised {one_line(error)}") from error
    unknown = [key for key in given if key not in names]
    if unknown or not given:
        what = f"unknown columns {', '.join(map(repr, unknown))}" if unknown else "no columns"
        raise RowRefused(f"the row function returned {what}; the table has {', '.join(dict.fromkeys(names))}")
    return {names[key]: value for key, value in given.items()}


class ColumnMapping:
    """Makes rows by the names of a table's columns, where there is no row function.

    - The primary key is the outcome's ID. In a primary key of several columns, ``id`` is the outcome's ID, and the
      others are fields of the value.
    - ``status``, ``error``, ``stage``, ``attempts``, ``seconds``, ``created_at``, ``updated_at`` and ``value`` have the
      meaning that they have in the default table.
    - Every other column is the value's field of that name, if the value has it. For an ORM class, the attribute's name
      works, too.
    - Text columns take values that are not text as JSON.
    - In a table without a ``status``, nothing would tell a failed item from a good one. So only written items have rows
      there.
    """

    def __init__(self, table: Table, names: Mapping[str, str]) -> None:
        self._has_status = "status" in _names(table)
        aliases: dict[str, list[str]] = {}
        for alias, key in names.items():
            aliases.setdefault(key, []).append(alias)
        self._makers = list(_makers(table, aliases))

    def row(self, outcome: Outcome[Any], now: datetime) -> Row | None:
        """Returns an outcome's row, or None to write nothing.

        Raises:
            RowRefused: The ID does not fit the primary key.
            Exception: Any error that reading or encoding the value raises.
        """
        if not self._has_status and outcome.status != "written":
            return None
        field = fields_of(outcome.value)
        row: Row = {}
        for key, maker in self._makers:
            made = maker(outcome, field, now)
            if made is not _ABSENT:
                row[key] = made
        return row


def _makers(table: Table, aliases: Mapping[str, list[str]]) -> Iterator[tuple[str, Maker]]:
    keys = list(table.primary_key)
    for column in table.columns:
        alone = len(keys) == 1 and column is keys[0]
        if alone or (column.name == "id" and (column in keys or not keys)):
            yield column.key, _key_maker(column)
        elif column.name in _OUTCOMES:
            yield column.key, _OUTCOMES[column.name]
        elif column.name in ("created_at", "updated_at") and isinstance(column.type, DateTime):
            if column.name == "updated_at" or (column.default is None and column.server_default is None):
                yield column.key, _now_maker(aware=column.type.timezone)
        elif column.name == "value" and isinstance(column.type, (JSON, JsonText, String)):
            yield column.key, _value_maker(_coercion(column))
        else:
            yield column.key, _field_maker(aliases[column.key], _coercion(column))


def _key_maker(column: Column[Any]) -> Maker:
    """Returns the ID in the column's type: ``"7"`` in a column of text, 7 in a column of integers; UUIDs too."""
    try:
        wanted = column.type.python_type
    except NotImplementedError:
        wanted = object
    converters: dict[Any, Callable[[Any], Any]] = {str: key_text, int: _integer, UUID: _uuid}
    convert = converters.get(wanted, _as_it_is)

    def make(outcome: Outcome[Any], _field: Field, _now: datetime) -> Any:
        try:
            return convert(outcome.id)
        except (TypeError, ValueError) as error:
            raise RowRefused(f"the ID {outcome.id!a} does not fit the column {column.name}") from error

    return make


def _as_it_is(value: Any) -> Any:
    return value


def _integer(item_id: Any) -> int:
    number = int(item_id)
    if str(number) != str(item_id):  # "07" and "7" are two IDs, and would be one row
        raise ValueError("not a number as the database has it")
    return number


def _uuid(item_id: Any) -> UUID:
    return item_id if isinstance(item_id, UUID) else UUID(str(item_id))


def _now_maker(*, aware: bool) -> Maker:
    return lambda _outcome, _field, now: now if aware else now.astimezone(UTC).replace(tzinfo=None)


def _value_maker(convert: Callable[[Any], Any]) -> Maker:
    return lambda outcome, _field, _now: None if outcome.value is None else convert(outcome.value)


def _field_maker(names: list[str], convert: Callable[[Any], Any]) -> Maker:
    def make(_outcome: Outcome[Any], field: Field, _now: datetime) -> Any:
        for name in names:
            found = field(name, _ABSENT)
            if found is not _ABSENT:
                return None if found is None else convert(found)
        return _ABSENT

    return make


def _coercion(column: Column[Any]) -> Callable[[Any], Any]:
    """Returns the function that makes a field into what the column's type takes. Unknown types take it as it is."""
    if isinstance(column.type, JsonText):
        return json_text
    if isinstance(column.type, JSON):
        return lambda value: json.loads(json_text(value))
    if isinstance(column.type, String) and not isinstance(column.type, Enum):
        return text_of
    if column.name == "score" and isinstance(column.type, (Numeric, Float)):
        return score_of
    return _as_it_is
