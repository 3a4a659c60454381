"""Outputs of stages as data and as cells of a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from sqlalchemy import Connection, select

from rxpipe.database.plain_data import LONGEST_NUMBER
from rxpipe.database.text import clean_text
from rxpipe.store.queries.history import RunInfo
from rxpipe.store.schema.tables import CHECKPOINTS, IS_NEWEST_CHECKPOINT, ITEMS

VALUE = "value"
"""The field of a value that has no fields of its own."""

_MOST_FIELDS = 100  # columns; values with more fields than that are a cell each
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last ones are full-width


def data(output: str | None) -> Any:
    """An output as data; NaN and the infinities, which JSON has not, are null, and a number of any length is read."""
    if output is None:
        return None
    try:
        return json.loads(output, parse_constant=lambda _: None)
    except ValueError:
        return json.loads(output, parse_constant=lambda _: None, parse_int=_number)


def cell(output: str | None) -> str | None:
    """An output as the text of a cell: text as it is, anything else as JSON, null and no output as None."""
    if output is None or output == "null":
        return None
    if output.startswith('"'):
        return clean_text(json.loads(output))
    if "NaN" in output or "Infinity" in output:
        return _cell_of(data(output))
    return output


def fields(output: str | None) -> dict[str, str | None]:
    """The cells of an output's fields, those of inner mappings as ``outer.inner``."""
    value = data(output)
    return {} if value is None else {name: _cell_of(each) for name, each in _flat(value)}


def fields_of_run(connection: Connection, run: RunInfo) -> list[str]:
    """The fields of the newest outputs of all items, in the order in which they are met."""
    query = select(CHECKPOINTS.c.output).join(ITEMS, IS_NEWEST_CHECKPOINT).where(ITEMS.c.run_id == run.id)
    found: dict[str, None] = {}
    with connection.execute(query.order_by(ITEMS.c.seq, ITEMS.c.item_key).execution_options(yield_per=200)) as rows:
        for output in rows.scalars():
            found.update(dict.fromkeys(name for name, _ in _flat(data(output))))
            if len(found) > _MOST_FIELDS:
                return [VALUE]
    return list(found) or [VALUE]


def defused(text: str) -> str:
    """A cell that a spreadsheet takes for text, though it begins like a formula; a number stays one."""
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if type(value) is not dict or not value:
        yield prefix or VALUE, value
        return
    for name, each in cast("dict[str, Any]", value).items():
        yield from _flat(each, f"{prefix}.{name}" if prefix else clean_text(name))


def _cell_of(value: Any) -> str | None:
    if value is None:
        return None
    return clean_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _number(digits: str) -> int | str:
    return int(digits) if len(digits) <= LONGEST_NUMBER else digits


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text[-1].isdigit()
