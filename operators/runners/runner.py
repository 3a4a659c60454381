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
        queues: True if a call may have to wait before it begins, and then reports ``begin()``.
        cancels: True if disposing a call ends it soon. If False, the call goes on until it returns.
        width: Calls that can run there at once, including disposed calls that go on; ``math.inf`` if that is unknown.
    """

    queues: bool
    cancels: bool
    width: float

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase | None:
        """Start ``fn(value)``. Returns a disposable that cancels the call, if the runner can."""
        ...

    def close(self) -> None:
        """Start no more calls, and free what is idle."""
        ...


@runtime_checkable
class Engine(Protocol):
    """An executor that supplies its own runners, such as a cluster."""

    def runner(self) -> Runner:
        """Returns a runner for a stage that is being subscribed to. The stage closes the runner."""
        ...
