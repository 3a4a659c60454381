"""Values from JSON that may be anything."""

from __future__ import annotations

from typing import Any, TypeGuard


def as_object(value: Any) -> dict[str, Any]:
    """Returns the value if it is an object, otherwise an empty object."""
    return value if _is_object(value) else {}


def as_array(value: Any) -> list[Any]:
    """Returns the value if it is an array, otherwise an empty array."""
    return value if _is_array(value) else []


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_array(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
