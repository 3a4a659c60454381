"""What a model answered, read from a chat completion that may be anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from rxpipe.llm.errors import Refused, Unavailable
from rxpipe.llm.tokens import about_tokens
from rxpipe.operators.core.running_call import Usage

_MOST = 1_000_000_000  # tokens of a call: what is more is no count


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What tokens cost, in any currency, per million.

    Attributes:
        prompt: Tokens that are sent.
        completion: Tokens that are returned.
    """

    prompt: float
    completion: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What a call costs."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model answered.

    Attributes:
        text: Its text.
        finish_reason: Why it ended: ``stop``, or ``length`` if it was cut.
        usage: What it used.
    """

    text: str
    finish_reason: str | None
    usage: Usage


def usage_of(answer: Any, messages: Sequence[Mapping[str, str]], prices: Prices | None) -> Usage:
    """What a call used, as the server counts; where it does not, about as many tokens as the texts have."""
    counts = _get(answer, "usage")
    prompt = _count(_get(counts, "prompt_tokens"), *(str(message.get("content", "")) for message in messages))
    completion = _count(_get(counts, "completion_tokens"), _text(answer))
    cost = 0.0 if prices is None else prices.cost(prompt, completion)
    return Usage(prompt_tokens=prompt, completion_tokens=completion, cost=cost)


def check(answer: Any) -> None:
    """Whether an answer is a chat completion.

    Raises:
        Unavailable: It is something else, such as an error that came with a status of success.
    """
    if not isinstance(_get(_choice(answer), "message"), dict):
        message = _get(_get(answer, "error"), "message") or (repr(answer) if isinstance(answer, str) else None)
        raise Unavailable(f"not a chat completion{f': {message}' if message else ''}")


def reply_of(answer: Any, usage: Usage) -> Reply:
    """The reply in a chat completion.

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
