"""Looking into plain data, parts of which may be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard, cast


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Whether it is a mapping of anything."""
    return isinstance(value, Mapping)


def get(data: Any, key: str) -> Any:
    """What a mapping has there; None if it has nothing there, or is no mapping."""
    return data.get(key) if is_mapping(data) else None


def mapping(data: Any, key: str) -> Mapping[Any, Any]:
    """The mapping that a mapping has there; an empty one if there is none."""
    value = get(data, key)
    return value if is_mapping(value) else {}


def items(data: Any, key: str) -> list[Any] | None:
    """The list that a mapping has there, or None."""
    value = get(data, key)
    return list(cast("list[Any]", value)) if isinstance(value, list | tuple) else None
