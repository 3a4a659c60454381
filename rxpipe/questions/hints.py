"""Checks from annotations which values go from stage to stage, before any call.

An annotation that says little counts as fitting. Only values that surely do not fit are refused.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import AsyncIterable, Awaitable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from reactivex import Observable

from rxpipe.pipeline.record import Record
from rxpipe.questions.inputs import Becomes, Options, Same, declared, listed, taken

_TEXTS = (str, bytes, bytearray)
_PROPERTIES = (property, functools.cached_property)
_NO_RECORDS = (*_TEXTS, int, float, complex, Sequence, AbstractSet, Iterator, AsyncIterable, type(None))


def misfit(hint: Any, function: object, options: Options | None = None, *, collect: bool = False) -> str | None:
    """Returns why a function cannot take values with this annotation; None if it may take them.

    Args:
        hint: The annotation; with ``collect`` the annotation of the children's values.
        function: The function.
        options: The function's options.
        collect: True if the function gets the children of an item.
    """
    found = declared(function)
    needed = found.needed(options or {})
    if found.children and not collect:
        return "takes the children of an item: its stage needs collect: true, behind one with expand: true"
    if collect and found.fields and not found.children:
        return f"takes {taken(needed)}, but gets the children of an item: its stage has collect: true"
    came = [_lacking(one, needed) for one in _members(hint)]
    if None in came or not needed or not came:
        return None
    return f"takes {taken(needed)}, but gets {' or '.join(dict.fromkeys(filter(None, came)))}"


def gives(function: object, hints: Mapping[str, Any], options: Options) -> Any:
    """Returns the annotation of a function's result.

    Args:
        function: The function.
        hints: The function's annotations.
        options: The function's options.
    """
    says = declared(function).gives
    return hints.get("return", Any) if says is None else says(options)


def passed_on(returned: Any, before: Any, *, many: bool = False, optional: bool = False) -> Any:
    """Returns the annotation of the values that go on to the next stage.

    Args:
        returned: The annotation of the function's result. ``Same`` and type variables stand for the function's input,
            and ``Becomes`` for what its input becomes.
        before: The annotation of the function's input.
        many: True if each value in the result goes on by itself: with ``expand`` and with ``batch``.
        optional: True if some items skip the stage: with ``when``.

    Returns:
        The annotation, without decisions and errors. None if ``many`` is set and the result surely has not many values.
    """
    found = _members(returned, many=many)
    if many and found:
        several = [elements for one in found if (elements := _elements(one)) is not None]
        if not several:
            return None
        found = [value for elements in several for one in elements for value in _members(one)]
    found = [kind for one in found for kind in _resolved(one, before)]
    if optional:
        found.append(before)
    return typing.Union[tuple(found)] if found else Any  # noqa: UP007 - a union of as many types as there are


def _resolved(returned: Any, before: Any) -> list[Any]:
    """Replace ``Same``, type variables and ``Becomes`` by the annotations that they stand for."""
    if isinstance(returned, Becomes):
        return [kind for one in _members(before) for kind in _becoming(returned, typing.get_origin(one) or one)]
    return [before if returned is Same or isinstance(returned, TypeVar) else returned]


def _becoming(rule: Becomes, kind: Any) -> list[Any]:
    if not isinstance(kind, type) or kind is Any or kind in rule.base.__mro__[1:]:
        return [rule.result, dict[str, Any]]
    return [rule.result if rule.base in kind.__mro__ else dict[str, Any]]


def fields_of_hint(hint: Any) -> list[str] | None:
    """Returns the fields that values of an annotation may have; None if the annotation does not say."""
    kinds = [typing.get_origin(one) or one for one in _members(hint)]
    found = [_names(kind) for kind in kinds]
    if not found or None in found:
        return None
    also = [name for kind in kinds for name in dir(kind) if isinstance(getattr(kind, name, None), _PROPERTIES)]
    return list(dict.fromkeys([name for names in found for name in names or ()] + also))


def _members(hint: Any, *, many: bool = False) -> list[Any]:
    """Returns the alternatives of an annotation, without errors and decisions, such as ``Drop``.

    An awaitable stands for its last value, and an Observable is awaitable. But with ``many`` an Observable stands for
    all its values.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return [one for each in arguments for one in _members(each, many=many)]
    if origin in (typing.Annotated, Record):
        return _members(arguments[0], many=many)
    if isinstance(origin, type) and issubclass(origin, Awaitable) and not (many and issubclass(origin, Observable)):
        return _members(arguments[-1], many=many)
    if isinstance(hint, type) and issubclass(hint, BaseException):
        return []
    return [type(None) if hint is None else hint]


def _elements(hint: Any) -> list[Any] | None:
    """Returns the annotations of the elements of a value; None if the value surely has no elements."""
    kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if not isinstance(kind, type) or kind in (Any, object):  # Any is a class, too, since Python 3.11
        return [Any]
    if not issubclass(kind, (Iterable, AsyncIterable, Observable)) or issubclass(kind, (*_TEXTS, Mapping)):
        return None
    if issubclass(kind, tuple):
        return [one for one in arguments if one is not Ellipsis] or [Any]
    return [arguments[0]] if arguments else [Any]


def _lacking(hint: Any, needed: Sequence[str]) -> str | None:
    """Describe the values of an annotation, if they surely lack a needed field; else None."""
    kind = typing.get_origin(hint) or hint
    if not isinstance(kind, type):
        return None
    names = _names(kind)
    if names is None:
        return kind.__name__.replace("NoneType", "None") if issubclass(kind, _NO_RECORDS) else None
    lacks = any(name not in names for name in needed)
    return f"{kind.__name__} with {listed(names)}" if lacks else None


def _names(kind: Any) -> Sequence[str] | None:
    """Returns the fields of a class, if the class declares them."""
    if typing.is_typeddict(kind):
        return list(kind.__annotations__)
    if hasattr(kind, "model_fields"):
        return list(kind.model_fields)
    return [one.name for one in fields(kind)] if is_dataclass(kind) else None
