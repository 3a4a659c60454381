"""Reads items from FastStream's messages, or the reason why there is none; makes the bodies that are published."""

from __future__ import annotations

import json
import reprlib
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from types import NoneType
from typing import Any, cast

from faststream.message import StreamMessage, decode_message

from rxpipe.database.encoding import json_text
from rxpipe.errors import ConfigError
from rxpipe.log_values import one_line
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.record import NO_VALUE, IdOf, Record, check_id, id_of

MESSAGE: ContextVar[StreamMessage[Any]] = ContextVar("message")  # the message that is being handled
_SHOWN = 200  # characters of a body that are shown
_JSON = ("{", "[", '"')  # no text that is an ID begins with these
_NO_OBJECTS = (str, int, float, bool, list, NoneType)


async def readable(message: StreamMessage[Any]) -> bool:
    """A filter that lets all messages pass, also those that cannot be decoded, and remembers the current message."""
    MESSAGE.set(message)
    try:
        await message.decode()
    except Exception as error:  # noqa: BLE001  # a decoder may raise anything
        body: Any = message.body
        if isinstance(body, list):  # in a batch, only some messages may be undecodable
            message.set_decoder(partial(_given, [_decoded(each) for each in cast("list[bytes]", body)]))
        else:
            message.set_decoder(partial(_given, error))
    return True


async def _given(body: Any, message: StreamMessage[Any]) -> Any:
    return body


def _decoded(body: bytes) -> Any:
    try:
        return decode_message(body)  # type: ignore[arg-type]  # takes bytes, too; its annotation does not say so
    except Exception as error:  # noqa: BLE001  # JSON may raise anything
        return error


def item_of(body: Any, message: StreamMessage[Any], by: IdOf | None) -> Record | ConfigError:
    """Returns the record that a message's body stands for, or an error that says what is wrong with the body.

    Args:
        body: The decoded body.
        message: The message.
        by: The field of the body that is the ID, or a function that makes the ID from the body. None: the body is the
            ID, and the record has no value.
    """
    if isinstance(body, Exception):
        return ConfigError(f"the body cannot be decoded: {one_line(body)}")
    if isinstance(body, bytes):
        try:
            body = body.decode()  # text that is not JSON
        except UnicodeDecodeError as error:
            return ConfigError(f"the body cannot be decoded: {error}")
    if body == "":
        return ConfigError("the body is empty")
    if isinstance(body, str) and body.lstrip().startswith(_JSON) and _is_raw(body, message):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError) as error:
            return ConfigError(f"the body begins like JSON, and is none: {error}")
    if by is None:
        return check_id(body) or Record(body, NO_VALUE)
    if type(body) in _NO_OBJECTS:
        return ConfigError(f"the body is no JSON object, but {_shown(body)}")
    return _record(body, by)


def _record(body: Any, by: IdOf) -> Record | ConfigError:
    """Returns a body with its ID, or an error that says what is wrong with the ID."""
    item_id: Any
    if isinstance(by, str):
        try:
            item_id = id_of(body, by)
        except ConfigError:
            return ConfigError(f"the body has no {by!r} to be its ID")
        source = f"the body's {by!r}"
    else:
        try:
            item_id = by(body)
        except Exception as error:  # noqa: BLE001  # a user's function may raise anything for an odd body
            return ConfigError(f"no ID could be made of the body: {one_line(error)}")
        source = "what was made of the body"
    if check_id(item_id) is not None:
        return ConfigError(f"{source} is no ID, which must be an int or a str: {_shown(item_id)}")
    return Record(item_id, body)


def _shown(value: object) -> str:
    return f"{reprlib.repr(value)} ({type(value).__name__})"


def _is_raw(text: str, message: StreamMessage[Any]) -> bool:
    """Returns True if a message, or a message of a batch, is exactly this text: no decoder has changed it."""
    body: Any = message.body
    return text.encode(errors="replace") in (cast("list[bytes]", body) if isinstance(body, list) else [body])


def letter_of(message: StreamMessage[Any], body: Any, error: ConfigError) -> dict[str, Any]:
    """Returns the body to publish for a message that is no item."""
    raw = message.body if isinstance(message.body, bytes) else body
    text = raw.decode(errors="replace") if isinstance(raw, bytes) else _look(raw)
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return _plain(id=None, status="rejected", error=str(error), body=text, message_id=message.message_id)


def error_of(outcome: Outcome[Any]) -> str | None:
    """Returns the error of a failed item as text; None if the item has no error."""
    if outcome.error is None:
        return None
    try:
        return f"{type(outcome.error).__name__}: {outcome.error}"
    except Exception as error:  # noqa: BLE001  # an error's own str may raise anything
        return f"{type(outcome.error).__name__}, whose text raises {type(error).__name__}"


def told_of(outcome: Outcome[Any]) -> dict[str, Any]:
    """Returns the body to publish for an outcome. A value that is not data is replaced by its ``repr``."""
    names = ("id", "parent", "status", "stage", "attempts", "seconds", "value")
    return _plain(**{name: getattr(outcome, name) for name in names}, error=error_of(outcome))


def shorter(told: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the body without its value, or with short texts only; ``left_out`` has the sizes.

    None if already short.
    """
    left_out = told.get("left_out", {})
    if size_of(told.get("value")) > _SHOWN:
        return {**told, "value": None, "left_out": {"value": size_of(told["value"])}}
    long = {name: text for name, text in told.items() if isinstance(text, str) and len(text) > _SHOWN}
    if not long:
        return None
    sizes = {name: size_of(text) for name, text in long.items()}
    return {**told, **{name: text[:_SHOWN] for name, text in long.items()}, "left_out": left_out | sizes}


def size_of(told: Any) -> int:
    """Returns the size of plain data as JSON, in bytes."""
    return len(json.dumps(told, ensure_ascii=False).encode())


def _plain(**told: Any) -> dict[str, Any]:
    """Returns the fields as JSON that any broker takes.

    Other texts could never be published, and their message would come again for ever.
    """
    return {name: _as_json(value) for name, value in told.items()}


def _as_json(value: Any) -> Any:
    for make in (lambda: value, lambda: _look(value)):
        with suppress(Exception):  # a user's object may raise anything while its attributes are read
            return json.loads(json_text(make()))
    raise AssertionError("a text is always JSON")


def _look(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  # a user's object may raise anything
        return f"a {type(value).__name__}, whose repr raises {type(error).__name__}"
