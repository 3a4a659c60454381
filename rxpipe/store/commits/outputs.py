"""Turns a stage's result into a checkpoint, and back.

Plain data (text, numbers, booleans, None, lists, and dictionaries with text as keys) is kept as JSON. Anything else,
such as a dataclass, is pickled, with a JSON text beside it to read and export. As with any pickle, only read one from a
database that nobody else can write to.
"""

from __future__ import annotations

import json
import pickle
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from rxpipe.database.encoding import is_interrupt, json_text, one_line
from rxpipe.errors import CheckpointError

_SCALARS = frozenset({str, int, float, bool, type(None)})
_DEEP = 100  # levels of nesting; deeper values are pickled
_MANY = 100_000  # containers in a value; a value that has more, or shares them, is pickled
_LARGE = 10_000_000  # bytes of a pickle that is not made readable


Output: TypeAlias = tuple[str, str | None]
"""A stage's result as the store keeps it: as JSON, and as a pickle in base64 if the JSON does not hold all of it.

A plain tuple of texts, as the garbage collector soon ignores it.
"""


def encode(value: Any) -> Output:
    """Returns a value as the store keeps it.

    Raises:
        CheckpointError: The value is neither plain data nor picklable, or is an iterator, which can be used only once.
    """
    try:
        return _encode(value)
    except BaseException as error:
        if is_interrupt(error) or isinstance(error, CheckpointError):
            raise
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise CheckpointError(
            f"what it returned, of type {kind}, cannot be kept: {one_line(error)}; "
            "return plain data, or what pickles, or run without a store"
        ) from error


def decode(text: str, pickled: str | None) -> Any:
    """Returns the value that was kept.

    Raises:
        CheckpointError: The value cannot be restored, for example because its class is gone.
    """
    if pickled is None:
        return json.loads(text)
    try:
        return pickle.loads(b64decode(pickled))
    except BaseException as error:
        if is_interrupt(error):
            raise
        raise CheckpointError(
            f"a checkpoint cannot be read: {one_line(error)}; define that again and requeue the item, or give its "
            "stage another version"
        ) from error


def _encode(value: Any) -> Output:
    if isinstance(value, Iterator):
        raise TypeError("it is an iterator; a list of it could be kept")
    is_plain = _is_plain(value)
    if is_plain:
        try:
            return _dumps(value), None
        except ValueError:  # a number of thousands of digits
            pass
    pickled = pickle.dumps(value, protocol=5)
    return "null" if is_plain is None else _readable(pickled), b64encode(pickled).decode()


def _is_plain(value: Any) -> bool | None:
    """Returns True if JSON holds all of the value; None if the value is too large to check."""
    left = [(value, _DEEP)]
    looked = 0
    while left:
        one, levels = left.pop()
        kind = one.__class__
        if kind in _SCALARS:
            continue
        looked += 1
        if looked > _MANY:
            return None
        if kind is dict and levels and all(key.__class__ is str for key in one):
            left += [(inner, levels - 1) for inner in one.values()]
        elif kind is list and levels:
            left += [(inner, levels - 1) for inner in one]
        else:
            return False
    return True


def _dumps(value: Any) -> str:
    text = _plain_text(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which databases take only as an escape
            return json.dumps(value)
    return text


def _text_maker() -> Callable[[Any], str]:
    """Returns the encoder that ``json.dumps`` makes for each value. Making it takes five times as long as using it."""
    make: Any = getattr(json.encoder, "c_make_encoder", None)  # of CPython
    if make is None:
        return json.JSONEncoder(ensure_ascii=False).encode
    text_of_string = json.encoder.encode_basestring
    parts_of = make(None, None, text_of_string, None, ": ", ", ", False, False, True)  # no circular value comes here
    return lambda value: "".join(parts_of(value, 0))


_plain_text = _text_maker()


def _readable(pickled: bytes) -> str:
    """Returns a value as text for people. Uses a copy, as reading an iterator in the value would use it up."""
    if len(pickled) > _LARGE:
        return "null"
    try:
        return json_text(pickle.loads(pickled))
    except Exception:  # noqa: BLE001 - a foreign attribute may raise anything; the pickle is what counts
        return "null"
