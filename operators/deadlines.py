"""How long the running call has: the deadline that a stage sets, for the function that it calls."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol


class Limited(Protocol):
    """Something with a deadline."""

    def remaining(self) -> float | None:
        """Seconds left, maybe below 0; ``None`` for no limit."""
        ...


limited: ContextVar[Limited | None] = ContextVar("rxpipe_limited", default=None)


def deadline() -> float | None:
    """Seconds left to the call that is running, so that a client library can limit itself.

    ::

        def answer(question):
            return requests.post(url, json=question, timeout=rxpipe.deadline())

    Returns:
        Seconds, never negative; ``None`` outside of a call, in another process, or where the stage has no timeout.
    """
    caller = limited.get()
    left = None if caller is None else caller.remaining()
    return None if left is None else max(0.0, left)
