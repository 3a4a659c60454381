"""``Record``: an ID with its data; and sources of records."""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, cast, overload

from reactivex import Observable
from reactivex import operators as rx_ops
from typing_extensions import TypeVar  # with defaults, which typing has from Python 3.13 on

from rxpipe.errors import ConfigError

T = TypeVar("T", covariant=True, default=Any)
R = TypeVar("R")

IdOf = str | Callable[[Any], int | str]


@dataclass(frozen=True, slots=True)
class Record(Generic[T]):
    """An ID with its data. The first stage gets the value instead of the ID.

    ::

        pipeline.run(Record(row["id"], row) for row in csv.DictReader(file))

    Attributes:
        id: The item's ID.
        value: The argument of the first stage. With a store, the store keeps the value with the item.
    """

    id: int | str
    value: T


NO_VALUE: Any = object()
"""Stands for a missing value: the first stage gets the ID."""


def given(item_id: Any, value: Any = NO_VALUE) -> Any:
    """Returns a record of an ID and a value, or the ID alone if there is no value."""
    return item_id if value is NO_VALUE else Record(item_id, value)


def content_id(value: Any) -> str:
    """Returns an ID made of the content. Equal values have the same ID, whatever the order of their keys.

    Returns:
        The first 32 hexadecimal digits of the SHA-256 of the value as JSON.

    Raises:
        ConfigError: The value cannot be written as JSON.
    """
    try:
        text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"source: an ID can be made of the content of JSON only: {error}") from None
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@overload
def from_records(rows: Collection[R], id: IdOf) -> Collection[Record[R]]: ...
@overload
def from_records(rows: Iterable[R], id: IdOf) -> Iterable[Record[R]]: ...
@overload
def from_records(rows: AsyncIterable[R], id: IdOf) -> AsyncIterable[Record[R]]: ...
@overload
def from_records(rows: Observable[R], id: IdOf) -> Observable[Record[R]]: ...
def from_records(rows: Any, id: IdOf) -> Any:
    """Turn rows into records, one by one on demand.

    ::

        pipeline.run(from_records(csv.DictReader(file), id="number"))
        pipeline.run(from_records(rows, id=content_id))

    Args:
        rows: Mappings or objects: an iterable, an async iterable or an Observable.
        id: The key or attribute with the ID, or a function that returns the ID of a row. ``content_id`` makes an ID of
            the content.

    Returns:
        The records, as the same kind of source: an iterable, an async iterable or an Observable.

    Raises:
        ConfigError: A row has no such key or attribute. Raised when that row is taken.
    """

    def record(row: Any) -> Record[Any]:
        return Record(id_of(row, id), row)

    given: object = rows
    if isinstance(given, Observable):
        return rows.pipe(rx_ops.map(record))
    if isinstance(given, AsyncIterable):
        return _AsyncRecords(rows, record)
    return _Records(rows, record) if isinstance(given, Collection) else map(record, rows)


def id_of(row: Any, by: IdOf) -> int | str:
    """Returns the ID of a row.

    Raises:
        ConfigError: The row has no such key or attribute.
    """
    if not isinstance(by, str):
        return by(row)
    try:
        return cast("int | str", row[by] if isinstance(row, Mapping) else getattr(row, by))
    except (KeyError, AttributeError):
        raise ConfigError(f"source: a row has no {by!r} to be its ID: {_short(row)}") from None


def check_id(value: Any, of: str = "source") -> ConfigError | None:
    """Returns the error of a bad ID, or of a record with a bad ID; None if the ID is good.

    The text of the error begins with ``of``, the place where the ID comes from.
    """
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return None
    item_id = value.id if isinstance(value, Record) else value
    if isinstance(item_id, (int, str)) and not isinstance(item_id, bool):
        return None
    shown = f"{reprlib.repr(item_id)} ({type(item_id).__name__})"
    return ConfigError(f"{of}: an ID must be an int or a str, not {shown}")


def _short(row: Any) -> str:
    text = repr(cast("object", row))
    return text if len(text) <= 200 else f"{text[:200]}..."


class _Records(Collection[Record[Any]]):
    """The records of a collection of rows."""

    def __init__(self, rows: Collection[Any], record: Callable[[Any], Record[Any]]) -> None:
        self._rows = rows
        self._record = record

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Record[Any]]:
        return map(self._record, self._rows)

    def __contains__(self, one: object) -> bool:
        return any(one == each for each in self)


class _AsyncRecords(AsyncIterable[Record[Any]]):
    def __init__(self, rows: AsyncIterable[Any], record: Callable[[Any], Record[Any]]) -> None:
        self._rows = rows
        self._record = record

    async def __aiter__(self) -> AsyncIterator[Record[Any]]:
        async for row in self._rows:
            yield self._record(row)
