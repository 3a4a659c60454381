"""The order of items in lists, and where a page goes on.

An order is a sequence of segments. Each is read along an index, so a page takes as long at the end of a million items
as at their beginning. A place consists of its segment and two values that the index is sorted by. So a place stays
where it is while items come and go.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Integer, Row, and_, literal, literal_column, tuple_

from rxpipe.database.text import clean_text
from rxpipe.errors import StoreError
from rxpipe.insight.reading import ItemFilter, Order
from rxpipe.store.schema.tables import (
    HAS_ENDED,
    HAS_FAILED,
    HAS_SECONDS,
    IS_READY,
    IS_RUNNING,
    IS_WAITING,
    ITEMS,
    PENDING,
)

_FAR = 2**62
_LAST = "\U0010ffff"


class Place(NamedTuple):
    """A place in an order.

    Attributes:
        segment: The number of the place's segment.
        value: The value that the segment is sorted by.
        key: The item's key, for items with equal values.
    """

    segment: int
    value: float
    key: str

    def to_text(self) -> str:
        """Returns the place as text for a page."""
        return base64.urlsafe_b64encode(json.dumps(self).encode()).decode().rstrip("=")

    @classmethod
    def of(cls, text: str) -> Place:
        """Returns the place of a page's text.

        Raises:
            StoreError: The text is no place.
        """
        try:
            segment, value, key = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            return cls(range(len(PENDING) + 1)[int(segment)], float(value), clean_text(str(key)))
        except (ValueError, TypeError, LookupError, OverflowError):
            raise StoreError(f"{text[:100]!r} is no place in a list of items") from None


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of an order.

    Attributes:
        name: The state of its items, or ``ended``.
        column: The column that it is sorted by, before the item's key.
        falls: True if the greatest value comes first.
        index: The index to read along, for databases that take such a hint.
        condition: The condition for its items.
    """

    name: str
    column: Column[Any]
    falls: bool
    index: str
    condition: ColumnElement[bool]

    @property
    def ordering(self) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
        """The columns that a query is ordered by."""
        columns = self.column, ITEMS.c.item_key
        return (columns[0].desc(), columns[1].desc()) if self.falls else (columns[0].asc(), columns[1].asc())

    def behind(self, place: Place) -> ColumnElement[bool]:
        """Returns the condition for items after a place."""
        value, here, there = self._compared(place)
        # The condition that SQLite uses the index for.
        first = self.column <= value if self.falls else self.column >= value
        return and_(first, there < here if self.falls else there > here)

    def up_to(self, place: Place) -> ColumnElement[bool]:
        """Returns the condition for items up to a place."""
        value, here, there = self._compared(place)
        first = self.column >= value if self.falls else self.column <= value
        return and_(first, there >= here if self.falls else there <= here)

    @property
    def beginning(self) -> Place:
        """The place before all items of the segment. The caller sets its segment number."""
        return Place(0, _FAR, _LAST) if self.falls else Place(0, -_FAR, "")

    def _compared(self, place: Place) -> tuple[Any, Any, Any]:
        is_whole = isinstance(self.column.type, Integer)
        value = literal(int(place.value) if is_whole else place.value, self.column.type)
        return value, tuple_(value, literal(place.key, ITEMS.c.item_key.type)), tuple_(self.column, ITEMS.c.item_key)

    def value_of(self, row: Row[Any]) -> float | None:
        """Returns the value that a row is sorted by."""
        value: float | None = getattr(row, self.column.name)
        return value


def segments_of(order: Order, wanted: ItemFilter) -> Sequence[Segment]:
    """Returns the segments of an order that may have wanted items, as short as possible."""
    falls = order == "newest"
    pending = [
        Segment("running", ITEMS.c.seq, falls, "rxpipe_items_running", IS_RUNNING),
        Segment("waiting", ITEMS.c.seq, falls, "rxpipe_items_waiting", IS_WAITING),
        Segment("ready", ITEMS.c.seq, falls, "rxpipe_items_ready", IS_READY),
    ]
    ended = [_by_seconds(wanted) if order == "slowest" else _by_end(wanted, falls=falls)]
    every = [*pending, *ended] if order == "newest" else [*ended, *pending]
    if wanted.status is None:
        return every
    return [one for one in every if one.name == (wanted.status if wanted.status in PENDING else "ended")]


def _by_seconds(wanted: ItemFilter) -> Segment:
    condition: ColumnElement[bool] = HAS_SECONDS
    if wanted.longer_than is not None:
        condition = and_(condition, ITEMS.c.seconds >= wanted.longer_than)
    return Segment("ended", ITEMS.c.seconds, True, "rxpipe_items_slow", condition)


def _by_end(wanted: ItemFilter, *, falls: bool) -> Segment:
    condition: ColumnElement[bool] = HAS_ENDED
    index = "rxpipe_items_ended"
    if wanted.status in ("failed", "dropped"):
        condition, index = and_(HAS_FAILED, is_in_state(wanted.status)), "rxpipe_items_failed"
    if wanted.since is not None:
        condition = and_(condition, ITEMS.c.ended_at >= wanted.since)
    if wanted.until is not None:
        condition = and_(condition, ITEMS.c.ended_at < wanted.until)
    return Segment("ended", ITEMS.c.ended_at, falls, index, condition)


def is_in_state(state: str) -> ColumnElement[bool]:
    """Returns the condition that an item is in a state, as a literal: partial indexes are not used for parameters."""
    if not state.isalpha():
        raise StoreError(f"{state!r} is no state of an item")
    return ITEMS.c.state == literal_column(f"'{state}'")


def place_of(segments: Sequence[Segment], row: Row[Any]) -> Place | None:
    """Returns the place of a row in an order; None if it has none."""
    name = "ended" if row.ended_at is not None else row.state
    for number, segment in enumerate(segments):
        if segment.name == name:
            value = segment.value_of(row)
            return None if value is None else Place(number, value, row.item_key)
    return None


def in_order(segments: Sequence[Segment], places: Iterable[Place]) -> list[Place]:
    """Returns places sorted as the database sorts items, except for the keys, which it may sort by other rules."""
    found: list[Place] = []
    for number, of_segment in groupby(sorted(places, key=lambda place: place.segment), lambda place: place.segment):
        found += sorted(of_segment, key=lambda place: (place.value, place.key), reverse=segments[number].falls)
    return found


def is_behind(segments: Sequence[Segment], place: Place, after: Place) -> bool:
    """Returns True if a place comes after another one."""
    if place.segment != after.segment:
        return place.segment > after.segment
    one, other = (place.value, place.key), (after.value, after.key)
    return one < other if segments[place.segment].falls else one > other
