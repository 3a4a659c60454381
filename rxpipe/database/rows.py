"""Outcomes as rows of the default table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from numbers import Real
from typing import Any, TypeAlias

from rxpipe.database.encoding import json_text, one_line
from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.table import KEY_LENGTH
from rxpipe.database.text import clean_text
from rxpipe.pipeline.outcome import Outcome

Row: TypeAlias = dict[str, Any]

# Attributes of these types are Python's, not the user's: a list's `index` is no column.
_NO_FIELDS = (type(None), str, bytes, bytearray, int, float, complex, list, set, frozenset)


def outcome_row(outcome: Outcome[Any], now: datetime) -> Row:
    """Returns an outcome's row in the default table.

    ``question``, ``answer`` and ``score`` come from the value if it has them, as keys or as attributes.

    Raises:
        RowRefused: The ID cannot be a key.
        Exception: Any error that reading or encoding the value raises.
    """
    value, error = outcome.value, outcome.error
    field = fields_of(value)
    return {
        "id": key_text(outcome.id),
        "status": outcome.status,
        "question": text_of(field("question", None)),
        "answer": text_of(field("answer", None)),
        "score": score_of(field("score", None)),
        "error": None if error is None else one_line(error),
        "stage": stage_of(outcome),
        "attempts": outcome.attempts,
        "seconds": outcome.seconds,
        "created_at": now,
        "updated_at": now,
        "value": None if value is None else json_text(value),
    }


def refused_row(outcome: Outcome[Any], reason: BaseException, now: datetime) -> Row:
    """Returns the row in place of a refused one: the item failed, with the reason, and without its value.

    Raises:
        RowRefused: The ID cannot be a key.
    """
    return {  # has every column, so that it shares a statement with the other rows
        "id": key_text(outcome.id),
        "status": "failed",
        "question": None,
        "answer": None,
        "score": None,
        "error": one_line(reason),
        "stage": stage_of(outcome),
        "attempts": outcome.attempts,
        "seconds": outcome.seconds,
        "created_at": now,
        "updated_at": now,
        "value": None,
    }


class Removal(dict[str, Any]):
    """Stands in place of a row: the key of a row to delete, if it exists."""


def removal(outcome: Outcome[Any]) -> Removal | None:
    """Returns the removal of an outcome's row from the default table; None for an ID that no row can have."""
    try:
        return Removal(id=key_text(outcome.id))
    except RowRefused:
        return None


def key_text(item_id: object) -> str:
    """Returns an ID's key: its text, so that 1 and ``"1"`` are the same item.

    Raises:
        RowRefused: The text is too long, or has a character that databases refuse. Replacing that character, as
            elsewhere, could give two IDs the same key.
    """
    try:
        text = str(item_id)
    except ValueError as error:  # Python, too, refuses numbers of thousands of digits
        raise RowRefused("the ID is a number of too many digits") from error
    if type(item_id) is not int and clean_text(text) != text:
        raise RowRefused(f"the ID {text!a} holds a NUL or half of a surrogate pair")
    if len(text) > KEY_LENGTH:
        raise RowRefused(f"the ID {text[:40]}... has {len(text)} characters, and a key holds {KEY_LENGTH}")
    return text


def fields_of(value: Any) -> Callable[[str, Any], Any]:
    """Returns a function that reads a field of a value, a key or an attribute: ``field(name, default)``."""
    if isinstance(value, (dict, Mapping)):  # a dict first: asking an abstract class takes longer
        return value.get  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - any mapping
    if isinstance(value, _NO_FIELDS):
        return _no_field

    def attribute(name: str, default: Any) -> Any:
        found = getattr(value, name, default)
        return default if callable(found) else found  # a method is not data

    return attribute


def _no_field(name: str, default: Any) -> Any:
    return default


def statement_bytes(row: Row) -> int:
    """Returns the bytes of a row's values in a MySQL statement: UTF-8, JSON as text, backslashes before some bytes."""
    literals = [_literal(value) for value in row.values() if isinstance(value, (str, bytes, dict, list))]
    if sum(map(len, literals)) < 100_000:  # at most eight times as many bytes, which every server takes
        return 0
    return sum(len(literal) + sum(map(literal.count, _ESCAPED)) for literal in literals)


_ESCAPED = (b"\0", b"\n", b"\r", b"\x1a", b'"', b"'", b"\\")


def _literal(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value, default=repr)).encode(errors="replace")


def text_of(value: Any) -> str | None:
    """Returns a value as text: text as it is (cleaned), None as it is, and other values as JSON."""
    if value is None:
        return None
    return clean_text(value) if isinstance(value, str) else json_text(value)


def score_of(value: Any) -> float | None:
    """Returns a value as a score: a finite number; None for all other values. True is an answer, not a score."""
    if type(value) is not float:
        if isinstance(value, bool) or not isinstance(value, (Real, Decimal)):
            return None
        try:
            value = float(value)
        except (OverflowError, ValueError):  # an int of 400 digits; a signalling NaN
            return None
    return value if math.isfinite(value) else None


def stage_of(outcome: Outcome[Any]) -> str | None:
    """Returns the stage's name as its column takes it."""
    return None if outcome.stage is None else clean_text(outcome.stage)[:KEY_LENGTH]
