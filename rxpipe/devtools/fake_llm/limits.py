"""Rate limits as token buckets, and the headers in which OpenAI tells of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from rxpipe.devtools.fake_llm.behaviour import Behaviour, Rate


class Bucket:
    """A token bucket: it is full at first, holds a rate's count, and fills up evenly within the rate's time."""

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        """Full.

        Args:
            rate: How much it holds, and how fast it fills.
            clock: Seconds, from anywhere.
        """
        self.size = rate.count
        self._speed = rate.count / rate.seconds
        self._clock = clock
        self._level = float(rate.count)
        self._at = clock()

    def wait(self, amount: int) -> float:
        """Seconds until so much can be taken; what is more than fits in is let through when it is full."""
        return max(0.0, min(amount, self.size) - self._filled()) / self._speed

    def take(self, amount: int) -> None:
        """Take so much, also if it is not there: then others wait for longer."""
        self._level = self._filled() - amount

    @property
    def remaining(self) -> int:
        """What can be taken now."""
        return max(0, int(self._filled()))

    @property
    def reset(self) -> float:
        """Seconds until it is full."""
        return (self.size - self._filled()) / self._speed

    def _filled(self) -> float:
        now = self._clock()
        # Rounded, so that what was waited for is there, and not all but a billionth of it.
        self._level = min(float(self.size), round(self._level + (now - self._at) * self._speed, 6))
        self._at = now
        return self._level


class Excess(NamedTuple):
    """Why a call is not let in.

    Attributes:
        what: ``"requests"`` or ``"tokens"``.
        limit: How many there may be.
        wait: Seconds until it would be.
    """

    what: str
    limit: int
    wait: float


class Limits:
    """The limits of a server, on requests and on tokens."""

    def __init__(self, behaviour: Behaviour, clock: Callable[[], float]) -> None:
        """All full.

        Args:
            behaviour: Which there are.
            clock: Seconds, from anywhere.
        """
        named = ("requests", behaviour.rate_limit), ("tokens", behaviour.token_limit)
        self._buckets = {what: Bucket(rate, clock) for what, rate in named if rate is not None}

    def enter(self, prompt_tokens: int) -> Excess | None:
        """Take a request and the tokens of its prompt, or tell why not; then nothing is taken."""
        amounts = {"requests": 1, "tokens": prompt_tokens}
        worst: Excess | None = None
        for what, bucket in self._buckets.items():
            wait = bucket.wait(amounts[what])
            if wait > (worst.wait if worst else 0):
                worst = Excess(what, bucket.size, wait)
        if worst is None:
            for what, bucket in self._buckets.items():
                bucket.take(amounts[what])
        return worst

    def spend(self, tokens: int) -> None:
        """Take the tokens of a reply, which nobody knew beforehand."""
        if (bucket := self._buckets.get("tokens")) is not None:
            bucket.take(tokens)

    def headers(self) -> dict[str, str]:
        """How things stand; nothing without limits."""
        headers: dict[str, str] = {}
        for what, bucket in self._buckets.items():
            headers[f"x-ratelimit-limit-{what}"] = str(bucket.size)
            headers[f"x-ratelimit-remaining-{what}"] = str(bucket.remaining)
            headers[f"x-ratelimit-reset-{what}"] = duration(bucket.reset)
        return headers


def retry_headers(seconds: float) -> dict[str, str]:
    """How long to wait: in whole seconds, rounded up, and in milliseconds."""
    return {"Retry-After": str(math.ceil(round(seconds, 6))), "retry-after-ms": str(_milliseconds(seconds))}


def duration(seconds: float) -> str:
    """Seconds as OpenAI writes them: ``16ms``, ``1s``, ``1.5s``, ``6m0s``, ``1h0m0s``."""
    milliseconds = _milliseconds(seconds)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{milliseconds / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _milliseconds(seconds: float) -> int:
    return math.ceil(round(seconds * 1000, 3))
