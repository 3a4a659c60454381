"""Places where a mailbox is emptied: an event loop, a scheduler, a thread of its own, or the threads that run calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from threading import get_ident
from typing import Any, Protocol

from reactivex.abc import SchedulerBase

from .clock import guarded, running_loop
from .loop_guard import refuse_to_block
from .loops import BACKGROUND_LOOP
from .worker import HERE, Worker, call_context, worker_is_free


class Dispatcher(Protocol):
    """Empties a mailbox for threads that must not do so themselves."""

    def is_here(self) -> bool:
        """Returns True if the caller may empty the mailbox itself."""
        ...

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run ``action`` where the mailbox is emptied. From any thread."""
        ...

    def close(self) -> None:
        """The mailbox is no longer needed. May be called more than once."""
        ...


class LoopDispatcher:
    """Empties mailboxes on an event loop. A background loop does not end before its dispatchers are closed.

    Attributes:
        thread: The identity of the loop's thread; below 0 if not known yet.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._context = call_context()
        self.thread = get_ident() if running_loop() is loop else -1
        self.close = BACKGROUND_LOOP.hold(loop)

    def is_here(self) -> bool:
        """Returns True if the loop runs on this thread."""
        return get_ident() == self.thread

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run ``action`` on the loop; or here if the loop is closed, so that the remaining resources are freed."""
        try:
            # Not in the caller's context, which may be that of a call.
            self._loop.call_soon_threadsafe(action, context=self._context.copy())
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            action()


class SchedulerDispatcher:
    """Empties mailboxes on a reactivex scheduler."""

    def __init__(self, scheduler: SchedulerBase) -> None:
        self._scheduler = scheduler

    def is_here(self) -> bool:
        """Returns False: a scheduler does not tell where it runs."""
        return False

    def call_soon(self, action: Callable[[], None]) -> None:
        """Schedule ``action``."""

        def run(scheduler: SchedulerBase, state: Any = None) -> None:
            guarded(action)

        self._scheduler.schedule(run)

    def close(self) -> None:
        """Nothing to free: the owner closes the scheduler."""


class OneThread:
    """The only thread that exists, as in ``VirtualTime``."""

    def is_here(self) -> bool:
        """Returns True."""
        return True

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run ``action``."""
        action()

    def close(self) -> None:
        """Nothing to free."""


class RelayDispatcher:
    """Empties mailboxes on a daemon thread, if calls run on threads that are not ours.

    A process pool, for example, calls back on the one thread that manages all of its workers.
    """

    def __init__(self, name: str) -> None:
        self._actions: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._context = call_context()
        threading.Thread(target=self._serve, name=f"rxpipe-{name}-relay", daemon=True).start()

    def is_here(self) -> bool:
        """Returns True if this is the relay thread, or another thread that runs calls."""
        return worker_is_free()

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run ``action`` on the relay thread."""
        self._actions.put(action)

    def close(self) -> None:
        """End the thread after its waiting work."""
        self._actions.put(None)

    def _serve(self) -> None:
        while (action := self._actions.get()) is not None:
            worker = HERE.worker = Worker(self._context.copy())
            worker.context.run(guarded, action)


def running_loop_dispatcher() -> LoopDispatcher | None:
    """Returns a dispatcher for the running event loop, so that its subscribers are notified there; else ``None``.

    Raises:
        RuntimeError: ``Observable.run()`` is blocking the loop.
    """
    loop = running_loop()
    if loop is None:
        return None
    refuse_to_block()
    return LoopDispatcher(loop)
