"""What a config says of a value's fields: ``when: {topic: sums}`` and ``key: topic``."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from rxpipe.database.rows import fields_of

_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class FieldsAre:
    """A predicate of values: whether all of these fields have these values.

    Attributes:
        wanted: What each field must be; of a list, one of its items. A field that a value lacks is None.
    """

    wanted: Mapping[str, Any]

    def __call__(self, value: Any) -> bool:
        """Whether the value has them."""
        field = fields_of(value)
        return all(_is(field(name, None), wanted) for name, wanted in self.wanted.items())


def _is(found: Any, wanted: Any) -> bool:
    options: list[Any] = [*wanted] if isinstance(wanted, list) else [wanted]
    return any(_equal(found, one) for one in options)


def _equal(found: Any, wanted: Any) -> bool:
    """1 and true are not the same in a config."""
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)


@dataclass(frozen=True, slots=True)
class FieldOf:
    """A function of values: one of their fields.

    Attributes:
        name: The field, a mapping's key or an object's attribute.
    """

    name: str

    def __call__(self, value: Any) -> Hashable:
        """The field.

        Raises:
            LookupError: The value has none of that name.
        """
        found = fields_of(value)(self.name, _ABSENT)
        if found is _ABSENT:
            raise LookupError(f"a {type(value).__name__} has no {self.name!r}, which is to be its key")
        return found  # type: ignore[no-any-return] # a stage says so of what is not hashable
