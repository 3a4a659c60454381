"""The items of one run that are on their way."""

from __future__ import annotations

import threading
from typing import Any

from rxpipe.errors import SinkError
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.run.item import Item


class InFlightItems:
    """All items on their way, from their taking or making to their end. From any thread.

    Attributes:
        count: Number of items on their way.
        most: The highest ``count`` so far.
        entered: Number of all items so far.
        spawned: Number of children among these.
    """

    def __init__(self) -> None:
        self.count = self.most = self.entered = self.spawned = 0
        self._items: dict[int | str, Item] = {}
        self._others: dict[int | str, list[Item]] = {}  # further items with the ID of one of those
        self._is_over = False
        self._lock = threading.Lock()

    def add(self, item: Item) -> bool:
        """Add an item. Returns False if the run is over."""
        with self._lock:
            if self._is_over:
                return False
            if self._items.setdefault(item.id, item) is not item:
                self._others.setdefault(item.id, []).append(item)
            self.count += 1
            self.entered += 1
            self.spawned += item.parent is not None
            if self.count > self.most:
                self.most = self.count
        return True

    def take_out(self, outcome: Outcome[Any]) -> Item | None:
        """Remove and return the item that has ended with this outcome; None if the run is over.

        Raises:
            SinkError: There is no such item.
        """
        with self._lock:
            if self._is_over:
                return None
            item = self._items.pop(outcome.id, None)
            if item is None:
                raise SinkError(f"the sink gave back an outcome that it was not given: {outcome.id!r}")
            if outcome.id in self._others:
                item = self._one_of(item, outcome)
            self.count -= 1
        return item

    def _one_of(self, first: Item, outcome: Outcome[Any]) -> Item:
        """Returns one of several items with the same ID that was given to the sink, if possible with the same parent.

        The other items stay.
        """
        items = [first, *self._others.pop(outcome.id)]
        item = max(items, key=lambda one: (one.is_in_sink, one.parent_id == outcome.parent))
        items.remove(item)
        self._items[outcome.id] = items.pop(0)
        if items:
            self._others[outcome.id] = items
        return item

    def settled(self) -> list[Item]:
        """Returns the items that need no more calls, wherever they are."""
        return [item for item in self._all() if item.settled]

    @property
    def waiting_for_children(self) -> int:
        """Number of items that wait for their children."""
        return sum(item.waits_for_children for item in self._all())

    def _all(self) -> list[Item]:
        with self._lock:
            return self._listed()

    def _listed(self) -> list[Item]:
        return [*self._items.values(), *(item for items in self._others.values() for item in items)]

    def close(self) -> list[Item] | None:
        """Stop adding and removing. Returns the items that are there; None if it was closed before."""
        with self._lock:
            if self._is_over:
                return None
            self._is_over = True
            items = self._listed()
            self._items.clear()
            self._others.clear()
            self.count = 0
        return items
