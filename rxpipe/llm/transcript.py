"""What is said to models and what they answer, for whoever wants to look at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from rxpipe.operators.core.running_call import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and its answer.

    Attributes:
        messages: What was sent.
        reply: The text that came back, or the error.
        usage: What it used; None if it failed.
    """

    messages: Sequence[Mapping[str, str]]
    reply: str
    usage: Usage | None = None


listener: ContextVar[Callable[[Exchange], None] | None] = ContextVar("rxpipe_llm_listener", default=None)
"""Called with each exchange of the calls in this context."""


def note(exchange: Exchange) -> None:
    """Tell the listener, if there is one."""
    if (listening := listener.get()) is not None:
        listening(exchange)
