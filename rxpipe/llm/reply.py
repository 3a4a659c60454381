"""Reads a model's answer from a chat completion. The chat completion may be any JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from rxpipe.llm.errors import Refused, Unavailable
from rxpipe.llm.tokens import about_tokens
from rxpipe.operators.core.running_call import Usage

_MOST = 1_000_000_000  # tokens of a call; a larger number is no count


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """The prices of a million tokens, in any currency.

    Attributes:
        prompt: The price of a million tokens that are sent.
        completion: The price of a million tokens that are returned.
    """

    prompt: float
    completion: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Returns the cost of a call."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer of a model.

    Attributes:
        text: The text of the answer.
        finish_reason: Why the answer ended: ``stop``, or ``length`` if the answer was cut; None if the server does not
            say.
        usage: The tokens and the cost of the call.
    """

    text: str
    finish_reason: str | None
    usage: Usage


def usage_of(answer: Any, messages: Sequence[Mapping[str, str]], prices: Prices | None) -> Usage:
    """Returns the usage of a call as the server counts it, else an estimate from the length of the texts."""
    counts = _get(answer, "usage")
    prompt = _count(_get(counts, "prompt_tokens"), *(str(message.get("content", "")) for message in messages))
    completion = _count(_get(counts, "completion_tokens"), _text(answer))
    cost = 0.0 if prices is None else prices.cost(prompt, completion)
    return Usage(prompt_tokens=prompt, completion_tokens=completion, cost=cost)


def check(answer: Any) -> None:
    """Check that an answer is a chat completion.

    Raises:
        Unavailable: The answer is something else, such as an error with a status of success.
    """
    if not isinstance(_get(_choice(answer), "message"), dict):
        message = _get(_get(answer, "error"), "message") or (repr(answer) if isinstance(answer, str) else None)
        raise Unavailable(f"not a chat completion{f': {message}' if message else ''}")


def reply_of(answer: Any, usage: Usage) -> Reply:
    """Returns the reply in a chat completion.

    Raises:
        Refused: The model declined, or a filter kept the reply back.
    """
    choice = _choice(answer)
    message = _get(choice, "message")
    refusal, reason = _get(message, "refusal"), _get(choice, "finish_reason")
    if isinstance(refusal, str) and refusal.strip():
        raise Refused(f"the model declined: {refusal}")
    if reason == "content_filter":
        raise Refused("a content filter kept the answer back")
    return Reply(text=_text(answer), finish_reason=reason if isinstance(reason, str) else None, usage=usage)


def _choice(answer: Any) -> Any:
    choices = _get(answer, "choices")
    return cast("Sequence[Any]", choices)[0] if isinstance(choices, list) and choices else None


def _text(answer: Any) -> str:
    text = _get(_get(_choice(answer), "message"), "content")
    return text if isinstance(text, str) else ""


def _get(value: Any, name: str) -> Any:
    return cast("dict[str, Any]", value).get(name) if isinstance(value, dict) else None


def _count(told: Any, *texts: str) -> int:
    is_count = isinstance(told, int) and not isinstance(told, bool) and 0 <= told <= _MOST
    return told if is_count else math.ceil(about_tokens("".join(texts)))
