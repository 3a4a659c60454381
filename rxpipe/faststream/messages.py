"""What FastStream's messages hold: an item, or why there is none; and what is published of outcomes."""

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

MESSAGE: ContextVar[StreamMessage[Any]] = ContextVar("message")  # that is being handled
_SHOWN = 200  # characters of a body
_JSON = ("{", "[", '"')  # which no text that is an ID begins with
_NO_OBJECTS = (str, int, float, bool, list, NoneType)


async def readable(message: StreamMessage[Any]) -> bool:
    """A filter that lets all messages pass, those that cannot be decoded as well; and remembers them."""
    MESSAGE.set(message)
    try:
        await message.decode()
    except Exception as error:  # noqa: BLE001  # a decoder may raise anything
        body: Any = message.body
        if isinstance(body, list):  # of a batch, only some cannot be
            message.set_decoder(partial(_given, [_decoded(each) for each in cast("list[bytes]", body)]))
        else:
            message.set_decoder(partial(_given, error))
    return True


async def _given(body: Any, message: StreamMessage[Any]) -> Any:
    return body


def _decoded(body: bytes) -> Any:
    try:
        return decode_message(body)  # type: ignore[arg-type]  # takes bytes as well, and its annotation does not say so
    except Exception as error:  # noqa: BLE001  # whatever JSON raises
        return error


def item_of(body: Any, message: StreamMessage[Any], by: IdOf | None) -> Record | ConfigError:
    """What a message's body is to the pipeline, or what is wrong with it.

    Args:
        body: The body, as it was decoded.
        message: The message.
        by: The body's field that is the ID, or a function that makes the ID of the body. None: the body is the ID, and
            the record has no value.
    """
    if isinstance(body, Exception):
        return ConfigError(f"the body cannot be decoded: {one_line(body)}")
    if isinstance(body, bytes):
        try:
            body = body.decode()  # text that is no JSON
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
    """A body with its ID, or what is wrong with that."""
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
        except Exception as error:  # noqa: BLE001  # whatever a user's function raises of a body that it did not expect
            return ConfigError(f"no ID could be made of the body: {one_line(error)}")
        source = "what was made of the body"
    if check_id(item_id) is not None:
        return ConfigError(f"{source} is no ID, which must be an int or a str: {_shown(item_id)}")
    return Record(item_id, body)


def _shown(value: object) -> str:
    return f"{reprlib.repr(value)} ({type(value).__name__})"


def _is_raw(text: str, message: StreamMessage[Any]) -> bool:
    """Whether a message, or one of its batch, is this text as it stands: nobody has decoded it."""
    body: Any = message.body
    return text.encode(errors="replace") in (cast("list[bytes]", body) if isinstance(body, list) else [body])


def letter_of(message: StreamMessage[Any], body: Any, error: ConfigError) -> dict[str, Any]:
    """What is published of a body that is no item."""
    raw = message.body if isinstance(message.body, bytes) else body
    text = raw.decode(errors="replace") if isinstance(raw, bytes) else _look(raw)
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return _plain(id=None, status="rejected", error=str(error), body=text, message_id=message.message_id)


def error_of(outcome: Outcome[Any]) -> str | None:
    """Why an item has failed."""
    if outcome.error is None:
        return None
    try:
        return f"{type(outcome.error).__name__}: {outcome.error}"
    except Exception as error:  # noqa: BLE001  # whatever an error's own str raises
        return f"{type(outcome.error).__name__}, whose text raises {type(error).__name__}"


def told_of(outcome: Outcome[Any]) -> dict[str, Any]:
    """What is published of an outcome; of a value that is no data what it looks like."""
    names = ("id", "parent", "status", "stage", "attempts", "seconds", "value")
    return _plain(**{name: getattr(outcome, name) for name in names}, error=error_of(outcome))


def shorter(told: dict[str, Any]) -> dict[str, Any] | None:
    """The same without its value, or with short texts only; ``left_out`` has the sizes. None if it is short already."""
    left_out = told.get("left_out", {})
    if size_of(told.get("value")) > _SHOWN:
        return {**told, "value": None, "left_out": {"value": size_of(told["value"])}}
    long = {name: text for name, text in told.items() if isinstance(text, str) and len(text) > _SHOWN}
    if not long:
        return None
    sizes = {name: size_of(text) for name, text in long.items()}
    return {**told, **{name: text[:_SHOWN] for name, text in long.items()}, "left_out": left_out | sizes}


def size_of(told: Any) -> int:
    """Bytes of plain data as JSON."""
    return len(json.dumps(told, ensure_ascii=False).encode())


def _plain(**told: Any) -> dict[str, Any]:
    """The same as any broker's JSON takes it: else it could never be published, and its message would come for ever."""
    return {name: _as_json(value) for name, value in told.items()}


def _as_json(value: Any) -> Any:
    for make in (lambda: value, lambda: _look(value)):
        with suppress(Exception):  # whatever a user's object raises while it is looked at
            return json.loads(json_text(make()))
    raise AssertionError("a text is always JSON")


def _look(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  # whatever a user's object raises
        return f"a {type(value).__name__}, whose repr raises {type(error).__name__}"
