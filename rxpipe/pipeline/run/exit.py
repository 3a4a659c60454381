"""The exit of the stages."""

from __future__ import annotations

import math
from collections import deque
from functools import partial
from typing import Any, Protocol

from reactivex.abc import ObserverBase

from rxpipe.operators.core.clock import Clock, guarded
from rxpipe.operators.core.machine import Machine
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.run.item import Item

_POLL = 0.005
_MOST_POLLS = 200


class Follows(Protocol):
    """The run, as the exit sees it."""

    clock: Clock

    @property
    def is_ending(self) -> bool:
        """True if calls that were cancelled have not ended yet."""
        ...

    def outcome(self, item: Item) -> Outcome[Any]:
        """Returns the outcome of an item that leaves the stages."""
        ...

    def left(self, item: Item) -> None:
        """An item leaves for the sink, or goes no further, and makes room for another item."""
        ...

    def settled(self) -> list[Item]:
        """Returns the items that need no more calls, wherever they are."""
        ...

    def fail(self, error: Exception) -> None:
        """Let the run fail with this error when all items have ended."""
        ...


class Exit(Machine[Item, Outcome[Any]]):
    """The exit of the stages: passes items to the sink."""

    def __init__(self, run: Follows, observer: ObserverBase[Outcome[Any]], *, staged: bool) -> None:
        super().__init__(observer, math.inf if staged else 1)
        self._run = run
        self._staged = staged
        self._items: deque[Item] = deque()
        self._polls = 0

    def arrive(self, value: Item) -> None:
        """Take an item."""
        if value.arrived:
            return
        value.arrived = True
        if value.given_back:  # it goes no further, and counts as cancelled in the end
            self._run.left(value)
            self.gate.release()
        elif self._items or self._staged or not self.may_emit():
            self._items.append(value)
        else:
            self._let_out(value)

    def readmit(self, item: Item) -> None:
        """Let an item out that no stage passes on. From any thread."""
        self.post(self._readmit, item)

    def _readmit(self, item: Item) -> None:
        if not self.over:
            self.gate.released -= 1
            self.arrive(item)

    def _let_out(self, item: Item) -> None:
        self.emit(self._run.outcome(item))
        self._run.left(item)
        self.gate.release()

    def source_failed(self, error: Exception) -> None:
        """A stage cannot go on. Finished items are still written before the run fails."""
        self._run.fail(error)
        self._take_settled()
        self.source_completed()

    def abort(self) -> None:
        """Cancel the items in the stages. From any thread."""
        guarded(self._upstream.dispose)
        self.post(self._take_settled)
        self.post(self._complete)

    def _complete(self) -> None:
        """Wait one second at most for cancelled calls, which may still report their usage."""
        if self._run.is_ending and self._polls < _MOST_POLLS:
            self._polls += 1
            self._run.clock.call_later(_POLL, partial(self.post, self._complete))
        else:
            self.source_completed()

    def _take_settled(self) -> None:
        """Let out items that a stage held back for lack of room. Their calls are done and paid for."""
        for item in self._run.settled():
            self.arrive(item)

    def advance(self) -> None:
        """Hand outcomes to the sink."""
        if self._staged and not self.source_done:
            return
        while self._items and not self.over and self.may_emit():
            self._let_out(self._items.popleft())
        if self.source_done and not self._items:
            self.end()

    def free(self) -> None:
        """Forget the outcomes that were not handed over."""
        self._items.clear()
