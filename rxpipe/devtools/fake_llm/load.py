"""Load: calls that run at the same time slow each other down."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count


class SharedServer:
    """A server that shares itself evenly among its running calls (processor sharing).

    With n calls running, each runs at the speed min(1, slots / n). All have the same speed. So the work done for each
    call since the beginning of time is one number, the mark: a call is done when the mark has risen by its seconds. A
    call that comes, ends or goes only changes when the next call ends.

    Belongs to one event loop, and uses its time.
    """

    def __init__(self, slots: int) -> None:
        """Begin idle.

        Args:
            slots: Most calls at once that are not slowed down.
        """
        self._slots = slots
        self._running = 0
        self._mark = 0.0
        self._at = 0.0  # when the mark had this value
        self._ends: list[tuple[float, int, asyncio.Future[None]]] = []  # a heap; includes calls that have gone
        self._numbers = count()
        self._alarm: asyncio.TimerHandle | None = None

    async def serve(self, seconds: float) -> None:
        """Take as long as a call takes.

        Args:
            seconds: How long the call takes if it runs alone.
        """
        loop = asyncio.get_running_loop()
        self._advance(loop)
        done = loop.create_future()
        heapq.heappush(self._ends, (self._mark + seconds, next(self._numbers), done))
        self._running += 1
        self._set_alarm(loop)
        try:
            await done
        except asyncio.CancelledError:
            if done.cancelled():  # otherwise the call was done just before
                self._advance(loop, gone=1)
                self._set_alarm(loop)
            raise

    def _advance(self, loop: asyncio.AbstractEventLoop, gone: int = 0) -> None:
        """Raise the mark to its current value, call by call: each call that has ended made the others quicker.

        Args:
            loop: The loop whose time is used.
            gone: How many calls have just been cancelled.
        """
        now = loop.time()
        while self._ends:
            mark, _, done = self._ends[0]
            if not done.cancelled():
                ended_at = self._at + (mark - self._mark) / self._speed
                if ended_at > now:
                    break
                self._mark, self._at = mark, max(self._at, ended_at)
                self._running -= 1
                done.set_result(None)
            heapq.heappop(self._ends)
        self._mark += (now - self._at) * self._speed
        self._at = now
        self._running -= gone

    @property
    def _speed(self) -> float:
        return min(1.0, self._slots / self._running) if self._running else 1.0

    def _set_alarm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._ends and self._ends[0][2].cancelled():
            heapq.heappop(self._ends)
        if self._ends:
            left = max(0.0, self._ends[0][0] - self._mark) / self._speed
            self._alarm = loop.call_at(self._at + left, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._advance(loop)
        self._set_alarm(loop)
