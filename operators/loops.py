"""The event loop for coroutine functions of whoever has none running: one thread, shared, alive while in use."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from .clock import running_loop, show_unhandled
from .threads import after_fork


class BackgroundLoop:
    """An event loop on a daemon thread, counted by its users: the first starts it, the last ends it.

    It is shared, so that the coroutine stages of a pipeline can share an HTTP client.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the loop and its users."""
        self._lock = threading.Lock()
        self._users: set[object] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing: set[threading.Thread] = set()

    def acquire(self) -> tuple[asyncio.AbstractEventLoop, Callable[[], None]]:
        """The running loop, and what to call when it is no longer needed; both from any thread."""
        user = object()
        with self._lock:
            self._users.add(user)
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._serve, args=(self._loop,), name="rxpipe-loop", daemon=True)
                self._thread.start()
            return self._loop, lambda: self._release(user)

    def _release(self, user: object) -> None:
        with self._lock:
            self._users.discard(user)
            if self._users or self._loop is None:
                return
            loop, self._loop = self._loop, None
            if self._thread is not None:
                self._closing.add(self._thread)
        loop.call_soon_threadsafe(loop.stop)

    def wait_closed(self, seconds: float) -> None:
        """Wait until what was open on loops that nobody uses any more is closed, such as connections; at most so long.

        Not to be called on the loop.
        """
        with self._lock:
            closing = list(self._closing)
        for thread in closing:
            thread.join(seconds)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            _serve(loop)
        finally:
            with self._lock:
                self._closing.discard(threading.current_thread())


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        _run(loop)
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run until the loop is stopped, whatever it raises: asyncio lets ``SystemExit`` out of a task of a user's."""
    while True:
        try:
            loop.run_forever()
        except BaseException as error:  # noqa: BLE001 - the loop goes on for the others
            show_unhandled(error)
        else:
            return


BACKGROUND_LOOP = BackgroundLoop()
after_fork(BACKGROUND_LOOP.reset)


def use_loop() -> tuple[asyncio.AbstractEventLoop, Callable[[], None]]:
    """The loop that is running here, else the background loop; and what to call when it is no longer needed."""
    loop = running_loop()
    return BACKGROUND_LOOP.acquire() if loop is None else (loop, _nothing)


def _nothing() -> None:
    pass
