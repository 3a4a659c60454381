"""A worker runs calls one after the other, in a copy of the context in which the stage was subscribed to.

A worker is reused while its calls leave the context unchanged. A worker whose call has set a context variable is
dropped, so that no other call sees the variable.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from types import CoroutineType
from typing import Any, Protocol

from .clock import show_unhandled
from .gate import announcing
from .running_call import Usage, running_call

Function = Callable[[Any], Any]


class Call(Protocol):
    """Receives the reports of a runner about one call."""

    def begin(self) -> bool:
        """The function starts now. Returns False if the call is no longer wanted."""
        ...

    def done(self, ok: bool, result: Any) -> None:
        """The function returned ``result``, or raised it if ``ok`` is False."""
        ...

    def remaining(self) -> float | None:
        """Returns the seconds left until the call's deadline."""
        ...

    def record(self, usage: Usage) -> None:
        """Add to the usage of the call."""
        ...

    def hold(self) -> None:
        """Stop the call's timeout; ``begin`` starts it again."""
        ...

    def retries(self, error: BaseException) -> bool:
        """Returns True if another attempt follows when the function raises this error."""
        ...

    def note(self, value: object) -> None:
        """Attach a value to the call."""
        ...


def call_context() -> contextvars.Context:
    """Returns a copy of the current context for calls. Their subscriptions do not find a gate of ours."""
    with announcing(None):
        return contextvars.copy_context()


class Worker:
    """Runs calls one after the other in a context of its own. Functions reach their call through the worker.

    Attributes:
        call: The present call.
        context: The context of the calls.
    """

    call: Call | None = None

    def __init__(self, context: contextvars.Context) -> None:
        self.context = context
        context.run(running_call.set, self)
        self._fresh = context.copy()

    def remaining(self) -> float | None:
        """Returns the seconds left to the present call."""
        call = self.call  # read once, here and below: a thread of the call may ask after the call's end
        return None if call is None else call.remaining()

    def record(self, usage: Usage) -> None:
        """Add to the usage of the present call."""
        if (call := self.call) is not None:
            call.record(usage)

    def hold(self) -> None:
        """Stop the timeout of the present call."""
        if (call := self.call) is not None:
            call.hold()

    def begin(self) -> bool:
        """Start the timeout of the present call again."""
        return (call := self.call) is not None and call.begin()

    def retries(self, error: BaseException) -> bool:
        """Returns True if another attempt follows when the present call fails with this error."""
        return (call := self.call) is not None and call.retries(error)

    def note(self, value: object) -> None:
        """Attach a value to the present call."""
        if (call := self.call) is not None:
            call.note(value)

    def is_clean(self) -> bool:
        """True if the calls so far have left the context unchanged."""
        try:
            return self.context == self._fresh
        except Exception:  # noqa: BLE001 - a foreign __eq__ was asked: so something was set
            return False

    def run(self, fn: Function, value: Any, call: Call) -> None:
        """Run a call in the context. Any error ends this call only, even ``SystemExit``."""
        self.call = call
        try:
            ok, result = True, fn(value)
        except BaseException as error:  # noqa: BLE001 - the call's failure, whatever it is; the thread goes on
            ok, result = False, error
        self.call = None  # code downstream does not belong to the call
        try:
            call.done(ok, result)
        except BaseException as error:  # noqa: BLE001 - nobody is left to take it, and the thread goes on
            show_unhandled(error)


class _Here(threading.local):
    """The current thread.

    Attributes:
        worker: The thread's worker, if the thread runs calls.
    """

    worker: Worker | None = None


HERE = _Here()


def worker_is_free() -> bool:
    """Returns True if this thread is a worker thread, and is not in the middle of a call."""
    worker = HERE.worker
    return worker is not None and worker.call is None


def discard(result: Any) -> None:
    """Throw a result away. A coroutine is closed, since Python warns of coroutines that were never awaited."""
    if issubclass(type(result), CoroutineType):  # not isinstance, which also asks the result for its class
        result.close()
