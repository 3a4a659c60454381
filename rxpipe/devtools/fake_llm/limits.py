"""Rate limits as token buckets, and the headers in which OpenAI reports them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from rxpipe.devtools.fake_llm.behaviour import Behaviour, Rate


class Bucket:
    """A token bucket. It is full at first, holds a rate's count, and fills up evenly within the rate's time."""

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        """Begin full.

        Args:
            rate: How much the bucket holds, and how fast it fills.
            clock: A clock in seconds, with any zero.
        """
        self.size = rate.count
        self._speed = rate.count / rate.seconds
        self._clock = clock
        self._level = float(rate.count)
        self._at = clock()

    def wait(self, amount: int) -> float:
        """Returns the seconds until ``amount`` can be taken.

        An amount above the bucket's size needs only a full bucket.
        """
        return max(0.0, min(amount, self.size) - self._filled()) / self._speed

    def take(self, amount: int) -> None:
        """Take ``amount``, even if it is not there: then others wait longer."""
        self._level = self._filled() - amount

    @property
    def remaining(self) -> int:
        """The amount that can be taken now."""
        return max(0, int(self._filled()))

    @property
    def reset(self) -> float:
        """Seconds until the bucket is full."""
        return (self.size - self._filled()) / self._speed

    def _filled(self) -> float:
        now = self._clock()
        # Rounded, so that after a wait the whole amount is there, not all but a billionth of it.
        self._level = min(float(self.size), round(self._level + (now - self._at) * self._speed, 6))
        self._at = now
        return self._level


class Excess(NamedTuple):
    """The reason why a call is not let in.

    Attributes:
        what: ``"requests"`` or ``"tokens"``.
        limit: The limit.
        wait: Seconds until the call would be let in.
    """

    what: str
    limit: int
    wait: float


class Limits:
    """The limits of a server, on requests and on tokens."""

    def __init__(self, behaviour: Behaviour, clock: Callable[[], float]) -> None:
        """Begin with full buckets.

        Args:
            behaviour: Has the limits.
            clock: A clock in seconds, with any zero.
        """
        named = ("requests", behaviour.rate_limit), ("tokens", behaviour.token_limit)
        self._buckets = {what: Bucket(rate, clock) for what, rate in named if rate is not None}

    def enter(self, prompt_tokens: int) -> Excess | None:
        """Take a request and the tokens of its prompt. If that is not possible, take nothing and return the reason."""
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
        """Returns the state of the limits as headers; none without limits."""
        headers: dict[str, str] = {}
        for what, bucket in self._buckets.items():
            headers[f"x-ratelimit-limit-{what}"] = str(bucket.size)
            headers[f"x-ratelimit-remaining-{what}"] = str(bucket.remaining)
            headers[f"x-ratelimit-reset-{what}"] = duration(bucket.reset)
        return headers


def retry_headers(seconds: float) -> dict[str, str]:
    """Returns the headers with the time to wait: in whole seconds, rounded up, and in milliseconds."""
    return {"Retry-After": str(math.ceil(round(seconds, 6))), "retry-after-ms": str(_milliseconds(seconds))}


def duration(seconds: float) -> str:
    """Returns seconds as OpenAI writes them: ``16ms``, ``1s``, ``1.5s``, ``6m0s``, ``1h0m0s``."""
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
