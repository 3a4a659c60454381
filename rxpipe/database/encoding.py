"""Values as JSON and text that every database takes.

What no database can hold is replaced rather than refused, since the answer around it was paid for: a NUL
character and half of a surrogate pair become U+FFFD (the replacement character), NaN and the infinities
become ``null``.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from rxpipe.operators.errors import describe

# A NUL as JSON escapes it, and not the text "\u0000" behind an escaped backslash.
_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def json_text(value: Any) -> str:
    r"""A value as JSON text.

    Takes what pydantic takes (dataclasses, models, dates, Decimal, UUID, sets, enums), bytes as base64 (as
    UTF-8 most bytes are not valid, and a column must not hold both), errors as ``Type: text``, and a plain
    object as its public attributes.

    Raises:
        ValueError: The value cannot be encoded: it is cyclic, too deep, or of a type that is not data.
    """
    try:
        text = to_json(value, inf_nan_mode="null", bytes_mode="base64", fallback=_as_data).decode()
    except PydanticSerializationError as error:
        if "surrogates not allowed" not in str(error):
            raise ValueError(str(error).removeprefix("Error serializing to JSON: ")) from error
        plain = to_jsonable_python(value, inf_nan_mode="null", bytes_mode="base64", fallback=_as_data)
        text = clean_text(json.dumps(plain, ensure_ascii=False))
    return _ESCAPED_NUL.sub(r"\1\\ufffd", text) if "\\u0000" in text else text


def _as_data(value: object) -> object:
    """What to encode in place of a value of a type that pydantic does not know."""
    if isinstance(value, BaseException):
        return describe(value)
    data: Any = value
    if isinstance(value, Mapping):
        return dict(data)
    attributes: dict[str, Any] | None = getattr(value, "__dict__", None)
    if not attributes or callable(value):
        raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} is not data")
    return {name: each for name, each in attributes.items() if not name.startswith("_")}


def clean_text(text: str) -> str:
    """The text with U+FFFD for every NUL and every lone surrogate; a subclass of ``str`` becomes plain."""
    if type(text) is not str:
        text = str.__str__(text)  # not str(): an enum's is its name
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    # Encoding is the quickest way to look for surrogates: a regular expression takes 50 times as long.
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def one_line(error: BaseException) -> str:
    """An error as one clean line, ``Type: text``."""
    return clean_text(" ".join(describe(error).split()))


def is_interrupt(error: BaseException) -> bool:
    """Whether an error is a Ctrl-C meant for the program, not something that a user's value raised."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()
