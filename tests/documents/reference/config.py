"""The page of all config keys, from the models that check configs."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any, cast

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rxpipe.config import Config
from rxpipe.config.error_texts import Says

from .markdown import head, paragraph, table

_SIMPLE = {"bool": "`true` or `false`", "str": "text", "int": "a whole number", "float": "a number"}


def page() -> str:
    """The text: a table for each section, those that hold others first."""
    text = head(
        "Config keys",
        "All keys of a config file, with what they allow. [The config file](../config_file.md) shows them in use. "
        "A key that is not listed is an error. `rxpipe check CONFIG` says what is wrong with a config, and "
        "`rxpipe init FOLDER` writes a schema with which editors complete keys.",
    )
    for name, model in sections().items():
        rows = [
            (f"`{field.alias or key}`", _allowed(field), _default(field), _described(field))
            for key, field in _fields(model)
        ]
        title = f"`{name}`" if name else "The top"
        text += f"\n## {title}\n\n{paragraph(model.__doc__)}\n\n{table(['Key', 'Allowed', 'Default', 'Meaning'], rows)}"
    return text


def sections() -> dict[str, type[BaseModel]]:
    """Each section by where it stands first: ``stages[].retry``."""
    found: dict[str, type[BaseModel]] = {"": Config}
    waiting: list[tuple[str, type[BaseModel]]] = [("", Config)]
    while waiting:
        path, model = waiting.pop(0)
        for key, field in _fields(model):
            for inner, many in _models(field.annotation):
                name = f"{path}{'.' if path else ''}{field.alias or key}{many}"
                if inner not in found.values():
                    found[name] = inner
                    waiting.append((name, inner))
    return found


def _fields(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    return list(model.model_fields.items())


def _models(annotation: Any, many: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    """The sections that a key may hold, with ``[]`` for lists and ``.NAME`` for mappings."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, many
    origin = str(typing.get_origin(annotation))
    inside = "[]" if "tuple" in origin else ".NAME" if "Mapping" in origin else ""
    for argument in typing.get_args(annotation):
        yield from _models(argument, many + inside)


def _described(field: FieldInfo) -> str:
    assert field.description, f"a key without a description: {field}"
    return field.description


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.default
    if default is PydanticUndefined or default is None or default == ():
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _allowed(field: FieldInfo) -> str:
    """In words, as error messages say it."""
    return _words(field.annotation, field.metadata)


def _words(annotation: Any, metadata: Any = ()) -> str:
    told = [one.allowed for one in metadata if isinstance(one, Says)]
    if told:
        return told[-1]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _words(arguments[0], arguments[1:])
    if origin is typing.Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if "Union" in str(origin):
        return " or ".join(dict.fromkeys(_words(one) for one in arguments if one is not type(None)))
    if "tuple" in str(origin):
        return f"a list: {_words(arguments[0])}"
    if "Mapping" in str(origin):
        return f"a mapping to: {_words(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "see below"
    name: object = getattr(cast("object", annotation), "__name__", "")
    return _SIMPLE.get(str(name), "anything")
