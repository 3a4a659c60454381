"""How calls travel to other processes, and what comes back: plain bytes both ways.

Whatever carries them need not know what is inside: a cluster that looks through arguments for references to its own
results finds none, and a result that does not pickle is the call's failure rather than the carrier's.
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
    """The part of ``pickle`` and ``cloudpickle`` that is needed here."""

    def dumps(self, obj: Any, /) -> bytes:
        """An object as bytes."""
        ...


class Reply(NamedTuple):
    """What came of a call: whether it returned, what, and what it said that it used."""

    ok: bool
    result: Any
    usage: Usage | None = None


def name_of(function: Function) -> str:
    """A function as its user knows it."""
    while isinstance(function, partial):
        function = function.func
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    return f"{module}:{name}" if module and name else repr(function)


@lru_cache(maxsize=256)
def loaded(function: bytes) -> Function:
    """A function that was sent, made again once for all of its calls; importing its module, if need be."""
    return pickle.loads(function)  # type: ignore[no-any-return]  # it was a function when it was sent


def what_is_missing(function: bytes) -> str | None:
    """Runs where the calls will: why a function cannot be made again there, or None."""
    try:
        loaded(function)
    except BaseException as error:  # noqa: BLE001 - a module may raise anything, or call sys.exit()
        return describe(error)
    return None


def run_shipped(function: bytes, value: bytes, seconds: float | None, pickler: Pickler = pickle) -> bytes:
    """Runs where the calls do: make one, and pack its reply.

    Args:
        function: What to call, pickled.
        value: What with, pickled.
        seconds: How long the call has.
        pickler: What packs the reply.
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
            pickle.loads(packed)  # an exception may pickle, and yet not be one that can be made again
    except BaseException as error:  # noqa: BLE001 - whatever a foreign __reduce__ raises
        lost = reply.result if not reply.ok else error
        text = describe(lost) if not reply.ok else f"what it returned does not pickle: {describe(lost)}"
        packed = pickle.dumps(Reply(False, CallFailed(text), call.usage))
    return packed


def unpacked(packed: bytes) -> Reply:
    """A reply that came back."""
    try:
        return pickle.loads(packed)  # type: ignore[no-any-return]  # it was packed above
    except BaseException as error:  # noqa: BLE001 - whatever a foreign __setstate__ raises
        return Reply(False, CallFailed(f"what it returned does not unpickle: {describe(error)}"))


class _CallElsewhere:
    """What a function may ask of its call, in another process."""

    def __init__(self, seconds: float | None) -> None:
        self.usage: Usage | None = None
        self._due = None if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float | None:
        """Seconds left."""
        return None if self._due is None else self._due - time.monotonic()

    def record(self, usage: Usage) -> None:
        """Add to what it used."""
        self.usage = usage if self.usage is None else self.usage + usage

    def hold(self) -> None:
        """Its time is kept elsewhere, and runs."""

    def begin(self) -> bool:
        """It began before."""
        return True

    def retries(self, error: BaseException) -> bool:
        """Whether another attempt follows is not known here."""
        return False

    def note(self, value: object) -> None:
        """Whoever is told of its end is elsewhere."""
