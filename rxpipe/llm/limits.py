"""Limits that all calls to one server share: requests and tokens a minute, and a pause when most calls are refused."""

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
_ENOUGH = 10  # replies needed to judge
_FIRST_ESTIMATE = 500.0  # tokens of a call, before the first reply
_WEIGHT = 0.1  # of a new reply in the estimate


class Limits:
    """Limits how often a server may be called. A ``Limiter`` for stages: a call takes its place before it gets a slot.

    ::

        limits = Limits(requests_per_minute=600, tokens_per_minute=100_000)

    - Calls are spaced evenly.
    - The tokens of a call are known only afterwards. An estimate, the recent mean, is taken before the call. The
      difference is given back, or taken, when the reply is there.
    - When most of the last 20 replies are 429s, all calls pause, for the time that the server asked for last. A single
      429 delays its own item only.

    Safe to share between providers, stages and threads.

    Attributes:
        name: The name of the limits in reports of what holds a run up. The first provider with these limits sets its
            own name, unless a name is set already.
    """

    def __init__(self, *, requests_per_minute: int | None = None, tokens_per_minute: int | None = None) -> None:
        """Set the limits that are given.

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
        self._begun: WeakSet[object] = WeakSet()  # calls that have called the server
        self._recent: deque[bool] = deque(maxlen=_RECENT)  # True for each reply that was a 429
        self._pause = 0.0  # seconds, from the next call of reserve
        self._paused_until = float("-inf")
        self._paused = 0.0  # seconds in total

    @property
    def counts_tokens(self) -> bool:
        """True if tokens are limited. They are limited only for calls of a provider that has these limits."""
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
        """Returns the same limits with nothing taken; see ``FreshLimiter``."""
        requests, tokens = self._given
        fresh = Limits(requests_per_minute=requests, tokens_per_minute=tokens)
        fresh.name = self.name
        return fresh

    def begin(self, call: object | None = None) -> float:
        """Note that a call of a stage is about to call the server.

        Args:
            call: The stage's call; by default the running call.

        Returns:
            The tokens that were taken for the call. 0 if no place is reserved, or if the stage's call has called the
            server before.
        """
        if call is None:
            running: Any = running_call.get()
            call = getattr(running, "call", running)  # a worker has its present call as an attribute
        with self._lock:
            if call is not None and call in self._begun:
                return 0.0
            if call is not None:
                self._begun.add(call)
            return self._taken.popleft() if self._taken else 0.0

    def call_ended(self, call: object | None) -> None:
        """Note that a call with a place has ended, or (with ``None``) that a place is not used.

        The estimated tokens are given back if the call did not use the server. Such calls count in the estimate, too:
        if calls rarely need the server, the estimate becomes small.
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
        """Count a call that was answered.

        Args:
            taken: The tokens that ``begin`` returned for the call.
            used: The tokens that the call used.
        """
        with self._lock:
            self._recent.append(False)
            self._estimate += _WEIGHT * (used - self._estimate)
            if self._tokens is not None:
                self._tokens.give_back(taken - used)

    def failed(self, taken: float) -> None:
        """Give back the tokens of a call that failed without using any."""
        with self._lock:
            if self._tokens is not None:
                self._tokens.give_back(taken)

    def refused(self, taken: float, retry_after: float) -> None:
        """Count a call that was refused with a 429.

        Args:
            taken: The tokens that ``begin`` returned for the call.
            retry_after: Seconds that the server asks to wait; 0 if the server does not say.
        """
        with self._lock:
            self._recent.append(True)
            if self._tokens is not None:
                self._tokens.give_back(taken)
            if len(self._recent) >= _ENOUGH and sum(self._recent) * 2 > len(self._recent):
                self._pause = max(self._pause, retry_after or 1.0)

    def uses(self) -> Sequence[LimitUse]:
        """Returns how much of each limit was used; see ``CountingLimiter``."""
        limits: tuple[tuple[Unit, RateLimiter | None], ...] = ("calls", self._requests), ("tokens", self._tokens)
        return [
            replace(use, name=self.name, unit=unit, paused=self._paused)
            for unit, limiter in limits
            if limiter is not None
            for use in limiter.uses()
        ]
