"""Sends calls to other processes, and results back, as plain bytes.

The transport does not see the content. So a cluster that searches arguments for references to its own results finds
none. And a result that does not pickle fails the call, not the transport.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

from rxpipe.operators.core.running_call import Usage, running_call
from rxpipe.operators.errors import CallFailed, describe

Function = Callable[[Any], Any]


class Pickler(Protocol):
    """The functions of ``pickle`` and ``cloudpickle`` that are needed here."""

    def dumps(self, obj: Any, /) -> bytes:
        """Returns an object as bytes."""
        ...


class Reply(NamedTuple):
    """The end of a call: True if it returned, the result or the error, and the usage."""

    ok: bool
    result: Any
    usage: Usage | None = None


def name_of(function: Function) -> str:
    """Returns a function's name, as its user knows it."""
    while isinstance(function, partial):
        function = function.func
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    return f"{module}:{name}" if module and name else repr(function)


@lru_cache(maxsize=256)
def loaded(function: bytes) -> Function:
    """Returns a function that was sent. It is loaded once for all of its calls; its module is imported if need be."""
    return pickle.loads(function)  # type: ignore[no-any-return]  # it was a function when it was sent


def what_is_missing(function: bytes) -> str | None:
    """Returns the reason why a function cannot be loaded, or None. Runs where calls run."""
    try:
        loaded(function)
    except BaseException as error:  # noqa: BLE001 - a module may raise anything, or call sys.exit()
        return describe(error)
    return None


def run_shipped(function: bytes, value: bytes, seconds: float | None, pickler: Pickler = pickle) -> bytes:
    """Make a call, and pack its reply. Runs where calls run.

    Args:
        function: The function, pickled.
        value: The argument, pickled.
        seconds: Seconds until the call's deadline, or None.
        pickler: Packs the reply.
    """
    call = _CallElsewhere(seconds)
    token = running_call.set(call)
    try:
        reply = Reply(True, loaded(function)(pickle.loads(value)), call.usage)
    except BaseException as error:  # noqa: BLE001 - SystemExit would end the worker
        reply = Reply(False, error, call.usage)
    finally:
        running_call.reset(token)
    try:
        packed = pickler.dumps(reply)
        if not reply.ok:
            pickle.loads(packed)  # an exception may pickle, but not unpickle
    except BaseException as error:  # noqa: BLE001 - whatever a foreign __reduce__ raises
        lost = reply.result if not reply.ok else error
        text = describe(lost) if not reply.ok else f"what it returned does not pickle: {describe(lost)}"
        packed = pickle.dumps(Reply(False, CallFailed(text), call.usage))
    return packed


def unpacked(packed: bytes) -> Reply:
    """Returns the reply of a call."""
    try:
        return pickle.loads(packed)  # type: ignore[no-any-return]  # it was packed above
    except BaseException as error:  # noqa: BLE001 - whatever a foreign __setstate__ raises
        return Reply(False, CallFailed(f"what it returned does not unpickle: {describe(error)}"))


class _CallElsewhere:
    """The running call in another process, as its function sees it."""

    def __init__(self, seconds: float | None) -> None:
        self.usage: Usage | None = None
        self._due = None if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float | None:
        """Returns the seconds left; None without a limit."""
        return None if self._due is None else self._due - time.monotonic()

    def record(self, usage: Usage) -> None:
        """Add to the usage of the call."""
        self.usage = usage if self.usage is None else self.usage + usage

    def hold(self) -> None:
        """Does nothing: the timeout runs in the main process."""

    def begin(self) -> bool:
        """Returns True: the call has begun before."""
        return True

    def retries(self, error: BaseException) -> bool:
        """Returns False: the retry policy is not known here."""
        return False

    def note(self, value: object) -> None:
        """Does nothing: the listeners are in the main process."""
