"""The background event loop: runs coroutine functions where no loop is running.

One thread, shared, alive while in use.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .clock import running_loop, show_unhandled
from .threads import after_fork

Release = Callable[[], None]
T = TypeVar("T")


class _Served:
    """An event loop with a thread of its own.

    Attributes:
        loop: The loop.
        users: The users that need the loop.
        runs: True while the loop waits for work. False before it begins, and while it closes. Changed by its thread
            only.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.users: set[object] = set()
        self.runs = False


class BackgroundLoop:
    """An event loop on a daemon thread. The first user starts the loop, and it ends after the last user.

    The loop is shared, so that the coroutine stages of a pipeline can share an HTTP client.

    Each subscription on the loop is a user until it is over. Only the loop's own thread ends the loop, when no user is
    left. So a sequence that follows another one keeps the loop, even in these cases: the subscription comes between the
    release of the last user and the end of the loop; or it comes from a task that the end of the loop has cancelled.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all loops and their users."""
        self._changed = threading.Condition()
        self._served: dict[asyncio.AbstractEventLoop, _Served] = {}
        self._current: _Served | None = None  # for new users; the other loops are closing

    @property
    def users(self) -> int:
        """Number of users of all loops."""
        with self._changed:
            return sum(len(served.users) for served in self._served.values())

    def acquire(self) -> tuple[asyncio.AbstractEventLoop, Release]:
        """Returns the running loop, and a function that releases it. Both work from any thread."""
        with self._changed:
            served = self._current or self._begin()
            return served.loop, self._count(served)

    def hold(self, loop: asyncio.AbstractEventLoop) -> Release:
        """Add a user to a loop that is running here, or that another user holds.

        Returns:
            A function that releases the loop. The function does nothing if the loop is not one of these.
        """
        if loop not in self._served:
            return _nothing
        with self._changed:
            return self._count(self._served[loop])

    def _count(self, served: _Served) -> Release:
        user = object()
        served.users.add(user)
        self._changed.notify_all()
        return lambda: self._release(served, user)

    def _release(self, served: _Served, user: object) -> None:
        with self._changed:
            if user not in served.users or served.loop not in self._served:  # released before, or in another process
                return
            served.users.remove(user)
            if not served.users:
                served.loop.call_soon_threadsafe(_stop_if_unused, served)

    def wait_closed(self, seconds: float) -> None:
        """Wait until unused loops have closed their resources, such as connections; at most ``seconds`` seconds.

        Do not call this on the loop.
        """
        with self._changed:
            closing = [served for served in self._served.values() if not served.users]
            self._changed.wait_for(
                lambda: all(served.users or served.loop not in self._served for served in closing), seconds
            )

    def _begin(self) -> _Served:
        served = _Served()
        threading.Thread(target=self._serve, args=(served,), name="rxpipe-loop", daemon=True).start()
        self._current = self._served[served.loop] = served
        return served

    def _serve(self, served: _Served) -> None:
        loop = served.loop
        asyncio.set_event_loop(loop)
        try:
            while True:
                served.runs = True
                _run(loop)
                served.runs = False
                if self._retire(served):
                    _end_tasks(loop)
                    if not served.users:
                        return
        finally:
            asyncio.set_event_loop(None)
            loop.close()
            with self._changed:
                self._served.pop(loop, None)
                self._changed.notify_all()

    def _retire(self, served: _Served) -> bool:
        """Stop giving the loop to new users, unless the loop has users again."""
        with self._changed:
            if served.users:
                return False
            if self._current is served:
                self._current = None
            return True


def _stop_if_unused(served: _Served) -> None:
    if served.runs and not served.users:
        served.loop.stop()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run until the loop is stopped, whatever the loop raises: asyncio lets ``SystemExit`` out of a user's task."""
    while True:
        try:
            loop.run_forever()
        except BaseException as error:  # noqa: BLE001 - the loop goes on for the others
            show_unhandled(error)
        else:
            return


def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())


def run_on_loop(main: Coroutine[Any, Any, T], closing: float) -> T:
    """Run a coroutine like ``asyncio.run``, with a time limit for the end.

    ``asyncio.run`` waits for ever for tasks that ignore cancellation, for async generators that do not close, and for
    threads of the loop's own executor.

    Args:
        main: The coroutine to run.
        closing: Seconds that open resources have to close; 0 after Ctrl-C.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(main)
    except KeyboardInterrupt:
        closing = 0.0
        raise
    else:
        return result
    finally:
        ending = _close_what_is_open(closing)
        try:
            loop.run_until_complete(ending)
        finally:
            ending.close()  # after another Ctrl-C it may not have begun
            asyncio.set_event_loop(None)
            loop.close()


async def _close_what_is_open(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=seconds)
    await asyncio.wait([asyncio.ensure_future(loop.shutdown_asyncgens())], timeout=max(0.0, until - loop.time()))


BACKGROUND_LOOP = BackgroundLoop()
after_fork(BACKGROUND_LOOP.reset)


def use_loop() -> tuple[asyncio.AbstractEventLoop, Release]:
    """Returns the loop that is running here, else the background loop; and a function that releases the loop."""
    loop = running_loop()
    return BACKGROUND_LOOP.acquire() if loop is None else (loop, BACKGROUND_LOOP.hold(loop))


def hold_loop() -> Release:
    """Add a user to the loop that is running here, if any. Returns a function that releases the loop."""
    loop = running_loop()
    return _nothing if loop is None else BACKGROUND_LOOP.hold(loop)


def _nothing() -> None:
    pass
