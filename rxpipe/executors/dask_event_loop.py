"""The event loop of a Dask client. Dask's own threads outlast clients that could not connect."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from tornado.ioloop import IOLoop

T = TypeVar("T")

_PATIENCE = 10.0  # seconds to wait for the end of its thread


class DaskLoop:
    """An event loop on a thread of its own, until it is closed.

    Attributes:
        io_loop: The loop in Dask's form.
    """

    def __init__(self) -> None:
        started: Future[tuple[IOLoop, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=_run, args=(started,), name="rxpipe-dask", daemon=True)
        self._thread.start()
        self.io_loop, self._loop, self._over = started.result()

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop, from any thread. Cancelling the future ends the coroutine."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        """Run a coroutine on the loop, from another thread, and wait for it.

        Args:
            coroutine: The coroutine.
            timeout: Seconds to wait.

        Raises:
            TimeoutError: The coroutine took longer. It is cancelled.
        """
        running = self.spawn(coroutine)
        try:
            return running.result(timeout)
        except TimeoutError:
            running.cancel()
            raise

    def call_soon(self, action: Callable[..., object], *arguments: Any) -> None:
        """Call a function on the loop, from any thread.

        Raises:
            RuntimeError: The loop is closed.
        """
        self._loop.call_soon_threadsafe(action, *arguments)

    def close(self) -> None:
        """End the loop."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_PATIENCE)


def _run(started: Future[tuple[IOLoop, asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    async def serve() -> None:
        over = asyncio.Event()
        started.set_result((IOLoop.current(), asyncio.get_running_loop(), over))
        await over.wait()

    asyncio.run(serve())
