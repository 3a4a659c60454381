"""``Submission``: one ID that was submitted to an open pipeline, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from rxpipe.operators.clock import running_loop
from rxpipe.outcome import Outcome


class Submission:
    """One ID that was submitted; awaiting it, or ``result()`` in threads, gives its outcome.

    It does not belong to whoever waits: a wait that is cancelled or times out does not disturb the item.

    Attributes:
        id: The ID.
    """

    __slots__ = ("_cancel", "_future", "id")

    def __init__(self, item_id: int | str, cancel: Callable[[Submission], bool]) -> None:
        self.id = item_id
        self._cancel = cancel
        self._future: Future[Outcome[Any]] = Future()

    def __await__(self) -> Generator[Any, None, Outcome[Any]]:
        """Wait for the outcome, on any event loop.

        Raises:
            PipelineClosed: The pipeline failed before the item had ended; its ``__cause__`` is why.
        """
        return self._outcome().__await__()

    async def _outcome(self) -> Outcome[Any]:
        if not self._future.done():
            loop = asyncio.get_running_loop()
            ended: asyncio.Future[None] = loop.create_future()
            self._future.add_done_callback(lambda _: _tell(loop, ended))
            await ended
        return self._future.result()

    def result(self, timeout: float | None = None) -> Outcome[Any]:
        """Wait for the outcome, in a thread.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            TimeoutError: It has not ended by then.
            PipelineClosed: The pipeline failed before the item had ended; its ``__cause__`` is why.
            RuntimeError: An event loop is running here, which must not be blocked.
        """
        if not self._future.done() and running_loop() is not None:
            raise RuntimeError("an event loop is running here: await the submission instead")
        return self._future.result(timeout)

    def done(self) -> bool:
        """Whether it has ended."""
        return self._future.done()

    def cancel(self) -> bool:
        """Have its item cancelled, unless others have submitted the same ID meanwhile; from any thread.

        A call that runs is cancelled, or abandoned if it is a thread's. The outcome tells what came of it: an item
        that had left the stages by then is still written.

        Returns:
            Whether it had not ended yet.
        """
        return self._cancel(self)

    def add_done_callback(self, callback: Callable[[Submission], object]) -> None:
        """Have ``callback`` called with it when it has ended, on the thread that ends it; or now, if it has."""
        self._future.add_done_callback(lambda _: callback(self))

    def end(self, outcome: Outcome[Any] | Exception) -> None:
        """Tell whoever waits; nothing if that was done before."""
        if self._future.done():
            return
        if isinstance(outcome, Exception):
            self._future.set_exception(outcome)
        else:
            self._future.set_result(outcome)


def _tell(loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
    if running_loop() is loop:
        _set(ended)
    else:
        with suppress(RuntimeError):  # the loop is closed: nobody waits there
            loop.call_soon_threadsafe(_set, ended)


def _set(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
