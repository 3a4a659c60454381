"""Values as plain data, where pydantic alone would refuse them, or would never end."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections import deque
from collections.abc import Collection, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from pydantic_core import to_json, to_jsonable_python

from rxpipe.database.text import clean_text
from rxpipe.operators.errors import describe

LONGEST_NUMBER = 4_300  # digits; Python reads no longer numbers
_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
_LISTS = frozenset({list, tuple, set, frozenset, deque})
_FEW = 10_000  # parts; so few are quicker to encode than to compare
_MOST_REPEATED = 50_000_000  # characters that occur more than once
_DEEPEST = 250  # levels; pydantic takes no more
_LONGEST_RANGE = 100_000


def as_plain(value: Any, levels: int = _DEEPEST) -> Any:
    """Returns a value as types that JSON has: keys are text, and numbers can be read again.

    Raises:
        ValueError: The value is too deep, or contains itself.
        TypeError: A part of the value is not data.
    """
    if not levels:
        raise ValueError("it is too deep, or contains itself")
    kind = value.__class__
    if kind is str:
        return clean_text(value)
    if kind is int:
        return _number(value)
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is bool or value is None:
        return value
    if isinstance(value, Mapping):
        return {_key(key): as_plain(each, levels - 1) for key, each in value.items()}  # pyright: ignore[reportUnknownVariableType] - any mapping
    if kind in _LISTS:
        return [as_plain(each, levels - 1) for each in value]
    return as_plain(_simpler(value), levels - 1)


def as_data(value: object) -> object:
    """Returns what to encode in place of a value whose type pydantic does not know.

    Raises:
        TypeError: The value is not data.
    """
    data: Any = value
    if isinstance(value, BaseException):
        return describe(value)
    if isinstance(value, Mapping):
        return dict(data)
    if isinstance(value, os.PathLike):
        return os.fsdecode(data)
    if isinstance(value, range):
        return list(value) if _is_short(value) else repr(value)
    if isinstance(value, (KeysView, ValuesView, ItemsView)):
        return list(data)
    if callable(value):
        raise _not_data(value)
    if callable(listed := getattr(value, "tolist", None)):  # numbers and arrays of numpy, and similar types
        return listed()
    fields = {name: each for name, each in _attributes(data) if not name.startswith("_")}
    if not fields:
        raise _not_data(value)
    return fields


def check_repeated(value: Any) -> None:
    """Raise if a value holds the same parts so often that its JSON would be too long. JSON cannot share parts.

    Raises:
        ValueError: The JSON would be too long.
    """
    left = [value]
    looked = 0
    while left and looked < _FEW:
        parts = _parts(left.pop())
        if not _SCALARS.issuperset(map(type, parts)):
            left += [each for each in parts if type(each) not in _SCALARS]
        looked += 1 + len(parts)
    if left:
        sizes = _Sizes()
        if sizes.written(value, _DEEPEST) - sizes.held > _MOST_REPEATED:
            raise ValueError("it holds the same parts so often that its JSON would be too long")


class _Sizes:
    """The sizes of values, in characters, approximately.

    Attributes:
        held: The size of all values seen, each counted once.
    """

    def __init__(self) -> None:
        self.held = 0
        self._known: dict[int, int | None] = {}

    def written(self, value: Any, levels: int) -> int:
        """Returns the length of a value's JSON."""
        known = self._known.get(id(value), 0)
        if known:
            return known
        if known is None or not levels:
            raise ValueError("it is too deep, or contains itself")
        self._known[id(value)] = None
        own = total = 2
        for part in _parts(value):
            if type(part) in _SCALARS:
                own += len(part) + 3 if isinstance(part, (str, bytes)) else 4
            else:
                total += self.written(part, levels - 1)
        self._known[id(value)] = total = total + own
        self.held += own
        return total


def _parts(value: Any) -> Collection[Any]:
    kind = value.__class__
    if kind is dict:
        return value.values()  # type: ignore[no-any-return] # of any dict
    if kind in _LISTS:
        return value  # type: ignore[no-any-return] # of any list
    fields = getattr(value, "__dict__", None)
    return fields.values() if type(fields) is dict else ()  # pyright: ignore[reportUnknownVariableType] - any dict


def _simpler(value: Any) -> Any:
    try:
        return to_jsonable_python(value, inf_nan_mode="null", bytes_mode="base64", fallback=as_data)
    except UnicodeEncodeError:  # of a key
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return as_data(value)


def _key(key: Any) -> str:
    plain = as_plain(key)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _number(value: int) -> int | str:
    """Returns the number, or its digits as text if it has too many."""
    if -(10**18) < value < 10**18:
        return value
    digits = to_json(value).decode()
    return value if len(digits) <= LONGEST_NUMBER else digits


def _is_short(value: range) -> bool:
    try:
        return len(value) <= _LONGEST_RANGE
    except OverflowError:
        return False


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """Returns an object's attributes, in slots or not."""
    for cls in reversed(type(value).__mro__):
        slots: Any = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)
    yield from getattr(value, "__dict__", {}).items()


def _not_data(value: object) -> TypeError:
    return TypeError(f"{type(value).__module__}.{type(value).__qualname__} is not data")
