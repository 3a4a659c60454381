"""Messages to an operator, handled one at a time. Threads, event loops and virtual time share this path."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any

from .dispatchers import Dispatcher, LoopDispatcher, OneThread
from .threads import taken_from

Failed = Callable[[BaseException], None]


def _nothing() -> None:
    pass


def _anywhere() -> bool:
    return True


def mailbox(advance: Callable[[], None], failed: Failed, dispatcher: Dispatcher | None) -> Mailbox:
    """Returns a mailbox. Without a dispatcher, any thread empties it."""
    if isinstance(dispatcher, LoopDispatcher):
        return LoopMailbox(advance, failed, dispatcher)
    if isinstance(dispatcher, OneThread):
        return OneThreadMailbox(advance, failed, dispatcher)
    return Mailbox(advance, failed, dispatcher)


class Mailbox:
    """A queue of messages. A thread that finds the mailbox idle takes its drain token, and handles all messages.

    So handlers never overlap, and no thread waits: a sender that finds the token gone leaves the message to its holder.
    No message is left behind. A sender puts its message in before it looks for the token, and the holder looks into the
    mailbox again after it has given the token back.

    The thread that empties the mailbox also runs code downstream, for as long as messages come. Some threads must not
    be kept by that: threads that subscribe, feed a subject, or serve timers or a pool; and a worker in the middle of a
    call. They wake the dispatcher instead.
    """

    __slots__ = ("_advance", "_dispatcher", "_drain_token", "_failed", "_is_here", "_messages", "_wake_up")

    def __init__(self, advance: Callable[[], None], failed: Failed, dispatcher: Dispatcher | None = None) -> None:
        """Make an empty mailbox.

        Args:
            advance: Called whenever all messages have been handled.
            failed: Called with an error of a handler or of ``advance``. Must not raise.
            dispatcher: Decides which threads may empty the mailbox, and does so for all others. By default any thread
                may.
        """
        self._advance = advance
        self._failed = failed
        self._dispatcher = dispatcher
        self._is_here = _anywhere if dispatcher is None else dispatcher.is_here
        self._messages: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._drain_token = [None]  # one item, or none while a thread holds it; pop and append are atomic
        self._wake_up = [None]  # one item, or none after the dispatcher was called and before it has come

    def post(self, handler: Callable[..., None], *args: Any) -> None:
        """Call ``handler(*args)`` in the mailbox: at once if that may happen here and the mailbox is idle."""
        self._messages.append((handler, args))
        if self._is_here():
            self._empty()
        elif self._drain_token:
            self._wake()

    def post_last(self, handler: Callable[..., None]) -> None:
        """Call ``handler`` after everything else.

        Nothing goes downstream afterwards, so this may happen on any thread.
        """
        self._messages.append((handler, ()))
        self._empty()

    def _wake(self) -> None:
        if self._dispatcher is not None and taken_from(self._wake_up):
            try:
                self._dispatcher.call_soon(self._come)
            except BaseException:  # raised again below
                self._wake_up.append(None)
                raise

    def _come(self) -> None:
        self._wake_up.append(None)
        self._empty()

    def _empty(self) -> None:
        while self._messages and taken_from(self._drain_token):
            self._handle()
            self._drain_token.append(None)

    def _handle(self, handler: Callable[..., None] = _nothing, args: tuple[Any, ...] = ()) -> None:
        """Handle a message, and then all waiting ones."""
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


class LoopMailbox(Mailbox):
    """A mailbox that is emptied on an event loop. A flag replaces the token, and is faster."""

    __slots__ = ("_busy", "_thread")

    def __init__(self, advance: Callable[[], None], failed: Failed, dispatcher: LoopDispatcher) -> None:
        super().__init__(advance, failed, dispatcher)
        self._thread = dispatcher.thread
        self._busy = False

    def post(self, handler: Callable[..., None], *args: Any) -> None:
        """Call ``handler(*args)`` on the loop: at once if the caller is there and the mailbox is idle."""
        if get_ident() != self._thread:
            self._messages.append((handler, args))
            self._wake()
        elif self._busy or self._messages:
            self._messages.append((handler, args))
            self._empty()
        else:  # the same, without going through the messages
            self._busy = True
            self._handle(handler, args)
            self._busy = False

    def post_last(self, handler: Callable[..., None]) -> None:
        """Call ``handler`` on the loop, where tasks are cancelled."""
        self.post(handler)

    def _empty(self) -> None:
        while self._messages and not self._busy:
            self._busy = True
            super()._empty()  # with the token: once the loop is closed, several threads may come instead of it
            self._busy = False

    def _come(self) -> None:
        if self._thread < 0:
            self._thread = get_ident()
        super()._come()


class OneThreadMailbox(Mailbox):
    """A mailbox for a single thread. A flag replaces the token, and is faster."""

    __slots__ = ("_busy",)

    def __init__(self, advance: Callable[[], None], failed: Failed, dispatcher: OneThread) -> None:
        super().__init__(advance, failed, dispatcher)
        self._busy = False

    def post(self, handler: Callable[..., None], *args: Any) -> None:
        """Call ``handler(*args)``: at once if the mailbox is idle."""
        if self._busy:
            self._messages.append((handler, args))
        else:
            self._busy = True
            self._handle(handler, args)
            self._busy = False

    def post_last(self, handler: Callable[..., None]) -> None:
        """Call ``handler``."""
        self.post(handler)
