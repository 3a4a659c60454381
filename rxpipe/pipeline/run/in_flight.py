"""The items of one run that are on their way."""

from __future__ import annotations

import threading
from typing import Any

from rxpipe.errors import SinkError
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.run.item import Item


class InFlightItems:
    """Items from when they are taken or made until they have ended; from any thread.

    Attributes:
        count: How many there are.
        most: The most that there were at once.
        entered: How many there were in all.
        spawned: How many of those a stage has made.
    """

    def __init__(self) -> None:
        self.count = self.most = self.entered = self.spawned = 0
        self._items: dict[int | str, list[Item]] = {}
        self._is_over = False
        self._lock = threading.Lock()

    def add(self, item: Item) -> bool:
        """One more is on its way; false if the run is over."""
        with self._lock:
            if self._is_over:
                return False
            self._items.setdefault(item.id, []).append(item)
            self.count += 1
            self.entered += 1
            self.spawned += item.parent is not None
            if self.count > self.most:
                self.most = self.count
        return True

    def take_out(self, outcome: Outcome[Any]) -> Item | None:
        """The item that has ended so, which is on its way no more; None if the run is over.

        Raises:
            SinkError: There is none.
        """
        with self._lock:
            if self._is_over:
                return None
            items = self._items.get(outcome.id)
            if not items:
                raise SinkError(f"the sink gave back an outcome that it was not given: {outcome.id!r}")
            if len(items) == 1:
                item = items[0]
                del self._items[outcome.id]
            else:  # of those with the same ID, one that the sink was given; rather of the same parent
                item = max(items, key=lambda one: (one.is_in_sink, one.parent_id == outcome.parent))
                items.remove(item)
            self.count -= 1
        return item

    def settled(self) -> list[Item]:
        """Items that need no more calls, wherever they are on their way."""
        return [item for item in self._all() if item.settled]

    @property
    def waiting_for_children(self) -> int:
        """Items that wait for their children."""
        return sum(item.waits_for_children for item in self._all())

    def _all(self) -> list[Item]:
        with self._lock:
            return [item for items in self._items.values() for item in items]

    def close(self) -> list[Item] | None:
        """Let none in or out any more; those that are there. None if it was closed before."""
        with self._lock:
            if self._is_over:
                return None
            self._is_over = True
            items = [item for items in self._items.values() for item in items]
            self._items.clear()
            self.count = 0
        return items
