"""Checks the query strings and bodies of requests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from rxpipe.insight.reading import ItemFilter, ItemStatus, Order

_MOST_TEXT = 2_000
_STATUSES: tuple[ItemStatus, ...] = get_args(ItemStatus)
_ORDERS: tuple[Order, ...] = get_args(Order)
TEXTS = ("stage", "error", "text", "parent")
NUMBERS = ("longer_than", "since", "until")


class BadRequest(ValueError):
    """A request that makes no sense. The text says why."""


def item_filter(given: Mapping[str, Any]) -> ItemFilter:
    """Reads an item filter. A missing or empty value stands for all.

    Raises:
        BadRequest: A value is out of range.
    """
    status = given.get("status") or None
    if status is not None and status not in _STATUSES:
        raise BadRequest(f"status must be one of {', '.join(_STATUSES)}")
    texts: dict[str, Any] = {name: _text(name, given.get(name)) for name in TEXTS}
    numbers: dict[str, Any] = {name: number(name, given.get(name), least=0.0) for name in NUMBERS}
    return ItemFilter(status=status, **texts, **numbers)


def order(given: Mapping[str, Any]) -> Order:
    """Reads the order of items.

    Raises:
        BadRequest: The order does not exist.
    """
    wanted = given.get("order") or "newest"
    for one in _ORDERS:
        if wanted == one:
            return one
    raise BadRequest(f"order must be one of {', '.join(_ORDERS)}")


def number(name: str, given: Any, *, least: float, most: float = math.inf) -> float | None:
    """Reads a number; None if it is missing or empty.

    Raises:
        BadRequest: The value is no number, or is out of range.
    """
    if given is None or given == "":
        return None
    try:
        value = float(given)
    except (TypeError, ValueError):
        value = math.nan
    if not (math.isfinite(value) and least <= value <= most):
        raise BadRequest(f"{name} must be a number from {least:g} to {most:g}")
    return value


def whole(name: str, given: Any, default: int, *, most: int) -> int:
    """Reads a whole number of at least 1; ``default`` if it is missing or empty.

    Larger numbers than ``most`` count as ``most``.

    Raises:
        BadRequest: The value is no whole number of at least 1.
    """
    if given is None or given == "":
        return default
    text = str(given)
    if not (text.isascii() and text.isdecimal() and len(text) < 16 and int(text) >= 1):
        raise BadRequest(f"{name} must be a whole number, 1 or more")
    return min(int(text), most)


def _text(name: str, given: Any) -> str | None:
    if given is None or given == "":
        return None
    if not isinstance(given, str) or len(given) > _MOST_TEXT:
        raise BadRequest(f"{name} must be a text of at most {_MOST_TEXT} characters")
    return given
