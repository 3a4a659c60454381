"""IDs of a source, on their way to the thread that claims items for them."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import structlog
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxpipe.operators.core.gate import Gate, announcing
from rxpipe.pipeline.record import Record, check_id

MOST = 500  # IDs that wait

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class SourceIds(ObserverBase[Any]):
    """IDs of a source, which pauses while many wait; taken by a thread that may wait for them.

    Attributes:
        taken: IDs taken out so far.
        ended: Whether no more will come.
        empty: Whether none is there now.
        closed: Whether nobody wants any more.
        error: What the source failed with.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.closed = False
        self.error: Exception | None = None
        self._gate = Gate(MOST, slack=MOST // 2)
        self._ids: deque[int | str | Record] = deque()
        self._done = False
        self._warned = False
        self._is_woken = False
        self._changed = threading.Condition()

    @property
    def ended(self) -> bool:
        """Whether no more will come, and none waits."""
        return self._done and not self._ids

    @property
    def empty(self) -> bool:
        """Whether none waits now."""
        return not self._ids

    def subscribe_to(self, ids: Observable[Any], scheduler: SchedulerBase | None) -> DisposableBase:
        """Take IDs from a source, which pauses while many wait."""
        with announcing(self._gate):
            return ids.subscribe(self, scheduler=scheduler)

    def on_next(self, value: Any) -> None:
        """Queue an ID; what is none ends the source."""
        self._gate.admitted += 1
        error = check_id(value)
        if error is not None:
            self.on_error(error)
            return
        with self._changed:
            if self._done:
                return
            given: int | str | Record = value
            self._ids.append(given if isinstance(given, Record) else plain_id(given))
            self._changed.notify_all()
            warn, self._warned = (
                len(self._ids) > 2 * MOST and not self._warned,
                self._warned or len(self._ids) > 2 * MOST,
            )
        if warn:
            _log.warning(
                "source ignores backpressure, its IDs queue without bound",
                hint="use an iterable or rxpipe.from_iterable, or ops.overflow for a source that cannot pause",
            )

    def on_error(self, error: Exception) -> None:
        """Keep the source's error; the IDs that wait are still given."""
        with self._changed:
            if not self._done:
                self.error = error
                self._done = True
                self._changed.notify_all()

    def on_completed(self) -> None:
        """Note that no more will come."""
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def take(self, most: int, seconds: float) -> list[int | str | Record]:
        """Up to so many IDs: those that are there, or the next one if it comes in time and nobody wakes it before."""
        with self._changed:
            self._changed.wait_for(lambda: self._ids or self._done or self.closed or self._is_woken, seconds)
            self._is_woken = False
            ids = [self._ids.popleft() for _ in range(min(most, len(self._ids)))]
            self.taken += len(ids)
        for _ in ids:
            self._gate.release()
        return ids

    def pause(self, seconds: float) -> None:
        """Wait, unless it is closed meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed, seconds)

    def wait(self, seconds: float) -> None:
        """Wait, unless it is woken or closed meanwhile, or was woken since it last waited."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or self._is_woken, seconds)
            self._is_woken = False

    def wake(self) -> None:
        """There may be something to do elsewhere: end the wait, or the next one; from any thread."""
        with self._changed:
            self._is_woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """Wake whoever waits for IDs: nobody wants any more."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()


def plain_id(value: int | str) -> int | str:
    """An ID that is no enum of IDs."""
    return int(value) if isinstance(value, int) else str.__str__(value)
