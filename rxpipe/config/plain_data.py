"""Looks up values in plain data that may be partly wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard, cast


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Returns True for any mapping."""
    return isinstance(value, Mapping)


def get(data: Any, key: str) -> Any:
    """Returns the value of a key; None if the key is missing or ``data`` is no mapping."""
    return data.get(key) if is_mapping(data) else None


def mapping(data: Any, key: str) -> Mapping[Any, Any]:
    """Returns the mapping at a key; an empty mapping if there is none."""
    value = get(data, key)
    return value if is_mapping(value) else {}


def items(data: Any, key: str) -> list[Any] | None:
    """Returns the list at a key, or None."""
    value = get(data, key)
    return list(cast("list[Any]", value)) if isinstance(value, list | tuple) else None
