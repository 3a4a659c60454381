"""The inputs of the shipped stages: values of their own classes, or any record with the fields that they need.

A record is a mapping, a dataclass or a pydantic model. A stage that gets a record returns a dict with all its fields,
so that your own fields travel on.
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
    """A stage got a value that it cannot use.

    The text says which value came and what the stage takes. The stage is not called with the value again.
    """

    is_permanent = True


class Same:
    """Stands for a function's input in ``Declared.gives``. Type variables get lost in a ``functools.partial``."""


@dataclass(frozen=True, slots=True)
class Becomes:
    """Stands for the result of ``as_given`` in ``Declared.gives``. The result depends on the function's input.

    Attributes:
        base: The class of the bank's own values.
        result: The class that these values become. Other records become a dict.
    """

    base: type
    result: type


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Facts about a stage's function that its annotations do not have.

    Attributes:
        fields: The fields that the function needs of a record.
        named_by: For fields that users may rename: the option that has the new name.
        children: True if the function takes the ``Children`` of an item, whose values are such records.
        from_record: The options that may name a field of the record.
        gives: Returns the annotation of the function's result for given options.
        back_to: Returns the stage that the function may send items back to with given options, or None.
        module: An optional module that the function imports when it is called.
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
        """Returns the names of the needed fields, with these options."""
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
    """Declare what a stage's function needs and does. The arguments are the attributes of ``Declared``."""
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
    """Returns the declaration of a function; an empty one by default."""
    found: Declared = getattr(function, _DECLARED, Declared())
    return found


def record(value: object, function: Callable[..., Any], options: Options | None = None) -> dict[str, Any]:
    """Returns the fields of a value, by name.

    Args:
        value: The function's input.
        function: The function.
        options: The function's options; only those that name fields are needed.

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
    """Returns a stage's result: a value of the bank's own class if the stage got one, else a dict.

    Args:
        value: The stage's input.
        base: The class of the bank's own values, a dataclass.
        result: The class of the bank's values after this stage.
        known: The fields of the input, and the fields that the stage adds.
    """
    if not isinstance(value, base):
        return dict(known)
    names = [one.name for one in fields(result)]  # type: ignore[arg-type]  # it is a dataclass, as its base is
    return result(**{name: known[name] for name in names})


def fields_of(value: object) -> dict[str, Any] | None:
    """Returns the fields of a value, by name; None if the value is no record."""
    if isinstance(value, Mapping):
        return {str(name): one for name, one in cast("Mapping[str, Any]", value).items()}
    kind = type(value)
    if dump := getattr(kind, "model_dump", None):  # a pydantic model; importing pydantic takes time
        return dict(dump(value))
    return {one.name: getattr(value, one.name) for one in fields(kind)} if is_dataclass(kind) else None


def taken(needed: Sequence[str]) -> str:
    """Describe the records that have these fields."""
    return f"a mapping (or a dataclass, or a pydantic model) with {listed(needed)}"


def listed(names: Iterable[object]) -> str:
    """List names in a text, at most 20."""
    shown = [str(name) for name in names]
    return ", ".join(shown[:20]) + (", …" if len(shown) > 20 else "") or "nothing in it"
