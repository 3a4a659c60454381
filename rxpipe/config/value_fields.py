"""What a config says of a value's fields: ``when: {topic: sums}`` and ``key: topic``."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rxpipe.database.field_names import OPTIONAL, FieldReader

_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class FieldsAre:
    """A predicate of values: whether all of these fields have these values.

    Attributes:
        wanted: What each field must be; of a list, one of its items. A field that only some values have is written
            with a ``?``, unless it may be None, which it is where it is missing.
        where: Where they stand, for errors.
    """

    wanted: Mapping[str, Any]
    where: str = field(default="when", compare=False)
    _readers: tuple[FieldReader, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_readers", tuple(_readers(self.wanted, self.where)))

    def __call__(self, value: Any) -> bool:
        """Whether the value has them.

        Raises:
            NoSuchField: It lacks one that no value before it had.
        """
        found = [reader.read(value) for reader in self._readers]  # all of them, so that the first value tells
        return all(_is(one, wanted) for one, wanted in zip(found, self.wanted.values(), strict=True))


def _readers(wanted: Mapping[str, Any], where: str) -> Iterator[FieldReader]:
    for name, options in wanted.items():
        may_lack = not name.endswith(OPTIONAL) and _is(None, options)
        yield FieldReader(name + OPTIONAL if may_lack else name, where)


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
        where: Where it stands, for errors.
    """

    name: str
    where: str = field(default="key", compare=False)
    _reader: FieldReader = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_reader", FieldReader(self.name, self.where))

    def __call__(self, value: Any) -> Hashable:
        """The field.

        Raises:
            NoSuchField: The value has none of that name, and no value before it had.
            LookupError: The value has none of that name.
        """
        found = self._reader.read(value, _ABSENT)
        if found is _ABSENT:
            raise LookupError(f"a {type(value).__name__} has no {self._reader.name!r}, which is to be its key")
        return found  # type: ignore[no-any-return] # a stage says so of what is not hashable
