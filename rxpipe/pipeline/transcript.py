"""The requests to language models and their answers, for inspection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from rxpipe.operators.core.running_call import Usage, note_in_call


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and its answer.

    Attributes:
        messages: The messages of the request.
        reply: The text of the answer, or of the error.
        usage: The usage of the request; None if it failed.
        model: The model that was asked.
        failed: True if ``reply`` is an error.
    """

    messages: Sequence[Mapping[str, str]]
    reply: str
    usage: Usage | None = None
    model: str = ""
    failed: bool = False


listener: ContextVar[Callable[[Exchange], None] | None] = ContextVar("rxpipe_llm_listener", default=None)
"""Receives each exchange of the calls in this context."""


def note(exchange: Exchange) -> None:
    """Attach an exchange to the running call, and pass it to the listener, if there is one."""
    note_in_call(exchange)
    if (listening := listener.get()) is not None:
        listening(exchange)
