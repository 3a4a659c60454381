"""What the tests of adaptive concurrency call: a server in virtual time that takes so many calls at once, no more."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import reactivex as rx
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.testing import TestScheduler

from rxpipe.operators import AdaptiveConcurrency
from rxpipe.operators.stages.settings import Settings, settings_of

Latency = Callable[[], float]


class Busy(Exception):
    """Too many calls: a 429."""

    uses_attempt = False
    kind = "rate_limited"

    def __init__(self, retry_after: Any = None) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class Server:
    """Takes so many calls at once, and refuses others; some at random, too.

    Attributes:
        running: Calls that it has taken and not answered.
        most: How many those ever were.
        refused: How many calls it has refused.
        calls: When which item was called with.
    """

    def __init__(
        self,
        scheduler: TestScheduler,
        takes: float,
        latency: Callable[[], float] = lambda: 2.0,
        *,
        refusal_takes: float = 0.0,
        refuses: float = 0.0,
        retry_after: float | None = None,
    ) -> None:
        self.running = self.most = self.refused = 0
        self.calls: list[tuple[float, Any]] = []
        self.takes = takes
        self._scheduler = scheduler
        self._latency = latency
        self._refusal_takes = refusal_takes
        self._refuses = refuses
        self._retry_after = retry_after
        self._chance = random.Random(1)

    def __call__(self, value: Any) -> Observable[Any]:
        self.calls.append((self._scheduler.clock, value))
        if self.running >= self.takes or self._chance.random() < self._refuses:
            self.refused += 1
            busy = Busy(self._retry_after)
            if not self._refusal_takes:
                raise busy
            return rx.timer(self._refusal_takes).pipe(rx_ops.flat_map(lambda _: rx.throw(busy)))
        self.running += 1
        self.most = max(self.most, self.running)

        def answer(_: Any) -> Any:
            self.running -= 1
            return value

        return rx.timer(self._latency()).pipe(rx_ops.map(answer))


def settings(fn: Callable[[Any], Any], concurrency: AdaptiveConcurrency | int, **options: Any) -> Settings[Any, Any]:
    """Those of a stage, whose counts can be read while it runs."""
    given: dict[str, Any] = {
        "name": "stage",
        "queue_size": 10,
        "timeout": None,
        "retry": None,
        "rate_limit": None,
        "recover": None,
        "max_abandoned": None,
    }
    return settings_of(fn, concurrency=concurrency, **given | options)


def bounds(scheduler: TestScheduler, stages: list[Settings[Any, Any]], seconds: int) -> list[float]:
    """What the bounds add up to, from now on, each second."""
    seen: list[float] = []
    begin = int(scheduler.clock)
    for second in range(seconds):
        scheduler.advance_to(begin + second)
        seen.append(sum(one.stats.concurrency for one in stages))
    return seen


def varying(seed: int = 1) -> Latency:
    chance = random.Random(seed)
    return lambda: chance.uniform(0.5, 4)
