"""Virtual time for whole pipelines: a clock that jumps from event to event, and calls that take drawn seconds."""

from __future__ import annotations

import math
from asyncio import CancelledError
from collections.abc import Callable
from typing import Any

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxpipe.operators.core.virtual_time import VirtualTime
from rxpipe.operators.core.worker import Call, Function


class DrawnCalls:
    """An executor in virtual time: a call takes the seconds that are drawn for it, and may fail."""

    queues = False
    cancels = True
    width = math.inf

    def __init__(self, time: VirtualTime, draw: Callable[[], tuple[float, BaseException | None]]) -> None:
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

        event = self._time.at(self._time.seconds + seconds, end)

        def cancel() -> None:
            event.dispose()
            self._time.at(self._time.seconds, lambda: call.done(False, CancelledError()))

        return Disposable(cancel)

    def close(self) -> None:
        """Nothing to free."""
