"""Buffers IDs of a source for the thread that claims items for them."""

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
    """IDs of a source, which pauses while many wait. A thread takes them, and may wait for them.

    Attributes:
        taken: IDs taken out so far.
        ended: True if no more IDs will come and none waits.
        empty: True if no ID waits now.
        closed: True if nobody wants IDs any more.
        error: The error that the source failed with.
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
        """True if no more IDs will come and none waits."""
        return self._done and not self._ids

    @property
    def empty(self) -> bool:
        """True if no ID waits now."""
        return not self._ids

    def subscribe_to(self, ids: Observable[Any], scheduler: SchedulerBase | None) -> DisposableBase:
        """Take IDs from a source, which pauses while many wait."""
        with announcing(self._gate):
            return ids.subscribe(self, scheduler=scheduler)

    def on_next(self, value: Any) -> None:
        """Queue an ID. A value that is no ID ends the source."""
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
        """Keep the source's error. The IDs that wait are still given."""
        with self._changed:
            if not self._done:
                self.error = error
                self._done = True
                self._changed.notify_all()

    def on_completed(self) -> None:
        """Record that no more IDs will come."""
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def take(self, most: int, seconds: float) -> list[int | str | Record]:
        """Returns up to ``most`` IDs.

        Those that wait, or the next one if it comes within ``seconds`` and before a wakeup.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ids or self._done or self.closed or self._is_woken, seconds)
            self._is_woken = False
            ids = [self._ids.popleft() for _ in range(min(most, len(self._ids)))]
            self.taken += len(ids)
        for _ in ids:
            self._gate.release()
        return ids

    def pause(self, seconds: float) -> None:
        """Wait for ``seconds``, or until the buffer is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed, seconds)

    def wait(self, seconds: float) -> None:
        """Wait for ``seconds``, or until the next wakeup or the close. A wakeup since the last wait counts."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or self._is_woken, seconds)
            self._is_woken = False

    def wake(self) -> None:
        """End the current wait, or the next one: there may be work elsewhere. From any thread."""
        with self._changed:
            self._is_woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """Wake the thread that waits for IDs: nobody wants them any more."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()


def plain_id(value: int | str) -> int | str:
    """Returns an ID as a plain int or str, not as an enum."""
    return int(value) if isinstance(value, int) else str.__str__(value)
