"""What the shipped stages take: values of their own classes, or any record that has the fields they need.

A record is a mapping, a dataclass or a pydantic model. A stage that got a record returns a dict with
everything that was in it, so that your own fields travel on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, cast

from rxpipe.errors import RxPipeError

F = TypeVar("F", bound=Callable[..., Any])
Result = TypeVar("Result")
Options = Mapping[str, Any]

_DECLARED = "_rxpipe_declared"


class WrongInput(RxPipeError):
    """A stage got a value that it cannot use: says what came and what it takes. It is not called with it again."""

    is_permanent = True


class Same:
    """Stands for what a function got, in ``Declared.gives``: type variables get lost in a ``functools.partial``."""


@dataclass(frozen=True, slots=True)
class Becomes:
    """Stands for what ``as_given`` returns, in ``Declared.gives``: that depends on what the function got.

    Attributes:
        base: The class of the bank's own values.
        result: What they become; other records become a dict.
    """

    base: type
    result: type


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a stage's function says of itself that its annotations do not.

    Attributes:
        fields: The fields that it needs of a record.
        named_by: For fields that users may name otherwise: the option that does.
        children: Whether it takes the ``Children`` of an item, the values of which are those records.
        from_record: Its options that may name a field of the record.
        gives: What it returns with given options, as an annotation.
        back_to: The stage that it may send items back to with given options, or None.
        module: What it imports when it is called, if that is optional.
        extra: The extra that has the module.
    """

    fields: tuple[str, ...] = ()
    named_by: Mapping[str, str] = field(default_factory=dict[str, str])
    children: bool = False
    from_record: tuple[str, ...] = ()
    gives: Callable[[Options], Any] | None = None
    back_to: Callable[[Options], str | None] | None = None
    module: str | None = None
    extra: str = ""

    def needed(self, options: Options) -> list[str]:
        """The names of the fields, with these options."""
        return [str(options.get(self.named_by.get(name, ""), name)) for name in self.fields]


def takes(
    *fields: str,
    named_by: Mapping[str, str] | None = None,
    children: bool = False,
    from_record: tuple[str, ...] = (),
    gives: Callable[[Options], Any] | None = None,
    back_to: Callable[[Options], str | None] | None = None,
    module: str | None = None,
    extra: str = "",
) -> Callable[[F], F]:
    """Declares what a stage's function needs and does; the arguments are the attributes of ``Declared``."""
    says = Declared(
        fields=fields,
        named_by=named_by or {},
        children=children,
        from_record=from_record,
        gives=gives,
        back_to=back_to,
        module=module,
        extra=extra,
    )

    def mark(function: F) -> F:
        setattr(function, _DECLARED, says)
        return function

    return mark


def declared(function: object) -> Declared:
    """What a function declares; nothing by default."""
    found: Declared = getattr(function, _DECLARED, Declared())
    return found


def record(value: object, function: Callable[..., Any], options: Options | None = None) -> dict[str, Any]:
    """The fields of a value, by name.

    Args:
        value: What the function got.
        function: The function.
        options: Its options, as far as they name fields.

    Raises:
        WrongInput: The value is no record, or lacks a field that the function needs.
    """
    found = fields_of(value)
    needed = declared(function).needed(options or {})
    if found is None or any(name not in found for name in needed):
        came = type(value).__name__ if found is None else f"{type(value).__name__} with {listed(found)}"
        raise WrongInput(f"{function.__name__} takes {taken(needed)}, but got {came}")
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


def fields_of(value: object) -> dict[str, Any] | None:
    """The fields of a value, by name; None if it is no record."""
    if isinstance(value, Mapping):
        return {str(name): one for name, one in cast("Mapping[str, Any]", value).items()}
    kind = type(value)
    if dump := getattr(kind, "model_dump", None):  # pydantic, which takes time to import
        return dict(dump(value))
    return {one.name: getattr(value, one.name) for one in fields(kind)} if is_dataclass(kind) else None


def taken(needed: Sequence[str]) -> str:
    """The records that have these fields, in words."""
    return f"a mapping (or a dataclass, or a pydantic model) with {listed(needed)}"


def listed(names: Iterable[object]) -> str:
    """Names in words, not too many."""
    shown = [str(name) for name in names]
    return ", ".join(shown[:20]) + (", …" if len(shown) > 20 else "") or "nothing in it"
