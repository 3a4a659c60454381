"""The two ends of a run's stages: where IDs come in, and where items leave for the sink."""

from __future__ import annotations

import math
import reprlib
from collections import deque
from typing import Any, Protocol

import structlog
from reactivex.abc import ObserverBase

from rxpipe.errors import ConfigError
from rxpipe.item import Claim, Item
from rxpipe.operators.machine import Machine
from rxpipe.outcome import Outcome

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

_MANY_IDS = 100  # that wait to be taken; a source that pauses has one


class Counts(Protocol):
    """What the ends tell of items: a run."""

    def take(self, taken: int | str | Claim) -> Item | None:
        """An ID was taken from the source; ``None`` if it came too late to be."""
        ...

    def left(self, item: Item) -> None:
        """An item leaves for the sink, and makes room for another."""
        ...

    def outcome(self, item: Item) -> Outcome[Any]:
        """How an item has left the stages."""
        ...

    def settled(self) -> list[Item]:
        """Items that need no more calls, wherever they are on their way."""
        ...

    def fail(self, error: Exception) -> None:
        """Let the run fail with this, when all items have ended."""
        ...


def check_id(value: Any) -> ConfigError | None:
    """What is wrong with an ID, if anything."""
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return None
    shown = f"{reprlib.repr(value)} ({type(value).__name__})"
    return ConfigError(f"source: an ID must be an int or a str, not {shown}")


class Intake(Machine[Any, Item]):
    """Where IDs come in: it takes one when there is room for it, and none once it is stopped."""

    def __init__(self, run: Counts, limit: float, ahead: int, observer: ObserverBase[Item]) -> None:
        super().__init__(observer, ahead, slack=max(1, ahead // 2))
        self._run = run
        self._limit = limit
        self._inside = 0
        self._ids: deque[int | str | Claim] = deque()
        self._warned = False

    def arrive(self, value: Any) -> None:
        """Queue an ID."""
        if self.source_done:
            return
        error = None if isinstance(value, Claim) else check_id(value)
        if error is not None:
            self._upstream.dispose()
            self.source_failed(error)
            return
        self._ids.append(value)
        if len(self._ids) > _MANY_IDS and not self._warned:
            self._warned = True
            _log.warning(
                "source ignores backpressure, its IDs queue without bound",
                hint="use an iterable or rxpipe.from_iterable, or ops.overflow for a source that cannot pause",
            )

    def source_failed(self, error: Exception) -> None:
        """Let those that are taken finish before the run fails."""
        self._run.fail(error)
        self.source_completed()

    def stop(self) -> None:
        """Take no more; from any thread."""
        self._upstream.dispose()
        self.post(self._stop)

    def _stop(self) -> None:
        self._ids.clear()
        self.source_completed()

    def make_room(self) -> None:
        """An item has gone on to the sink; from any thread."""
        self.post(self._make_room)

    def _make_room(self) -> None:
        self._inside -= 1

    def advance(self) -> None:
        """Let IDs in."""
        while self._ids and not self.over and self._inside < self._limit and self.may_emit():
            item = self._run.take(self._ids.popleft())
            if item is None:
                self.keep()
                break
            self._inside += 1
            self.emit(item)
            self.gate.release()
        if self.source_done and not self._ids:
            self.end()

    def free(self) -> None:
        """Forget the IDs that were not taken."""
        self._ids.clear()


class Exit(Machine[Item, Outcome[Any]]):
    """Where items leave the stages, on their way to the sink."""

    def __init__(self, run: Counts, observer: ObserverBase[Outcome[Any]], *, staged: bool) -> None:
        super().__init__(observer, math.inf if staged else 1)
        self._run = run
        self._staged = staged
        self._items: deque[Item] = deque()

    def arrive(self, value: Item) -> None:
        """Take over an item."""
        if value.arrived:
            return
        value.arrived = True
        if value.given_back:  # it goes no further, and counts as cancelled in the end
            self._run.left(value)
            self.gate.release()
        else:
            self._items.append(value)

    def source_failed(self, error: Exception) -> None:
        """A stage cannot go on: what is finished is still written before the run fails."""
        self._run.fail(error)
        self._take_settled()

    def abort(self) -> None:
        """Cancel what is in the stages; from any thread."""
        self._upstream.dispose()
        self.post(self._take_settled)

    def _take_settled(self) -> None:
        """Let out items that a stage held back for want of room: their calls are done, and paid for."""
        for item in self._run.settled():
            self.arrive(item)
        self.source_completed()

    def advance(self) -> None:
        """Hand outcomes to the sink."""
        if self._staged and not self.source_done:
            return
        while self._items and not self.over and self.may_emit():
            item = self._items.popleft()
            self.emit(self._run.outcome(item))
            self._run.left(item)
            self.gate.release()
        if self.source_done and not self._items:
            self.end()

    def free(self) -> None:
        """Forget what was not handed over."""
        self._items.clear()
