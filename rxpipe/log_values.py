"""Values of users in log lines: their length is bounded, and they cannot control a terminal."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rxpipe.operators.errors import describe

_LONGEST = 500  # characters of an error's text
_LONGEST_VALUE = 200  # characters of an ID, or of another value that users chose
_LONGEST_INT = 640  # bits


def one_line(error: BaseException) -> str:
    """Returns an error as one line for a log.

    The text may come from a server or a model. So control characters are escaped, and cannot act on a terminal.
    """
    text = describe(error)
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return _printable(text)


def shown(value: Any) -> Any:
    """Returns a value for a log line. Long texts are cut, and control characters are escaped.

    Short numbers and None stay as they are.
    """
    if isinstance(value, BaseException):
        return one_line(value)
    if value is None or isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= _LONGEST_INT):
        return value
    if isinstance(value, int):  # Python may refuse to convert a large int to text
        return f"an int of {value.bit_length()} bits"
    text = value if isinstance(value, str) else reprlib.repr(value)
    return _printable(text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… ({len(text)} characters)")


def say(log: Callable[..., Any], event: str, **data: Any) -> None:
    """Log a line with values that users chose. Errors while writing the line are ignored."""
    with suppress(Exception):
        log(event, **{name: shown(each) for name, each in data.items()})


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
