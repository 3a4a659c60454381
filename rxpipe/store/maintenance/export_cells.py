"""Stage results as data and as cells of a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from sqlalchemy import ColumnElement, Connection, select

from rxpipe.database.plain_data import LONGEST_NUMBER
from rxpipe.database.text import clean_text
from rxpipe.store.queries.history import RunInfo
from rxpipe.store.schema.tables import CHECKPOINTS, IS_NEWEST_CHECKPOINT, ITEMS

VALUE = "value"
"""The field of a value without fields of its own."""

ID = "id"
"""The field of a value that is often the item's own ID."""

Kind = Literal["integer", "number", "truth", "text"]
"""The type of values in a column that has one type."""

_ABSENT: Any = object()
_TOO_LARGE = 2**63  # too large for an integer in a column
_MOST_FIELDS = 100  # columns; a value with more fields becomes one cell
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four are full-width


def data(output: str | None) -> Any:
    """Returns an output as data. NaN and the infinities, which JSON does not have, are null.

    Numbers may have any length.
    """
    if output is None:
        return None
    try:
        return json.loads(output, parse_constant=lambda _: None)
    except ValueError:
        return json.loads(output, parse_constant=lambda _: None, parse_int=_number)


def cell(output: str | None) -> str | None:
    """Returns an output as the text of a cell: text as it is, other values as JSON, null and no output as None."""
    if output is None or output == "null":
        return None
    if output.startswith('"'):
        return clean_text(json.loads(output))
    if "NaN" in output or "Infinity" in output:
        return cell_of(data(output))
    return output


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The fields of values that have a column each.

    Attributes:
        names: The fields, those of inner mappings as ``outer.inner``; or dotted paths into the values.
        chosen: True if the names are paths that somebody chose, and not fields that were found.
        kinds: The type of each column, for formats that need one; fields that are left out are text.
    """

    names: tuple[str, ...]
    chosen: bool = False
    kinds: Mapping[str, Kind] = field(default_factory=dict[str, Kind])

    def of(self, output: str | None) -> list[Any]:
        """Returns an output's value for each field, as data; None where it has none."""
        value = data(output)
        if self.chosen:
            return [_at(value, name) for name in self.names]
        if self.names == (VALUE,):
            return [value]
        found = {} if value is None else dict(_flat(value))
        return [found.get(name) for name in self.names]


def fields_of_run(connection: Connection, run: RunInfo, which: ColumnElement[bool] | None = None) -> Fields:
    """Returns the fields of the newest outputs of a run's items, in the order in which they first occur.

    If a field ``id`` is the item's own ID in all of them, it is left out, as the ID has a column already.

    Args:
        connection: In a transaction that sees one moment.
        run: The run.
        which: Only these items.
    """
    found: dict[str, None] = {}
    is_own_id = True
    for key, output in _newest_outputs(connection, run, which):
        fields = dict(_flat(data(output)))
        is_own_id = is_own_id and str(fields.get(ID, key)) == key
        found.update(dict.fromkeys(fields))
        if len(found) > _MOST_FIELDS:
            return Fields(names=(VALUE,))
    if is_own_id and len(found) > 1:
        found.pop(ID, None)
    return Fields(names=tuple(found) or (VALUE,))


def nowhere(
    fields: Fields, connection: Connection, run: RunInfo, which: ColumnElement[bool] | None = None
) -> list[str]:
    """Returns the chosen paths that lead nowhere in all values; an empty list if there are no values.

    The arguments are those of ``fields_of_run``.
    """
    missing, is_any = list(fields.names), False
    for _, output in _newest_outputs(connection, run, which):
        value, is_any = data(output), True
        missing = [name for name in missing if _at(value, name, _ABSENT) is _ABSENT]
        if not missing:
            break
    return missing if is_any else []


def with_kinds(
    fields: Fields, connection: Connection, run: RunInfo, which: ColumnElement[bool] | None = None
) -> Fields:
    """Returns the fields with the types of their values. The arguments are those of ``fields_of_run``."""
    kinds: dict[str, Kind] = {}
    for _, output in _newest_outputs(connection, run, which):
        for name, value in zip(fields.names, fields.of(output), strict=True):
            if value is not None:
                kinds[name] = _either(kinds.get(name), _kind(value))
    return replace(fields, kinds=kinds)


def _newest_outputs(
    connection: Connection, run: RunInfo, which: ColumnElement[bool] | None
) -> Iterator[tuple[str, str]]:
    """Returns the items' keys with their newest outputs."""
    query = (
        select(ITEMS.c.item_key, CHECKPOINTS.c.output).join(ITEMS, IS_NEWEST_CHECKPOINT).where(ITEMS.c.run_id == run.id)
    )
    query = query if which is None else query.where(which)
    with connection.execute(query.order_by(ITEMS.c.seq, ITEMS.c.item_key).execution_options(yield_per=200)) as rows:
        for row in rows:
            yield row.item_key, row.output


def _kind(value: Any) -> Kind:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, float):
        return "number"
    return "integer" if isinstance(value, int) and -_TOO_LARGE <= value < _TOO_LARGE else "text"


def _either(one: Kind | None, other: Kind) -> Kind:
    if one in (None, other):
        return other
    return "number" if {one, other} == {"integer", "number"} else "text"


def defused(text: str) -> str:
    """Returns a cell that a spreadsheet takes for text, though it begins like a formula. A number stays a number."""
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def cell_of(value: Any) -> str | None:
    """Returns a value as the text of a cell; see ``cell``."""
    if value is None:
        return None
    return clean_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _at(value: Any, path: str, default: Any = None) -> Any:
    """Returns the value at a dotted path, such as ``answer.text`` or ``options.0``. Names may have dots in them."""
    if isinstance(value, list):
        index, _, rest = path.partition(".")
        inner = cast("Sequence[Any]", value)
        found = inner[int(index)] if index.isdecimal() and int(index) < len(inner) else default
        return _at(found, rest, default) if rest else found
    if not isinstance(value, dict):
        return value if path == VALUE else default
    mapping = cast("dict[str, Any]", value)
    if path in mapping:
        return mapping[path]
    parts = path.split(".")
    ways = ((".".join(parts[:count]), ".".join(parts[count:])) for count in range(1, len(parts)))
    return next((_at(mapping[name], rest, default) for name, rest in ways if name in mapping), default)


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if type(value) is not dict or not value:
        yield prefix or VALUE, value
        return
    for name, each in cast("dict[str, Any]", value).items():
        yield from _flat(each, f"{prefix}.{name}" if prefix else clean_text(name))


def _number(digits: str) -> int | str:
    return int(digits) if len(digits) <= LONGEST_NUMBER else digits


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text[-1].isdigit()
