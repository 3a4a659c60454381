"""Fields of values in a config: ``when: {topic: sums}`` and ``key: topic``."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rxpipe.database.field_names import OPTIONAL, FieldReader

_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class FieldsAre:
    """A predicate of values. True if all these fields have these values.

    Attributes:
        wanted: The value that each field must have; for a list, one of its items. A field that only some values have is
            written with a ``?``. The ``?`` is not needed if None is allowed: a missing field counts as None.
        where: The place of the fields in the config, for errors.
    """

    wanted: Mapping[str, Any]
    where: str = field(default="when", compare=False)
    _readers: tuple[FieldReader, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_readers", tuple(_readers(self.wanted, self.where)))

    def __call__(self, value: Any) -> bool:
        """Returns True if the value's fields have the wanted values.

        Raises:
            NoSuchField: The value lacks a field that no earlier value had.
        """
        found = [reader.read(value) for reader in self._readers]  # all, so that the first value shows all errors
        return all(_is(one, wanted) for one, wanted in zip(found, self.wanted.values(), strict=True))


def _readers(wanted: Mapping[str, Any], where: str) -> Iterator[FieldReader]:
    for name, options in wanted.items():
        may_lack = not name.endswith(OPTIONAL) and _is(None, options)
        yield FieldReader(name + OPTIONAL if may_lack else name, where)


def _is(found: Any, wanted: Any) -> bool:
    options: list[Any] = [*wanted] if isinstance(wanted, list) else [wanted]
    return any(_equal(found, one) for one in options)


def _equal(found: Any, wanted: Any) -> bool:
    """Compare two values. 1 and true are different in a config."""
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)


@dataclass(frozen=True, slots=True)
class FieldOf:
    """A function that returns one field of a value.

    Attributes:
        name: The field: a mapping's key or an object's attribute.
        where: The place of the field in the config, for errors.
    """

    name: str
    where: str = field(default="key", compare=False)
    _reader: FieldReader = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_reader", FieldReader(self.name, self.where))

    def __call__(self, value: Any) -> Hashable:
        """Returns the field.

        Raises:
            NoSuchField: The value has no such field, and no earlier value had one.
            LookupError: The value has no such field.
        """
        found = self._reader.read(value, _ABSENT)
        if found is _ABSENT:
            raise LookupError(f"a {type(value).__name__} has no {self._reader.name!r}, which is to be its key")
        return found  # type: ignore[no-any-return] # a stage reports values that are not hashable
