"""The interface of runners, which run calls.

``Runner.start(fn, value, call)`` starts ``fn(value)``. From any thread, the runner then calls

- ``call.begin()`` when the function starts, if the call may have had to queue
- ``call.done(ok, result)`` once when the function has ended, even if the call was disposed before

A call that has not started when the runner is closed may be dropped without a report.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from reactivex.abc import DisposableBase

from ..core.worker import Call, Function


class Runner(Protocol):
    """Starts calls in one kind of place.

    Attributes:
        queues: Whether a call may have to wait before it begins, and says so by ``begin()``.
        cancels: Whether disposing a call ends it soon; if not, it goes on until it returns of itself.
        width: Calls that can run there at once, those that were disposed and go on included; ``math.inf`` if that
            is not known.
    """

    queues: bool
    cancels: bool
    width: float

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase | None:
        """Start ``fn(value)``; the result cancels it, where that is possible."""
        ...

    def close(self) -> None:
        """Start no more calls, and free what is idle."""
        ...


@runtime_checkable
class Engine(Protocol):
    """An executor that supplies its own runners, such as a cluster."""

    def runner(self) -> Runner:
        """One for a stage that is being subscribed to, which closes it."""
        ...
