"""Tells a misspelt field from a field that only some values have.

``score`` must be there, ``score?`` may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from rxpipe.database.rows import fields_of
from rxpipe.errors import StopRun

OPTIONAL = "?"
"""The mark after a field's name: some values do not have the field."""

_ABSENT: Any = object()
_TIMES = frozenset({"created_at", "inserted_at", "written_at", "timestamp", "now"})
_MOST = 20  # names in a message


class NoSuchField(StopRun):
    """A config names a field that the values do not have. The run stops: no later value would have it either."""


class FieldReader:
    """Reads a field of values by a name from a config.

    The first value must have the field. Once a value has had it, others may lack it.
    """

    def __init__(self, name: str, key: str, path: str = "") -> None:
        """Describe a reader.

        Args:
            name: The field. With ``?`` at its end, values may lack it from the start.
            key: Where the name stands, for the error.
            path: The text that stands there, if it is more than the name.
        """
        self.name = name.removesuffix(OPTIONAL)
        self._key, self._path = key, path or name
        self._is_known = name != self.name

    def read(self, value: Any, default: Any = None) -> Any:
        """Returns the field of a value.

        Raises:
            NoSuchField: The value has no such field, and no earlier value had it.
        """
        found = fields_of(value)(self.name, _ABSENT)
        if found is not _ABSENT:
            self._is_known = True
            return found
        if not self._is_known:
            hint = f"if only some values have it, write {self._path + OPTIONAL!r}{time_hint(self.name)}"
            raise NoSuchField(f"{self._key}: {lacking(self.name, value)}; {hint}")
        return default


def time_hint(name: str) -> str:
    """Returns how to write the time of writing, if a field's name asks for it; otherwise an empty text."""
    if name not in _TIMES:
        return ""
    return "; for the time of writing, leave it out, and give your table's column DEFAULT CURRENT_TIMESTAMP"


def lacking(name: str, value: Any) -> str:
    """Returns a message that a value has no such field, and which fields it has."""
    names = names_in(value)
    has = "it has no fields" if not names else f"it has {listed(names)}"
    return f"a {type(value).__name__} has no field {name!r}: {has}"


def listed(names: list[str]) -> str:
    """Returns names of fields as text, at most 20."""
    return ", ".join(names[:_MOST]) + (", …" if len(names) > _MOST else "")


def names_in(value: Any) -> list[str]:
    """Returns the names of a value's fields, as far as they can be found."""
    given: object = value  # for the type checkers, which do not know the type of ``value``
    kind: Any = type(given)
    if isinstance(given, Mapping):
        return [str(name) for name in value]
    if is_dataclass(kind):
        return [one.name for one in fields(kind)]
    if hasattr(kind, "model_fields"):
        return list(kind.model_fields)
    return [name for name in getattr(value, "__dict__", {}) if not name.startswith("_")]
