"""Refuses ``Observable.run()`` on a running event loop: it would block the loop that has to deliver its results."""

from __future__ import annotations

import asyncio
import sys
from types import CodeType, FrameType

import reactivex.run

from .clock import running_loop

_RUN: CodeType = reactivex.run.run.__code__
_LOOP: CodeType = asyncio.Handle._run.__code__  # pyright: ignore[reportPrivateUsage] - what a loop calls is below it


_INSTEAD = "`await observable` instead, or `async for item in rxpipe.to_async_iterable(observable)`"


def refuse_to_block(instead: str = _INSTEAD) -> None:
    """Raise if ``Observable.run()`` is blocking the event loop of this thread.

    Called before something waits for that loop. The wait would never end: ``run()`` lets sources emit on a thread of
    its own, but subscribers on a loop are notified on that loop.

    Args:
        instead: The code to suggest instead.

    Raises:
        RuntimeError: ``run()`` is blocking the loop.
    """
    if running_loop() is None:
        return
    frame: FrameType | None = sys._getframe()  # pyright: ignore[reportPrivateUsage] - the stack alone tells who waits for this thread
    while frame is not None and frame.f_code is not _LOOP:
        if frame.f_code is _RUN:
            raise RuntimeError(
                f"an event loop is running on this thread, and .run() would block it for ever: write {instead}"
            )
        frame = frame.f_back
