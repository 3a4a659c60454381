"""What a stage returned as a checkpoint, and back again.

Plain data (text, numbers, booleans, None, lists, and dictionaries with text as keys) is kept as JSON. Anything else,
such as a dataclass, is pickled, beside a JSON text to read and export. Like any pickle, one must only be read from a
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
_DEEP = 100  # levels of nesting; what is deeper is pickled
_MANY = 100_000  # containers in it; what has more, or shares them, is pickled
_LARGE = 10_000_000  # bytes of a pickle that is not made readable


Output: TypeAlias = tuple[str, str | None]
"""A stage's result as it is kept: as JSON, and as a pickle in base64 where the JSON does not say all.

A plain tuple of texts, as the garbage collector soon looks at it no more.
"""


def encode(value: Any) -> Output:
    """A value as it is kept.

    Raises:
        CheckpointError: It cannot be kept: neither plain data nor picklable, or an iterator, which is used up once.
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
    """The value that was kept.

    Raises:
        CheckpointError: It cannot be made again, as where its class is gone.
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
    """Whether JSON says all of it; ``None`` if there is too much of it to look through."""
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
        except UnicodeEncodeError:  # half of a surrogate pair, which no database takes but as an escape
            return json.dumps(value)
    return text


def _text_maker() -> Callable[[Any], str]:
    """What ``json.dumps`` makes anew for each value; to make that takes five times as long as to use it."""
    make: Any = getattr(json.encoder, "c_make_encoder", None)  # of CPython
    if make is None:
        return json.JSONEncoder(ensure_ascii=False).encode
    text_of_string = json.encoder.encode_basestring
    parts_of = make(None, None, text_of_string, None, ": ", ", ", False, False, True)  # nothing circular comes here
    return lambda value: "".join(parts_of(value, 0))


_plain_text = _text_maker()


def _readable(pickled: bytes) -> str:
    """A value for people; of a copy, as looking at an iterator in it uses that up."""
    if len(pickled) > _LARGE:
        return "null"
    try:
        return json_text(pickle.loads(pickled))
    except Exception:  # noqa: BLE001 - whatever a foreign attribute raises: it is pickled, and that is what counts
        return "null"
