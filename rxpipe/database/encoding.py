"""Values as JSON and text that every database takes.

Characters and numbers that no database can hold are replaced, not refused, since the answer around them was paid for.
A NUL character and half of a surrogate pair become U+FFFD (the replacement character). NaN and the infinities become
``null``.
"""

from __future__ import annotations

import json
import re
import threading
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from rxpipe.database.plain_data import LONGEST_NUMBER, as_data, as_plain, check_repeated
from rxpipe.database.text import clean_text
from rxpipe.operators.errors import describe

_LONG_NUMBER = re.compile(rf"\d{{{LONGEST_NUMBER + 1}}}")
# Matches a NUL as JSON escapes it, but not the text "\u0000" after an escaped backslash.
_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def json_text(value: Any) -> str:
    r"""Returns a value as JSON text.

    Takes the types that pydantic takes (dataclasses, models, dates, Decimal, UUID, sets, enums), and

    - bytes, as base64: most bytes are not valid UTF-8, and a column must not hold both;
    - errors, as ``Type: text``;
    - numbers and arrays of numpy, paths and ranges;
    - plain objects, as their public attributes.

    A number of more than 4,300 digits becomes text.

    Raises:
        ValueError: The value cannot be encoded. It is cyclic, too deep, or of a type that is not data; or it holds the
            same parts so often that its JSON would be too long.
    """
    check_repeated(value)
    try:
        text = to_json(value, inf_nan_mode="null", bytes_mode="base64", fallback=as_data).decode()
    except PydanticSerializationError as error:
        text = _plain_text(value, error)
    if len(text) > LONGEST_NUMBER and _LONG_NUMBER.search(text):
        text = _plain_text(value)
    return _ESCAPED_NUL.sub(r"\1\\ufffd", text) if "\\u0000" in text else text


def _plain_text(value: Any, error: Exception | None = None) -> str:
    """Returns the same JSON text for keys and numbers that JSON does not have."""
    try:
        return json.dumps(as_plain(value), ensure_ascii=False, separators=(",", ":"))
    except Exception as reason:  # a foreign attribute may raise anything
        told = str(error or reason).removeprefix("Error serializing to JSON: ")
        raise ValueError(told) from reason


def one_line(error: BaseException) -> str:
    """Returns an error as one clean line, ``Type: text``."""
    return clean_text(" ".join(describe(error).split()))


def is_interrupt(error: BaseException) -> bool:
    """Returns True if an error is a Ctrl-C for the program, and was not raised by a user's value."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()
