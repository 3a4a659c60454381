"""What is said to models and what they answer, for whoever wants to look at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from rxpipe.operators.core.running_call import Usage, note_in_call


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and its answer.

    Attributes:
        messages: What was sent.
        reply: The text that came back, or the error.
        usage: What it used; None if it failed.
        model: The model that was asked.
        failed: Whether there is an error in the place of a reply.
    """

    messages: Sequence[Mapping[str, str]]
    reply: str
    usage: Usage | None = None
    model: str = ""
    failed: bool = False


listener: ContextVar[Callable[[Exchange], None] | None] = ContextVar("rxpipe_llm_listener", default=None)
"""Called with each exchange of the calls in this context."""


def note(exchange: Exchange) -> None:
    """Leave it with the running call, and tell the listener, if there is one."""
    note_in_call(exchange)
    if (listening := listener.get()) is not None:
        listening(exchange)
