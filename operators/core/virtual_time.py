"""Virtual time: a scheduler and a clock whose time jumps from event to event."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from datetime import datetime
from itertools import repeat
from typing import Any

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable
from reactivex.scheduler import VirtualTimeScheduler

from .clock import FOREVER


class Event(DisposableBase):
    """An action at a time, unless it is disposed before."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], object]) -> None:
        self.action: Callable[[], object] | None = action

    def dispose(self) -> None:
        """Cancel the action."""
        self.action = None


class VirtualTime(VirtualTimeScheduler):
    """A scheduler in virtual time, with one heap of events. It costs a tenth of a ``TestScheduler``.

    ::

        time = VirtualTime()
        run = pipeline.start(range(1000), scheduler=time)
        time.run()

    Times are float seconds from 0. Events of the same time happen in the order of their scheduling. The scheduler, and
    all code in its time, must run on one thread.

    Attributes:
        seconds: The time.
    """

    def __init__(self) -> None:
        super().__init__(0.0)
        self.seconds = 0.0
        self._events: list[tuple[float, int, Event]] = []
        self._count = 0

    @property
    def now(self) -> datetime:
        """The time for reactivex, as a date from 1970 on."""
        return self.to_datetime(self.seconds)

    @property
    def virtual_clock(self) -> VirtualClock:
        """Returns a clock with this time."""
        return VirtualClock(self)

    def at(self, seconds: float, action: Callable[[], object]) -> Event:
        """Run an action at a time; now, if that time has passed."""
        event = Event(action)
        self._count += 1
        heapq.heappush(self._events, (max(self.seconds, seconds), self._count, event))
        return event

    def schedule(self, action: Any, state: Any = None) -> DisposableBase:
        """Run an action now, after those that are due."""
        return self.schedule_relative(0.0, action, state)

    def schedule_relative(self, duetime: Any, action: Any, state: Any = None) -> DisposableBase:
        """Run an action after a delay."""
        return self.at(self.seconds + self.to_seconds(duetime), lambda: action(self, state))

    def schedule_absolute(self, duetime: Any, action: Any, state: Any = None) -> DisposableBase:
        """Run an action at a time."""
        return self.at(self.to_seconds(duetime), lambda: action(self, state))

    def run(self, until: float = math.inf, *, most: int | None = None) -> bool:
        """Run all events that are due by a time, or at most ``most`` of them.

        Returns:
            True if events are left.
        """
        events, pop = self._events, heapq.heappop
        for _ in repeat(None) if most is None else repeat(None, most):
            if not events or events[0][0] > until:
                break
            self.seconds, _, event = pop(events)
            if event.action is not None:
                event.action()
        else:
            return bool(events)
        if until < math.inf:
            self.seconds = max(self.seconds, until)
        return bool(events)


class VirtualClock:
    """The clock of ``VirtualTime``."""

    __slots__ = ("_time",)

    def __init__(self, time: VirtualTime) -> None:
        self._time = time

    def now(self) -> float:
        """Returns the time."""
        return self._time.seconds

    def call_later(self, seconds: float, action: Callable[[], None]) -> DisposableBase:
        """Call ``action`` after this many seconds."""
        return Disposable() if seconds > FOREVER else self._time.at(self._time.seconds + seconds, action)
