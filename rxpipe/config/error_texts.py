"""Error messages about a config: the place, the given value, and the allowed values.

pydantic finds the problems, but its texts are about pydantic. This module turns each into a ``Problem``: the path to
the key and one line of text. A type says in words what it allows, beside its limits, through `says`.
"""

from __future__ import annotations

import difflib
import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString, NamedTuple, TypeAlias, get_args, get_origin

from pydantic import BaseModel, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import ErrorDetails, PydanticCustomError

Loc: TypeAlias = tuple[str | int, ...]

NOT_ALLOWED: LiteralString = "not_allowed"
"""The error type of a value that its own type refused. The message says what is allowed."""
NOT_SHOWN: LiteralString = "not_shown"
"""Like ``NOT_ALLOWED``, for a value that may be a key or a password by mistake."""
SAID: LiteralString = "said"
"""Like ``NOT_ALLOWED``, for a message that already says everything."""
CONTRADICTION: LiteralString = "contradiction"
"""The error type of keys that are right by themselves, but contradict each other."""


class Problem(NamedTuple):
    """One problem: the path to the key, and the text about it."""

    loc: Loc
    text: str


@dataclass(frozen=True, slots=True)
class Says(WrapValidator):
    """A validator that answers any wrong value with what is allowed.

    Attributes:
        allowed: What is allowed, in the words of a user.
    """

    allowed: str = ""


def says(allowed: LiteralString, kind: LiteralString = NOT_ALLOWED) -> Says:
    """Make a type answer any wrong value with what it allows, in the words of a user."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError(kind, allowed) from None

    return Says(check, allowed=allowed)


def dotted(loc: Loc) -> str:
    """Returns the path to a key as a user writes it: ``stages[0].retry.max_attempts``."""
    text = ""
    for part in loc:
        if isinstance(part, str) and re.fullmatch(r"[^\W\d][\w-]*", part):
            text += f".{part}" if text else part
        else:
            text += f"[{_short(part)}]"
    return text


def shown(value: object) -> str:
    """Describe a value from a config in a few words, with its type where that matters; without passwords."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    kinds: dict[type, str] = {str: "the text ", dict: "a mapping ", list: "a list ", bytes: "binary data "}
    return redact(kinds.get(type(value), "") + _short(value))


def redact(text: str) -> str:
    """Remove possible passwords and keys: the text between the first ``:`` and the last ``@``, and key-like words."""
    text = re.sub(r":[^\n]*@", ":***@", text)
    text = re.sub(r"\bsk-[\w-]+", "sk-***", text)
    return re.sub(r"(?i)(passw\w*|pwd|secret|token|api_?key)(=|'?: ?'?)[^&\s'\"}]+", r"\1\2***", text)


def near(name: object, known: Iterable[str]) -> str:
    """Returns ``; did you mean 'x'?`` if a known name is similar, else an empty text."""
    close = difflib.get_close_matches(name, list(known), n=1) if isinstance(name, str) else []
    return f"; did you mean {close[0]!r}?" if close else ""


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """Say that a name is unknown, which known name is nearest, and which names are known."""
    names = list(known)
    hint = near(name, names)
    return f"{what}{hint or ';'} allowed: {', '.join(names)}"


def given(value: object, allowed: str, hint: str = "") -> str:
    """Say which value was given and what is allowed."""
    return f"given {shown(value)}{hint or ';'} allowed: {allowed}"


def explain(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Returns pydantic's problems with data for ``model``, without contradictions."""
    return [
        Problem(detail["loc"][:-1] if detail["loc"][-1:] == ("[key]",) else detail["loc"], _text(detail, model))
        for detail in error.errors(include_url=False)
        # pydantic also calls a list too short if all its items are wrong.
        if detail["type"] != CONTRADICTION and not (detail["type"] == "too_short" and detail["input"])
    ]


def _text(detail: ErrorDetails, model: type[BaseModel]) -> str:
    loc, value = detail["loc"], detail["input"]
    if loc[-1:] == ("[key]",):  # pydantic means the key itself, not its value
        return f"given the key {_short(value)}; allowed: {detail['msg']}"
    match detail["type"]:
        case "extra_forbidden" | "invalid_key":
            return unknown("unknown key", loc[-1], _keys(model, loc[:-1]))
        case "missing":
            return f"missing; needed: {_described(model, loc)}"
        case "model_type" | "dict_type" | "mapping_type":
            keys = _keys(model, loc)
            return given(value, f"a mapping with the keys {', '.join(keys)}" if keys else "a mapping")
        case "tuple_type" | "list_type":
            return given(value, "a list")
        case "too_short":
            return "given an empty list; allowed: a list of at least one"
        case "bool_type":
            return given(value, "true or false")
        case "literal_error":
            expected = str(detail.get("ctx", {}).get("expected"))
            return given(value, expected.replace("'", ""), near(value, re.findall(r"'([^']*)'", expected)))
        case "not_shown":
            return f"not shown, as it may be secret; allowed: {detail['msg']}"
        case "said":
            return detail["msg"]
        case "not_allowed":
            return given(value, detail["msg"])
        case _:
            return given(value, detail["msg"].removeprefix("Input should be "))


def _keys(model: type[BaseModel], loc: Loc) -> list[str]:
    found = _model_at(model, loc)
    return [field.alias or name for name, field in found.model_fields.items()] if found else []


def _described(model: type[BaseModel], loc: Loc) -> str:
    parent = _model_at(model, loc[:-1])
    field = parent.model_fields.get(str(loc[-1])) if parent else None
    text = (field and field.description) or "a value"
    return text[0].lower() + text[1:].rstrip(".")


def _model_at(model: type[BaseModel], loc: Loc) -> type[BaseModel] | None:
    """Returns the model of the section at this path. For an index into a list it is the model of the list's items."""
    found: type[BaseModel] | None = model
    names_next = False  # True in a mapping of sections by name
    for part in loc:
        if names_next or isinstance(part, int):
            names_next = False
            continue
        field = found.model_fields.get(part) if found else None
        found = _model_in(field.annotation) if field else None
        names_next = field is not None and get_origin(field.annotation) is Mapping
    return None if names_next else found


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


class _Short(reprlib.Repr):
    """Short texts of values. Passwords are removed before the text is cut: a cut might hide the end of one."""

    def repr_str(self, x: str, level: int) -> str:
        return super().repr_str(redact(x), level)

    def repr_int(self, x: int, level: int) -> str:
        try:
            str(x)
        except ValueError:  # Python does not print a number of more than 4300 digits
            return "a number of thousands of digits"
        return super().repr_int(x, level)


def _short(value: object) -> str:
    short = _Short()
    short.maxstring = short.maxother = short.maxlong = 80
    short.maxlevel = 2
    return short.repr(value)
