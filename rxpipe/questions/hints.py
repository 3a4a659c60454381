"""What annotations say of the values that go from stage to stage, before anything is called.

An annotation that says little is taken to fit: only what surely cannot is refused.
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
    """Why a function cannot take values that are annotated so; None if it may.

    Args:
        hint: The annotation; with ``collect`` that of the children's values.
        function: The function.
        options: Its options.
        collect: Whether it gets the children of an item.
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
    """The annotation of what a function returns.

    Args:
        function: The function.
        hints: Its annotations.
        options: Its options.
    """
    says = declared(function).gives
    return hints.get("return", Any) if says is None else says(options)


def passed_on(returned: Any, before: Any, *, many: bool = False, optional: bool = False) -> Any:
    """The annotation of what goes on to the next stage.

    Args:
        returned: What the function returns. ``Same`` and type variables stand for what it got, and ``Becomes`` for
            what that becomes.
        before: What the function got.
        many: Whether each of the values that it returns goes on: with ``expand`` and with ``batch``.
        optional: Whether some items pass the stage: with ``when``.

    Returns:
        The annotation, without decisions and errors; None if ``many`` and it surely does not give many values.
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
    return typing.Union[tuple(found)] if found else Any  # noqa: UP007 - as many as there are


def _resolved(returned: Any, before: Any) -> list[Any]:
    """What stands for something else, as that."""
    if isinstance(returned, Becomes):
        return [kind for one in _members(before) for kind in _becoming(returned, typing.get_origin(one) or one)]
    return [before if returned is Same or isinstance(returned, TypeVar) else returned]


def _becoming(rule: Becomes, kind: Any) -> list[Any]:
    if not isinstance(kind, type) or kind is Any or kind in rule.base.__mro__[1:]:
        return [rule.result, dict[str, Any]]
    return [rule.result if rule.base in kind.__mro__ else dict[str, Any]]


def fields_of_hint(hint: Any) -> list[str] | None:
    """The fields that values of an annotation may have; None where it does not say."""
    kinds = [typing.get_origin(one) or one for one in _members(hint)]
    found = [_names(kind) for kind in kinds]
    if not found or None in found:
        return None
    also = [name for kind in kinds for name in dir(kind) if isinstance(getattr(kind, name, None), _PROPERTIES)]
    return list(dict.fromkeys([name for names in found for name in names or ()] + also))


def _members(hint: Any, *, many: bool = False) -> list[Any]:
    """The alternatives of an annotation, without errors and decisions, such as ``Drop``.

    What can be awaited, as an Observable can, is its last value; but with ``many`` an Observable is all of them.
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
    """What is in a value of an annotation; None if it surely is not one of many values."""
    kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if not isinstance(kind, type) or kind in (Any, object):  # Any is a class, too, since Python 3.11
        return [Any]
    if not issubclass(kind, (Iterable, AsyncIterable, Observable)) or issubclass(kind, (*_TEXTS, Mapping)):
        return None
    if issubclass(kind, tuple):
        return [one for one in arguments if one is not Ellipsis] or [Any]
    return [arguments[0]] if arguments else [Any]


def _lacking(hint: Any, needed: Sequence[str]) -> str | None:
    """What values of an annotation are, if they surely lack something."""
    kind = typing.get_origin(hint) or hint
    if not isinstance(kind, type):
        return None
    names = _names(kind)
    if names is None:
        return kind.__name__.replace("NoneType", "None") if issubclass(kind, _NO_RECORDS) else None
    lacks = any(name not in names for name in needed)
    return f"{kind.__name__} with {listed(names)}" if lacks else None


def _names(kind: Any) -> Sequence[str] | None:
    """The fields of a class, where it declares them."""
    if typing.is_typeddict(kind):
        return list(kind.__annotations__)
    if hasattr(kind, "model_fields"):
        return list(kind.model_fields)
    return [one.name for one in fields(kind)] if is_dataclass(kind) else None
