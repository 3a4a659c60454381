"""The server of simulated calls: how load slows it down, and how many calls it runs at once."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable

from reactivex.abc import DisposableBase

from rxpipe.foresight.calls.load import Load
from rxpipe.foresight.calls.refusals import Bucket, Rate
from rxpipe.operators.core.virtual_time import Event, VirtualTime


class Server:
    """Runs calls in virtual time. Each call has some seconds of work, and ends when its work is done.

    All running calls have the same speed, which depends on their number (processor sharing). So one number tells the
    work done for each call since the beginning. Each call has a mark at which its work is done, and the next call to
    end is the one with the lowest mark.

    Attributes:
        bucket: The bucket that limits accepted calls; None if the server accepts all.
    """

    def __init__(
        self,
        time: VirtualTime,
        load: Load | None = None,
        *,
        slots: float = math.inf,
        rate: Rate | None = None,
    ) -> None:
        """Creates a server.

        Args:
            time: The virtual time.
            load: How the server slows down under load; None if it does not.
            slots: How many calls the server runs at once. Further calls wait in the order in which they came.
            rate: The rate beyond which the server refuses calls; None if it refuses none.
        """
        self.bucket = None if rate is None else Bucket(rate, lambda: time.seconds)
        self._time = time
        self._load = load
        self._slots = slots
        self._is_plain = load is None and slots == math.inf
        self._waiting: deque[_Work] = deque()
        self._running: list[tuple[float, int, _Work]] = []  # ordered by the mark at which the work is done
        self._count = 0  # calls in the heap that were not cancelled
        self._numbers = 0
        self._mark = 0.0  # seconds of work done for a call that has been running from the beginning
        self._at = 0.0  # the time of that mark
        self._next: Event | None = None

    def start(self, seconds: float, end: Callable[[], object]) -> DisposableBase:
        """Starts a call with ``seconds`` of work. Disposing the result removes the call."""
        if self._is_plain:
            return self._time.at(self._time.seconds + seconds, end) if seconds < math.inf else Event(end)
        work = _Work(self, seconds, end)
        self._advance()
        if self._count < self._slots:
            self._begin(work)
        else:
            self._waiting.append(work)
        self._set_alarm()
        return work

    def _begin(self, work: _Work) -> None:
        work.is_running = True
        self._count += 1
        self._numbers += 1
        heapq.heappush(self._running, (self._mark + work.seconds, self._numbers, work))

    def _advance(self) -> None:
        """Does the work up to now."""
        now = self._time.seconds
        self._mark += (now - self._at) * self._speed()
        self._at = now

    def _speed(self) -> float:
        return 1.0 if self._load is None else self._load.speed(self._count)

    def _set_alarm(self) -> None:
        if self._next is not None:
            self._next.dispose()
            self._next = None
        while self._running and self._running[0][2].is_over:
            heapq.heappop(self._running)
        if self._running and (mark := self._running[0][0]) < math.inf:
            left = max(0.0, mark - self._mark) / self._speed()
            self._next = self._time.at(self._time.seconds + left, self._ring)

    def _ring(self) -> None:
        """Ends the call whose work is done first."""
        self._next = None
        self._advance()
        mark, _, work = heapq.heappop(self._running)
        self._mark = max(self._mark, mark)
        self._free(work)
        work.end()

    def leave(self, work: _Work) -> None:
        """Removes a call."""
        if work.is_over:
            return
        self._advance()
        if work.is_running:
            self._free(work)
        else:
            work.is_over = True
            self._waiting.remove(work)

    def _free(self, work: _Work) -> None:
        work.is_over = True
        self._count -= 1
        if self._waiting:
            self._begin(self._waiting.popleft())
        self._set_alarm()


class _Work(DisposableBase):
    __slots__ = ("_server", "end", "is_over", "is_running", "seconds")

    def __init__(self, server: Server, seconds: float, end: Callable[[], object]) -> None:
        self._server = server
        self.seconds = seconds
        self.end = end
        self.is_running = self.is_over = False

    def dispose(self) -> None:
        self._server.leave(self)
