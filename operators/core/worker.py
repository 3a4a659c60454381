"""A worker runs calls one after the other, in a copy of the context in which the stage was subscribed to.

It is used again while its calls leave the context unchanged. A worker whose call has set a context variable is dropped,
so that no other call sees the variable.
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
    """What a runner reports to."""

    def begin(self) -> bool:
        """The function starts now; unless this is false: then nobody wants it any more."""
        ...

    def done(self, ok: bool, result: Any) -> None:
        """The function returned ``result``, or raised it."""
        ...

    def remaining(self) -> float | None:
        """Seconds left until the call's deadline."""
        ...

    def record(self, usage: Usage) -> None:
        """The function has used this."""
        ...

    def hold(self) -> None:
        """Stop the call's timeout; ``begin`` starts it anew."""
        ...

    def retries(self, error: BaseException) -> bool:
        """Whether another attempt follows if the function raises this."""
        ...

    def note(self, value: object) -> None:
        """The function leaves something with it."""
        ...


def call_context() -> contextvars.Context:
    """A copy of the current context for calls: what they subscribe to is not behind a gate of ours."""
    with announcing(None):
        return contextvars.copy_context()


class Worker:
    """Runs calls one after the other in a context of its own, where it tells how long the present one has.

    Attributes:
        call: The present one.
        context: Where they run.
    """

    call: Call | None = None

    def __init__(self, context: contextvars.Context) -> None:
        self.context = context
        context.run(running_call.set, self)
        self._fresh = context.copy()

    def remaining(self) -> float | None:
        """Seconds left to the present call."""
        call = self.call  # read once, here and below: a thread that the call has started may ask when it has ended
        return None if call is None else call.remaining()

    def record(self, usage: Usage) -> None:
        """The present call has used this."""
        if (call := self.call) is not None:
            call.record(usage)

    def hold(self) -> None:
        """The time of the present call does not run until it begins anew."""
        if (call := self.call) is not None:
            call.hold()

    def begin(self) -> bool:
        """The present call begins anew."""
        return (call := self.call) is not None and call.begin()

    def retries(self, error: BaseException) -> bool:
        """Whether another attempt follows if the present call fails with this."""
        return (call := self.call) is not None and call.retries(error)

    def note(self, value: object) -> None:
        """Leave something with the present call."""
        if (call := self.call) is not None:
            call.note(value)

    def is_clean(self) -> bool:
        """Whether the calls so far have left the context as it was."""
        try:
            return self.context == self._fresh
        except Exception:  # noqa: BLE001 - a foreign __eq__ was asked: so something was set
            return False

    def run(self, fn: Function, value: Any, call: Call) -> None:
        """Run a call, in the context, whatever it raises: ``SystemExit`` ends the call only."""
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
    """Whether the present thread is there to run calls, and is not in the middle of one."""
    worker = HERE.worker
    return worker is not None and worker.call is None


def discard(result: Any) -> None:
    """Let go of a result that nobody takes: a coroutine is closed, as Python warns of one that was never awaited."""
    if issubclass(type(result), CoroutineType):  # not isinstance, which asks the result for its class, too
        result.close()
