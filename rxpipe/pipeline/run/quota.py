"""``until``: the number of rows that a run writes. Never more items are on their way than rows are missing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

Wake = Callable[[], None]


class Counted(Protocol):
    """An item, as the quota sees it.

    Attributes:
        place: The count that contains the item.
    """

    place: Place | None


class Place:
    """A count of items: those before the gate, the stage that gives places, or those behind it."""

    def __init__(self) -> None:
        self.taken = 0


class Quota:
    """Counts the items of one run that may become rows.

    The gate gives the places. It is the last stage whose children become rows, or the source if there is no such stage.
    So items behind the gate never wait for items before it. Before the gate, the number of items on their way is
    limited to the number of missing rows, too.

    Attributes:
        until: The number of items to write, including those of earlier runs.
        written: The number of written items, including those of earlier runs.
        gate: The index of the stage that gives places; None for the source.
        reached: Called once, when no row is missing any more.
    """

    def __init__(self, until: int, gate: int | None = None) -> None:
        self.until = until
        self.written = 0
        self.gate = gate
        self.reached: Callable[[], object] = lambda: None
        self._elsewhere = 0
        self._was_reached = False
        self._before, self._behind = Place(), Place()
        self._lock = threading.Lock()
        self._waiting: dict[Wake, None] = {}

    @property
    def missing(self) -> int:
        """Number of items that are still to be written, here or by other workers."""
        return self.until - self.written - self._elsewhere

    def written_elsewhere(self, count: int) -> None:
        """Other workers of the run have written ``count`` items. From any thread."""
        self._elsewhere = count
        self._tell()

    def may_begin(self, wake: Wake) -> bool:
        """Returns True if the source may give another item. If not, ``wake`` is called once when you may ask again."""
        return self._has_room(self._behind if self.gate is None else self._before, wake)

    def may_pass(self, item: Counted, wake: Wake) -> bool:
        """Give an item a place behind the gate.

        Returns False if there is none; then ``wake`` is called once when you may ask again.
        """
        if item.place is self._behind:
            return True
        if not self._has_room(self._behind, wake):
            return False
        self.leave(item)
        self._enter(item, self._behind)
        return True

    def begin(self, item: Counted) -> None:
        """An item was taken from the source."""
        self._enter(item, self._behind if self.gate is None else self._before)

    def go_back(self, item: Counted, to: int) -> None:
        """An item goes back to stage ``to``.

        If it will pass the gate again, it gives back its place behind the gate.
        """
        if self.gate is not None and to <= self.gate and item.place is self._behind:
            self.leave(item)
            self._enter(item, self._before)

    def leave(self, item: Counted, *, is_written: bool = False) -> None:
        """Take an item's place away, if it has one."""
        with self._lock:
            if item.place is not None:
                item.place.taken -= 1
                item.place = None
            self.written += is_written
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            is_reached = self.missing <= 0 and not self._was_reached
            self._was_reached = self._was_reached or is_reached
        for wake in waiting:
            wake()
        if is_reached:
            self.reached()

    def _has_room(self, place: Place, wake: Wake) -> bool:
        with self._lock:
            if place.taken < self.missing:
                return True
            self._waiting[wake] = None
            return False

    def _enter(self, item: Counted, place: Place) -> None:
        with self._lock:
            place.taken += 1
        item.place = place
