"""What the shipped stages take: values of their own classes, or any record that has the fields they need.

A record is a mapping, a dataclass or a pydantic model. A stage that got a record returns a dict with
everything that was in it, so that your own fields travel on.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast

from rxpipe.errors import RxPipeError

F = TypeVar("F", bound=Callable[..., Any])
Result = TypeVar("Result")

_NEEDED = "_rxpipe_needed_fields"
_NO_RECORDS = (str, bytes, int, float, complex, list, set, frozenset, tuple, type(None))


class WrongInput(RxPipeError):
    """A stage got a value that it cannot use: says what came and what it takes. It is not called with it again."""

    is_permanent = True


def takes(*needed: str) -> Callable[[F], F]:
    """Declares which fields a stage's function needs."""

    def mark(function: F) -> F:
        setattr(function, _NEEDED, needed)
        return function

    return mark


def needed_fields(function: object) -> Sequence[str]:
    """The fields that a function needs; none if it declares nothing."""
    found: Sequence[str] = getattr(function, _NEEDED, ())
    return found


def record(value: object, function: Callable[..., Any]) -> dict[str, Any]:
    """The fields of a value, by name.

    Raises:
        WrongInput: The value is no record, or lacks a field that the function needs.
    """
    found = _record(value)
    needed = needed_fields(function)
    if found is None or any(name not in found for name in needed):
        came = type(value).__name__ if found is None else f"{type(value).__name__} with {_listed(found)}"
        raise WrongInput(f"{function.__name__} takes {_taken(needed)}, but got {came}")
    return found


def as_given(value: object, base: type, result: type[Result], known: Mapping[str, Any]) -> Result | dict[str, Any]:
    """What a stage returns: a value of the bank's own if it got one, else a dict.

    Args:
        value: What the stage got.
        base: The class of the bank's own values, a dataclass.
        result: Their class behind this stage.
        known: The fields of the value, and what the stage has found.
    """
    if not isinstance(value, base):
        return dict(known)
    names = [one.name for one in fields(result)]  # type: ignore[arg-type]  # it is a dataclass, as its base is
    return result(**{name: known[name] for name in names})


def misfit(hint: Any, function: object) -> str | None:
    """Why a function cannot take values that are annotated so; None if it may."""
    needed = needed_fields(function)
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    came = [_lacking(one, needed) for one in (typing.get_args(hint) if is_union else (hint,))]
    return None if None in came or not needed else f"takes {_taken(needed)}, but gets {' or '.join(filter(None, came))}"


def _record(value: object) -> dict[str, Any] | None:
    if isinstance(value, Mapping):
        return {str(name): one for name, one in cast("Mapping[str, Any]", value).items()}
    kind = type(value)
    if dump := getattr(kind, "model_dump", None):  # pydantic, which takes time to import
        return dict(dump(value))
    return {one.name: getattr(value, one.name) for one in fields(kind)} if is_dataclass(kind) else None


def _lacking(hint: Any, needed: Sequence[str]) -> str | None:
    """What values of an annotation are, if they surely lack something."""
    kind = typing.get_origin(hint) or (type(None) if hint is None else hint)
    if not isinstance(kind, type):
        return None
    names = _names(kind)
    if names is None:
        return kind.__name__.replace("NoneType", "None") if issubclass(kind, _NO_RECORDS) else None
    lacks = any(name not in names for name in needed)
    return f"{kind.__name__} with {_listed(names)}" if lacks else None


def _names(kind: Any) -> Sequence[str] | None:
    """The fields of a class, where it declares them."""
    if typing.is_typeddict(kind):
        return list(kind.__annotations__)
    if hasattr(kind, "model_fields"):
        return list(kind.model_fields)
    return [one.name for one in fields(kind)] if is_dataclass(kind) else None


def _taken(needed: Sequence[str]) -> str:
    return f"a mapping (or a dataclass, or a pydantic model) with {_listed(needed)}"


def _listed(names: typing.Iterable[object]) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:20]) + (", …" if len(shown) > 20 else "") or "nothing in it"
