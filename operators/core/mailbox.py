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

from .blocking import refuse_to_block
from .clock import guarded, running_loop
from .loops import BACKGROUND_LOOP
from .threads import taken_from
from .worker import HERE, Worker, call_context

Failed = Callable[[BaseException], None]


class Home(Protocol):
    """Where a mailbox is emptied.

    Attributes:
        shared: Whether any worker may empty the mailbox as well: a thread that is there to run calls.
    """

    shared: bool

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run ``action`` there; from any thread."""
        ...

    def close(self) -> None:
        """The mailbox is needed no more; may be called more than once."""
        ...


def _nothing() -> None:
    pass


class Mailbox:
    """Whoever finds the mailbox idle takes its baton, and handles messages until there are none.

    So handlers never overlap, and nobody waits: a sender that finds the baton gone leaves the message to its holder.
    None is left behind, as a sender puts it in before looking for the baton, and the holder looks into the mailbox
    once more after giving the baton back. Any thread may empty it.
    """

    __slots__ = ("_advance", "_baton", "_failed", "_messages")

    def __init__(self, advance: Callable[[], None], failed: Failed) -> None:
        """Make an empty mailbox.

        Args:
            advance: Called whenever all messages have been handled.
            failed: Called with what a handler or ``advance`` raised; must not raise.
        """
        self._advance = advance
        self._failed = failed
        self._baton = [None]  # one item, or none while somebody has it; pop and append are atomic
        self._messages: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    def post(self, handler: Callable[..., None], *args: Any) -> None:
        """Have ``handler(*args)`` called: at once if the mailbox is idle, else by whoever is emptying it."""
        self._messages.append((handler, args))
        self._empty()

    def post_last(self, handler: Callable[..., None]) -> None:
        """Have ``handler`` called, after which nothing goes downstream any more."""
        self.post(handler)

    def _empty(self) -> None:
        while self._messages and taken_from(self._baton):
            self._handle()
            self._baton.append(None)

    def _handle(self, handler: Callable[..., None] = _nothing, args: tuple[Any, ...] = ()) -> None:
        """Handle a message and then all that are there."""
        messages = self._messages
        while True:
            try:
                handler(*args)
                while messages:
                    handler, args = messages.popleft()
                    handler(*args)
                self._advance()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the rest must still be handled
                self._failed(error)
            if not messages:
                return
            handler, args = _nothing, ()


class HomeMailbox(Mailbox):
    """A mailbox that is emptied in one place, its home: messages are carried there."""

    __slots__ = ("_home", "_summons")

    def __init__(self, advance: Callable[[], None], failed: Failed, home: Home) -> None:
        super().__init__(advance, failed)
        self._home = home
        self._summons = [None]  # one item, or none while the home has been called and has not come

    def post(self, handler: Callable[..., None], *args: Any) -> None:
        """Have ``handler(*args)`` called at home."""
        self._messages.append((handler, args))
        self._summon()

    def _summon(self) -> None:
        if taken_from(self._summons):
            try:
                self._home.call_soon(self._come)
            except BaseException:  # raised again below
                self._summons.append(None)
                raise

    def _come(self) -> None:
        self._summons.append(None)
        self._empty()


class LoopMailbox(HomeMailbox):
    """A mailbox that is emptied on an event loop; messages from other threads are carried there first."""

    __slots__ = ("_busy", "_thread")

    def __init__(self, advance: Callable[[], None], failed: Failed, home: LoopHome) -> None:
        super().__init__(advance, failed, home)
        self._thread = home.thread
        self._busy = False

    def post(self, handler: Callable[..., None], *args: Any) -> None:
        """Have ``handler(*args)`` called on the loop: at once if the caller is there and the mailbox idle."""
        if get_ident() != self._thread:
            self._messages.append((handler, args))
            self._summon()
        elif self._busy or self._messages:
            self._messages.append((handler, args))
            self._empty()
        else:  # the same, without going through the messages
            self._busy = True
            self._handle(handler, args)
            self._busy = False

    def _empty(self) -> None:
        while self._messages and not self._busy:
            self._busy = True
            super()._empty()  # with the baton: once the loop is closed, several threads may come instead of it
            self._busy = False

    def _come(self) -> None:
        if self._thread < 0:
            self._thread = get_ident()
        super()._come()


class WorkersMailbox(HomeMailbox):
    """A mailbox that any worker empties; messages from other threads are carried home first.

    Whoever empties it runs what is downstream, for as long as messages come. A thread that subscribes, feeds a
    subject, or serves timers or a pool must not be kept by that, nor a worker in the middle of a call.
    """

    __slots__ = ()

    def post(self, handler: Callable[..., None], *args: Any) -> None:
        """Have ``handler(*args)`` called: at once if the caller is a free worker and the mailbox idle."""
        self._messages.append((handler, args))
        worker = HERE.worker
        if worker is not None and worker.call is None:
            self._empty()
        elif self._baton:
            self._summon()

    def post_last(self, handler: Callable[..., None]) -> None:
        """Have ``handler`` called, after which nothing goes downstream any more: so on any thread."""
        self._messages.append((handler, ()))
        self._empty()


def mailbox(advance: Callable[[], None], failed: Failed, home: Home | None) -> Mailbox:
    """A mailbox; without a home, any thread empties it."""
    if home is None:
        return Mailbox(advance, failed)
    if isinstance(home, LoopHome):
        return LoopMailbox(advance, failed, home)
    return WorkersMailbox(advance, failed, home) if home.shared else HomeMailbox(advance, failed, home)


class LoopHome:
    """An event loop as home. A background loop does not end before its homes are closed.

    Attributes:
        thread: The identity of its thread; below 0 if it is not known yet.
    """

    shared = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._context = call_context()
        self.thread = get_ident() if running_loop() is loop else -1
        self.close = BACKGROUND_LOOP.hold(loop)

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run ``action`` on the loop; or here if the loop is closed, so that what is left is freed."""
        try:
            # Not in the context of the caller, which may be a call's.
            self._loop.call_soon_threadsafe(action, context=self._context.copy())
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            action()


class SchedulerHome:
    """A reactivex scheduler as home."""

    shared = False

    def __init__(self, scheduler: SchedulerBase) -> None:
        self._scheduler = scheduler

    def call_soon(self, action: Callable[[], None]) -> None:
        """Schedule ``action``."""

        def run(scheduler: SchedulerBase, state: Any = None) -> None:
            guarded(action)

        self._scheduler.schedule(run)

    def close(self) -> None:
        """Nothing to free: the scheduler is its owner's."""


class RelayHome:
    """A daemon thread as home, where calls run on threads of others.

    A process pool calls back on the one thread that manages all of its workers.
    """

    shared = True

    def __init__(self, name: str) -> None:
        self._actions: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._context = call_context()
        threading.Thread(target=self._serve, name=f"rxpipe-{name}-relay", daemon=True).start()

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


def running_loop_home() -> LoopHome | None:
    """The running event loop as home, so that whoever subscribes on a loop is notified there; else ``None``.

    Raises:
        RuntimeError: ``Observable.run()`` is blocking the loop.
    """
    loop = running_loop()
    if loop is None:
        return None
    refuse_to_block()
    return LoopHome(loop)
