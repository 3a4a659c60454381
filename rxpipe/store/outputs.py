"""What a stage returned as a checkpoint, and back again.

Plain data (text, numbers, booleans, None, lists, and dictionaries with text as keys) is kept as JSON. Anything else,
such as a dataclass, is pickled, beside a JSON text to read and export. Like any pickle, one must only be read from a
database that nobody else can write to.
"""

from __future__ import annotations

import json
import pickle
from base64 import b64decode, b64encode
from typing import Any, NamedTuple

from rxpipe.database.encoding import json_text, one_line
from rxpipe.errors import CheckpointError

_SCALARS = frozenset({str, int, float, bool, type(None)})
_DEEP = 100  # levels of nesting; what is deeper is pickled


class Output(NamedTuple):
    """A stage's result as it is kept.

    Attributes:
        text: As JSON.
        pickled: As a pickle in base64, where the JSON does not say all.
    """

    text: str
    pickled: str | None


def encode(value: Any) -> Output:
    """A value as it is kept.

    Raises:
        CheckpointError: It cannot be kept: neither plain data nor picklable.
    """
    if _is_plain(value, _DEEP):
        return Output(_dumps(value), None)
    try:
        pickled = pickle.dumps(value, protocol=5)
    except Exception as error:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise CheckpointError(
            f"what it returned, of type {kind}, cannot be kept: {one_line(error)}; "
            "return plain data, or what pickles, or run without a store"
        ) from error
    return Output(_readable(value), b64encode(pickled).decode())


def decode(text: str, pickled: str | None) -> Any:
    """The value that was kept.

    Raises:
        CheckpointError: It cannot be made again, as where its class is gone.
    """
    if pickled is None:
        return json.loads(text)
    try:
        return pickle.loads(b64decode(pickled))
    except Exception as error:
        raise CheckpointError(
            f"a checkpoint cannot be read: {one_line(error)}; define that again and requeue the item, or give its "
            "stage another version"
        ) from error


def _is_plain(value: Any, levels: int) -> bool:
    if value.__class__ in _SCALARS:
        return True
    if levels == 0:
        return False
    if value.__class__ is dict:
        return all(key.__class__ is str and _is_plain(one, levels - 1) for key, one in value.items())
    return value.__class__ is list and all(_is_plain(one, levels - 1) for one in value)


def _dumps(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which no database takes but as an escape
            return json.dumps(value)
    return text


def _readable(value: Any) -> str:
    try:
        return json_text(value)
    except Exception:  # noqa: BLE001 - whatever a foreign attribute raises: it is pickled, and that is what counts
        return "null"
