"""Where a mailbox is emptied: on an event loop, a scheduler's thread, a thread of its own, or by whoever runs calls."""

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
    """Empties a mailbox for those who must not do so themselves."""

    def is_here(self) -> bool:
        """Whether the caller may empty the mailbox itself."""
        ...

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run ``action`` where the mailbox is emptied; from any thread."""
        ...

    def close(self) -> None:
        """The mailbox is needed no more; may be called more than once."""
        ...


class LoopDispatcher:
    """An event loop. A background loop does not end before its dispatchers are closed.

    Attributes:
        thread: The identity of its thread; below 0 if it is not known yet.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._context = call_context()
        self.thread = get_ident() if running_loop() is loop else -1
        self.close = BACKGROUND_LOOP.hold(loop)

    def is_here(self) -> bool:
        """Whether the loop runs here."""
        return get_ident() == self.thread

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run ``action`` on the loop; or here if the loop is closed, so that what is left is freed."""
        try:
            # Not in the context of the caller, which may be a call's.
            self._loop.call_soon_threadsafe(action, context=self._context.copy())
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            action()


class SchedulerDispatcher:
    """A reactivex scheduler."""

    def __init__(self, scheduler: SchedulerBase) -> None:
        self._scheduler = scheduler

    def is_here(self) -> bool:
        """Nobody knows: a scheduler does not tell where it runs."""
        return False

    def call_soon(self, action: Callable[[], None]) -> None:
        """Schedule ``action``."""

        def run(scheduler: SchedulerBase, state: Any = None) -> None:
            guarded(action)

        self._scheduler.schedule(run)

    def close(self) -> None:
        """Nothing to free: the scheduler is its owner's."""


class OneThread:
    """The only thread that there is, as in ``VirtualTime``."""

    def is_here(self) -> bool:
        """Always."""
        return True

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run ``action``."""
        action()

    def close(self) -> None:
        """Nothing to free."""


class RelayDispatcher:
    """A daemon thread, where calls run on threads of others.

    A process pool calls back on the one thread that manages all of its workers.
    """

    def __init__(self, name: str) -> None:
        self._actions: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._context = call_context()
        threading.Thread(target=self._serve, name=f"rxpipe-{name}-relay", daemon=True).start()

    def is_here(self) -> bool:
        """Whether this is the relay thread, or another that runs calls."""
        return worker_is_free()

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run ``action`` on the relay thread."""
        self._actions.put(action)

    def close(self) -> None:
        """End the thread after what it has been given."""
        self._actions.put(None)

    def _serve(self) -> None:
        while (action := self._actions.get()) is not None:
            worker = HERE.worker = Worker(self._context.copy())
            worker.context.run(guarded, action)


def running_loop_dispatcher() -> LoopDispatcher | None:
    """The running event loop, so that whoever subscribes on a loop is notified there; else ``None``.

    Raises:
        RuntimeError: ``Observable.run()`` is blocking the loop.
    """
    loop = running_loop()
    if loop is None:
        return None
    refuse_to_block()
    return LoopDispatcher(loop)
