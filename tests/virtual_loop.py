"""An event loop in virtual time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable

_LIMIT = 20.0  # seconds until something that has not happened counts as never


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while anything can run, then jumps to the next timer."""

    def __init__(self) -> None:
        self._time = 0.0
        super().__init__(_JumpingSelector(self._jump))

    def time(self) -> float:
        return self._time

    def _jump(self) -> None:
        timers: list[asyncio.TimerHandle] = getattr(self, "_scheduled")  # noqa: B009 - not in the type stubs
        self._time = max(self._time, timers[0].when())


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, jump: Callable[[], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(_LIMIT if timeout is None else 0)
        if not events and timeout is None:
            raise AssertionError("the loop waits for ever")
        if not events and timeout is not None and timeout > 0:
            self._jump()
        return events
