"""Virtual time for whole pipelines: a clock that jumps from event to event, and calls that take drawn seconds."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Any

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable
from reactivex.scheduler import VirtualTimeScheduler

from rxpipe.operators.core.worker import Call, Function

Cell = list[Callable[[], object]]  # what is to be done, unless that was disposed of


class HeapTime(VirtualTimeScheduler):
    """A scheduler in virtual time, in plain seconds; quicker than a ``TestScheduler``, and never ahead of events."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.seconds = 0.0
        self._due: list[tuple[float, int, Cell]] = []
        self._numbers = itertools.count()

    @property
    def now(self) -> Any:
        """The time."""
        return self.seconds

    def at(self, seconds: float, action: Callable[[], object]) -> Cell:
        """Do something at a time."""
        cell: Cell = [action]
        heapq.heappush(self._due, (max(self.seconds, seconds), next(self._numbers), cell))
        return cell

    def schedule(self, action: Any, state: Any = None) -> DisposableBase:
        """Do something now, behind what is due."""
        return self.schedule_relative(0.0, action, state)

    def schedule_relative(self, duetime: Any, action: Any, state: Any = None) -> DisposableBase:
        """Do something later."""
        return Disposable(self.at(self.seconds + float(duetime), lambda: action(self, state)).clear)

    def schedule_absolute(self, duetime: Any, action: Any, state: Any = None) -> DisposableBase:
        """Do something at a time."""
        return Disposable(self.at(float(duetime), lambda: action(self, state)).clear)

    def run(self, until: float = math.inf) -> bool:
        """Do all that is due until then; whether anything is left to do."""
        while self._due and self._due[0][0] <= until:
            self.seconds, _, cell = heapq.heappop(self._due)
            for action in cell:
                action()
        if until < math.inf:
            self.seconds = max(self.seconds, until)
        return bool(self._due)


class DrawnCalls:
    """An executor in virtual time: a call takes the seconds that are drawn for it, and may fail."""

    queues = False
    cancels = True
    width = math.inf

    def __init__(self, time: HeapTime, draw: Callable[[], tuple[float, BaseException | None]]) -> None:
        """Make calls.

        Args:
            time: The clock.
            draw: Gives the seconds of the next call, and its error if it fails.
        """
        self._time = time
        self._draw = draw

    def runner(self) -> DrawnCalls:
        """Itself."""
        return self

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase:
        """Start a call; its function is not called."""
        seconds, error = self._draw()

        def end() -> None:
            call.done(error is None, value if error is None else error)

        return Disposable(self._time.at(self._time.seconds + seconds, end).clear)

    def close(self) -> None:
        """Nothing to free."""
