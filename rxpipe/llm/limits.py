"""Limits that all calls to one server share: requests and tokens a minute, and a pause when it refuses nearly all."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakSet

from rxpipe.operators.core.running_call import running_call
from rxpipe.operators.stages.limiter import LimitUse, RateLimiter, Unit

_RECENT = 20  # replies that are looked at
_ENOUGH = 10  # of them, to judge by
_FIRST_ESTIMATE = 500.0  # tokens of a call, before there is a reply to go by
_WEIGHT = 0.1  # of a new reply in the estimate


class Limits:
    """How often a server may be called; a ``Limiter`` for stages, which takes its place before a call gets a slot.

    ::

        limits = Limits(requests_per_minute=600, tokens_per_minute=100_000)

    Calls are spaced evenly. How many tokens a call takes is known afterwards only: an estimate, the recent mean, is
    taken, and the difference is given back, or taken, when the reply is there. When most of the last 20 replies are
    429s, everything pauses for as long as the server asked last; a single one holds up its own item only.

    Safe to share between providers, stages and threads.

    Attributes:
        name: What the limits are called where they hold a run up: that of the provider, if nobody has named them.
    """

    def __init__(self, *, requests_per_minute: int | None = None, tokens_per_minute: int | None = None) -> None:
        """Limit what is given.

        Args:
            requests_per_minute: Calls a minute, at least 1; ``None`` for no limit.
            tokens_per_minute: Tokens of prompts and completions a minute, at least 1; ``None`` for no limit.

        Raises:
            ValueError: A number is below 1.
        """
        self.name: str | None = None
        self._given = requests_per_minute, tokens_per_minute
        self._lock = threading.Lock()
        self._requests = None if requests_per_minute is None else RateLimiter(requests_per_minute, 60)
        self._tokens = None if tokens_per_minute is None else RateLimiter(tokens_per_minute, 60)
        self._estimate = _FIRST_ESTIMATE
        self._taken: deque[float] = deque()  # for calls that have a place, and have not called the server
        self._begun: WeakSet[object] = WeakSet()  # calls that have
        self._recent: deque[bool] = deque(maxlen=_RECENT)  # whether they were refused
        self._pause = 0.0  # seconds, from the next time that somebody asks
        self._paused_until = float("-inf")
        self._paused = 0.0  # seconds in all

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are limited: only for calls of a provider that has these limits."""
        return self._tokens is not None

    def reserve(self, now: float) -> float:
        """Take a place for one call.

        Args:
            now: The clock's time, in seconds.

        Returns:
            Seconds to wait before the call.
        """
        with self._lock:
            paused_until = max(self._paused_until, now + self._pause) if self._pause else self._paused_until
            self._paused += max(0.0, paused_until - max(now, self._paused_until))
            self._paused_until = paused_until
            self._pause = 0.0
            wait = max(0.0, self._paused_until - now)
            if self._requests is not None:
                wait = max(wait, self._requests.reserve(now))
            if self._tokens is not None:
                self._taken.append(self._estimate)
                wait = max(wait, self._tokens.reserve(now, self._estimate))
            return wait

    def fresh(self) -> Limits:
        """The same limits, of which nothing was taken; see ``FreshLimiter``."""
        requests, tokens = self._given
        fresh = Limits(requests_per_minute=requests, tokens_per_minute=tokens)
        fresh.name = self.name
        return fresh

    def begin(self, call: object | None = None) -> float:
        """The server is about to be called.

        Args:
            call: The stage's call that calls it; by default the running one.

        Returns:
            How many tokens were taken for that: none if nobody has reserved a place, or if the running call of a stage
            has called the server before.
        """
        if call is None:
            running: Any = running_call.get()
            call = getattr(running, "call", running)  # of a worker, its present one
        with self._lock:
            if call is not None and call in self._begun:
                return 0.0
            if call is not None:
                self._begun.add(call)
            return self._taken.popleft() if self._taken else 0.0

    def call_ended(self, call: object | None) -> None:
        """A call with a place has ended, or (with ``None``) a place is not used: take no tokens for it if it used none.

        Such calls count in the estimate, too: of calls that rarely need the server, little is taken.
        """
        with self._lock:
            if call is not None and call in self._begun:
                self._begun.discard(call)
                return
            if self._tokens is not None and self._taken:
                self._tokens.give_back(self._taken.popleft())
            if call is not None:
                self._estimate -= _WEIGHT * self._estimate

    def answered(self, taken: float, used: int) -> None:
        """A call was answered.

        Args:
            taken: What ``begin`` gave for it.
            used: Tokens that it used.
        """
        with self._lock:
            self._recent.append(False)
            self._estimate += _WEIGHT * (used - self._estimate)
            if self._tokens is not None:
                self._tokens.give_back(taken - used)

    def failed(self, taken: float) -> None:
        """A call failed without having used any tokens."""
        with self._lock:
            if self._tokens is not None:
                self._tokens.give_back(taken)

    def refused(self, taken: float, retry_after: float) -> None:
        """A call was refused, as there were too many.

        Args:
            taken: What ``begin`` gave for it.
            retry_after: Seconds that the server asks to wait; 0 if it does not say.
        """
        with self._lock:
            self._recent.append(True)
            if self._tokens is not None:
                self._tokens.give_back(taken)
            if len(self._recent) >= _ENOUGH and sum(self._recent) * 2 > len(self._recent):
                self._pause = max(self._pause, retry_after or 1.0)

    def uses(self) -> Sequence[LimitUse]:
        """How much of each limit was used; see ``CountingLimiter``."""
        limits: tuple[tuple[Unit, RateLimiter | None], ...] = ("calls", self._requests), ("tokens", self._tokens)
        return [
            replace(use, name=self.name, unit=unit, paused=self._paused)
            for unit, limiter in limits
            if limiter is not None
            for use in limiter.uses()
        ]
