"""The arguments that a stage's function is given by its config, besides the value: ``with``."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from rxpipe.config.explain import given, unknown
from rxpipe.errors import ConfigError
from rxpipe.llm.prompt import Prompt
from rxpipe.llm.provider import Provider

Function = Callable[..., Any]


def bound(
    call: Function, options: Mapping[str, Any], *, folder: Path | None, provider: Callable[[object], Provider]
) -> Function:
    """A function of one value, with the other arguments in place.

    What an argument may be follows from its annotation: a ``Provider`` is named, a ``Prompt`` is a file, found from
    the config's folder; anything else is checked by pydantic. One without an annotation may be anything.

    Args:
        call: The function.
        options: Its arguments, by name.
        folder: The config file's folder.
        provider: Finds a provider by name.

    Raises:
        ConfigError: It has no such argument, cannot have such a value, or needs one that is not given. The text
            begins with the argument's name in brackets, if there is one.
    """
    try:
        parameters = list(inspect.signature(call).parameters.values())[1:]  # the first is the value
    except (TypeError, ValueError):  # some builtin functions tell nothing
        return functools.partial(call, **options) if options else call
    by_name = {one.name: one for one in parameters if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)}
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
    for name in options:
        if name not in by_name and not takes_any:
            raise ArgumentError(name, unknown("the function has no such argument", name, by_name or ["none"]))
    for name, one in by_name.items():
        if one.default is one.empty and one.kind is one.KEYWORD_ONLY and name not in options:
            raise ArgumentError(None, f"the function needs {name}")
    hints = _hints(call)
    values = {
        name: _converted(name, value, hints.get(name, Any), by_name.get(name), folder, provider)
        for name, value in options.items()
    }
    return functools.partial(call, **values) if values else call


class ArgumentError(ConfigError):
    """An argument that cannot be.

    Attributes:
        name: Its name; None if it is about all of them.
    """

    def __init__(self, name: str | None, text: str) -> None:
        super().__init__(text)
        self.name = name


def _hints(call: Function) -> dict[str, Any]:
    while isinstance(call, functools.partial):
        call = call.func
    try:
        return typing.get_type_hints(call if inspect.isroutine(call) else type(call).__call__, include_extras=True)
    except Exception:  # noqa: BLE001 - annotations may be anything, and name what is not there
        return {}


def _converted(
    name: str,
    value: Any,
    hint: Any,
    parameter: inspect.Parameter | None,
    folder: Path | None,
    provider: Callable[[object], Provider],
) -> Any:
    if hint is Provider:
        return provider(value)
    if hint is Prompt:
        if not isinstance(value, str):
            raise ArgumentError(name, given(value, "a file with the prompt"))
        default = None if parameter is None else parameter.default
        fields = default.fields if isinstance(default, Prompt) else None
        try:
            return Prompt.read((folder or Path()) / value, fields)
        except ConfigError as error:
            raise ArgumentError(name, str(error)) from None
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ArgumentError(name, given(value, first["msg"].removeprefix("Input should be "))) from None
    except (PydanticSchemaGenerationError, PydanticUserError):  # a type that pydantic knows nothing of
        return value
