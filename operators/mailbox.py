"""Messages to an operator, handled one at a time: threads, event loops and virtual time share this one path."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import get_ident
from typing import Any, Protocol

from reactivex.abc import SchedulerBase

from .clock import guarded, running_loop


class Home(Protocol):
    """The one place where a mailbox is emptied.

    Attributes:
        thread: The identity of its thread; 0 if it has none of its own.
    """

    thread: int

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run ``action`` there; from any thread."""
        ...


class Mailbox:
    """Whoever finds the mailbox idle takes a flag under a short lock, and empties it outside of the lock.

    Handlers never overlap, and neither they nor what they call run under a lock. Any thread may empty it.

    No message is left behind: a sender puts it in before it looks at the flag, and whoever empties the mailbox
    lowers the flag before looking into it a last time.
    """

    __slots__ = ("_advance", "_busy", "_lock", "_messages")

    def __init__(self, advance: Callable[[], None]) -> None:
        """Make an empty mailbox; ``advance`` is called whenever all messages have been handled."""
        self._advance = advance
        self._lock = threading.Lock()
        self._messages: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._busy = False

    def post(self, handler: Callable[..., None], *args: Any) -> None:
        """Have ``handler(*args)`` called: at once if the mailbox is idle, else by whoever is emptying it."""
        self._messages.append((handler, args))
        if not self._busy and self._begin():
            self._empty()

    def _begin(self) -> bool:
        with self._lock:
            if self._busy:
                return False
            self._busy = True
            return True

    def _empty(self) -> None:
        messages = self._messages
        failure: BaseException | None = None
        while True:
            try:
                while messages:
                    handler, args = messages.popleft()
                    handler(*args)
                self._advance()
            except BaseException as error:  # noqa: BLE001 - raised again below, when no message is left behind
                failure = failure or error
            if messages:
                continue
            self._busy = False
            if not messages or not self._begin():
                break
        if failure is not None:
            raise failure


class HomeMailbox(Mailbox):
    """A mailbox that is emptied in one place; messages from elsewhere are carried there first."""

    __slots__ = ("_home", "_summoned", "_thread")

    def __init__(self, advance: Callable[[], None], home: Home) -> None:
        super().__init__(advance)
        self._home = home
        self._thread = home.thread
        self._summoned = False

    def post(self, handler: Callable[..., None], *args: Any) -> None:
        """Have ``handler(*args)`` called at home: at once if the caller is there and the mailbox idle."""
        self._messages.append((handler, args))
        if get_ident() != self._thread:
            with self._lock:
                if self._summoned:
                    return
                self._summoned = True
            self._home.call_soon(self._come)
        elif not self._busy:
            self._busy = True
            self._empty()

    def _come(self) -> None:
        with self._lock:
            self._summoned = False
        if self._begin():
            self._empty()


class LoopHome:
    """An event loop as home; to be made on its thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.thread = get_ident()

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run ``action`` on the loop; or here if the loop is closed, so that what is left is freed."""
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            action()


class SchedulerHome:
    """A reactivex scheduler as home."""

    thread = 0

    def __init__(self, scheduler: SchedulerBase) -> None:
        self._scheduler = scheduler

    def call_soon(self, action: Callable[[], None]) -> None:
        """Schedule ``action``."""

        def run(scheduler: SchedulerBase, state: Any = None) -> None:
            guarded(action)

        self._scheduler.schedule(run)


class RelayHome:
    """A daemon thread as home, for executors whose callbacks come on a thread that must not be kept.

    A process pool calls back on the one thread that manages all of its workers.
    """

    def __init__(self, name: str) -> None:
        self._actions: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        thread = threading.Thread(target=self._serve, name=f"rxpipe-{name}-relay", daemon=True)
        thread.start()
        self.thread = thread.ident or 0

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run ``action`` on the relay thread."""
        self._actions.put(action)

    def close(self) -> None:
        """End the thread after what it has been given."""
        self._actions.put(None)

    def _serve(self) -> None:
        while (action := self._actions.get()) is not None:
            guarded(action)


def running_loop_home() -> LoopHome | None:
    """The running event loop as home, so that whoever subscribes on a loop is notified there; else ``None``."""
    loop = running_loop()
    return None if loop is None else LoopHome(loop)
