"""Fields of the source's records by name, such as ``record.level``, in prompts and in options."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

from rxpipe.errors import StopRun

PATH = r"record(?:\.[^\s{}.?][^{}.?\n]*)+\??"
"""A regular expression for a path: ``record``, then the names of the fields on the way, each after a dot."""

_PATH = re.compile(PATH)
_MOST = 20  # names in a message


def is_record_path(text: object) -> bool:
    """Returns True if a text names a field of the record."""
    return isinstance(text, str) and _PATH.fullmatch(text) is not None


def read_record(path: str, record: Any, where: str) -> Any:
    """Returns the field of a record at a path. A path that ends with ``?`` and leads nowhere gives None.

    Args:
        path: Such as ``record.level``, ``record.grade.text`` or ``record.level?``.
        record: The record that the source gave.
        where: The place of the path, for the error.

    Raises:
        StopRun: The path leads nowhere: the record lacks the field, or the source gives no records.
    """
    value = record
    for name in path.removesuffix("?").split(".")[1:]:
        given = _fields(value)
        if name in given:
            value = given[name]
        elif path.endswith("?"):
            return None
        elif value is None:
            raise StopRun(f"{where}: {path}: the source gives no records, or none with such a field")
        else:
            has = ", ".join([*given][:_MOST]) or "no fields"
            hint = f"if only some records have it, write {path}?"
            raise StopRun(f"{where}: {path}: the record has no field {name!r}: it has {has}; {hint}")
    return value


def as_text(value: Any) -> str:
    """Returns a field's value as a prompt shows it: text as it is, an empty text for None, JSON for other values."""
    if value is None or isinstance(value, str):
        return value or ""
    if not isinstance(value, list | tuple):
        value = _fields(value) or value
    return json.dumps(value, ensure_ascii=False, default=str)


def _fields(value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value)
    if isinstance(value, list | tuple):
        return {str(place): one for place, one in enumerate(cast("list[Any]", value))}
    kind: Any = type(cast("object", value))
    if hasattr(kind, "model_fields"):
        return {name: getattr(value, name) for name in kind.model_fields}
    return {one.name: getattr(value, one.name) for one in fields(kind)} if is_dataclass(kind) else {}
