"""The arguments of a stage's function that its config sets, besides the value: ``with``."""

from __future__ import annotations

import builtins
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from rxpipe.config.error_texts import given, unknown
from rxpipe.errors import ConfigError
from rxpipe.identity.arguments import signature_of
from rxpipe.llm.prompt import Prompt
from rxpipe.llm.provider import Provider

Function = Callable[..., Any]
_WORDS = {
    "a valid string": "text",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    "a valid list": "a list",
    "an instance of Sequence": "a list",
    "a valid dictionary": "a mapping",
    "None": "null",
}
Find = Callable[[object, str], Provider]


def bound(call: Function, options: Mapping[str, Any], *, folder: Path | None, provider: Find) -> Function:
    """Returns a function of one value, with the other arguments set.

    The annotation of an argument decides which values it may have:

    - ``Provider``: the name of a provider. An argument called ``provider`` without an annotation is treated the same.
    - ``Prompt``: a file, found from the config's folder.
    - any other annotation: pydantic checks the value.
    - no annotation: any value.

    Args:
        call: The function.
        options: The function's arguments, by name.
        folder: The config file's folder.
        provider: Finds a provider by its name, for an argument.

    Raises:
        ArgumentError: The function has no such argument, refuses the value, or needs an argument that is not given.
        ConfigError: Any error of ``provider``.
    """
    signature = signature_of(call)
    if signature is None:
        return functools.partial(call, **options) if options else call
    parameters = list(signature.parameters.values())[1:]  # the first is the value
    by_name = {one.name: one for one in parameters if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)}
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
    for name in options:
        if name not in by_name and not takes_any:
            raise ArgumentError(name, unknown("the function has no such argument", name, by_name or ["none"]))
    for name, one in by_name.items():
        if one.default is one.empty and name not in options:
            raise ArgumentError(None, f"the function needs the argument {name}")
    hints = hints_of(call)
    values = {
        name: _converted(name, value, hints.get(name, Any), by_name.get(name), folder, provider)
        for name, value in options.items()
    }
    return functools.partial(call, **values) if values else call


class ArgumentError(ConfigError):
    """An argument that cannot be used.

    Attributes:
        name: The argument's name; None if the error is about all arguments.
    """

    def __init__(self, name: str | None, text: str) -> None:
        super().__init__(text)
        self.name = name


def hints_of(call: Function) -> dict[str, Any]:
    """Returns a function's resolved annotations; an empty dict if they cannot be resolved."""
    while isinstance(call, functools.partial):
        call = call.func
    annotated: Any = call
    if not inspect.isroutine(call):
        annotated = call.__init__ if inspect.isclass(call) else type(call).__call__
    names = vars(builtins) | getattr(inspect.unwrap(annotated), "__globals__", {})
    try:
        return _resolved(annotated, names)
    except Exception:  # noqa: BLE001 - annotations may be anything
        return {}


def _resolved(annotated: Any, names: dict[str, Any]) -> dict[str, Any]:
    """Resolve annotations. A name that only type checkers import counts as ``Any``, except rxpipe's own names."""
    while True:
        try:
            return typing.get_type_hints(annotated, localns=names, include_extras=True)
        except NameError as error:
            if error.name is None or error.name in names:
                annotated = _as_text(annotated, error)
            else:
                names[error.name] = {"Provider": Provider, "Prompt": Prompt}.get(error.name, Any)


def _as_text(annotated: Any, error: NameError) -> Any:
    """Returns an object with the same annotations as text.

    Since Python 3.14 annotations know no names except those of their own module.

    Raises:
        NameError: The annotations are text already, or this Python has no such text.
    """
    is_text = isinstance(annotated, SimpleNamespace)
    if sys.version_info >= (3, 14) and not is_text:
        from annotationlib import Format, get_annotations

        return SimpleNamespace(__annotations__=get_annotations(annotated, format=Format.STRING))
    raise error


def _converted(
    name: str, value: Any, hint: Any, parameter: inspect.Parameter | None, folder: Path | None, provider: Find
) -> Any:
    kinds = typing.get_args(hint) or (hint,)  # also for an argument that may be left out: Provider | None
    if (Provider in kinds or (hint is Any and name == "provider")) and value is not None:
        return provider(value, name)
    if Prompt in kinds and value is not None:
        default = None if parameter is None else parameter.default
        return _prompt(name, value, default.fields if isinstance(default, Prompt) else None, folder)
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        allowed = [_in_words(one["msg"]) for one in error.errors(include_url=False)]
        raise ArgumentError(name, given(value, " or ".join(dict.fromkeys(allowed)))) from None
    except (PydanticSchemaGenerationError, PydanticUserError):  # pydantic does not know the type
        return value


def _in_words(message: str) -> str:
    """Translate pydantic's text about a type into words of YAML."""
    message = message.removeprefix("Input should be ")
    return _WORDS.get(message.partition(", unable")[0], message)


def _prompt(name: str, value: Any, fields: Collection[str] | None, folder: Path | None) -> Prompt:
    if not isinstance(value, str):
        raise ArgumentError(name, given(value, "a file with the prompt"))
    try:
        return Prompt.read((folder or Path()) / value, fields)
    except ConfigError as error:
        raise ArgumentError(name, str(error)) from None
