"""Trying again: the policy, and the operator for any observable."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, SerialDisposable

from .clock import clock_for
from .gate import announced_gate, announcing

A = TypeVar("A")
RetryOn = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """How often to call again, and how long to wait before: exponential backoff with jitter.

    Attributes:
        max_attempts: Calls in all, the first included; at least 1.
        backoff_factor: What each delay is multiplied by to give the next; at least 1.
        initial: The first delay, in seconds.
        max_delay: The longest delay, in seconds.
        jitter: How far a delay is moved at random, as a share of it, 0 to 1.
        retry_on: Which errors are worth another call: types, or a function that says so.

    Raises:
        ValueError: A number is out of range.
    """

    max_attempts: int = 3
    backoff_factor: float = 2.0
    initial: float = 1.0
    max_delay: float = 60.0
    jitter: float = 0.5
    retry_on: RetryOn = Exception

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, not {self.max_attempts}")
        if not self.backoff_factor >= 1:
            raise ValueError(f"backoff_factor must be at least 1, not {self.backoff_factor}")
        if not 0 <= self.initial <= self.max_delay:
            raise ValueError(f"need 0 <= initial <= max_delay, not {self.initial} and {self.max_delay}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be between 0 and 1, not {self.jitter}")

    def applies(self, error: BaseException, attempt: int) -> bool:
        """Whether to call again after call number ``attempt`` (from 1) raised ``error``."""
        if attempt >= self.max_attempts:
            return False
        retry_on = self.retry_on
        if isinstance(retry_on, type):
            return isinstance(error, retry_on)
        return retry_on(error) if callable(retry_on) else isinstance(error, retry_on)

    def delay(self, attempt: int, error: BaseException) -> float:
        """Seconds to wait after call number ``attempt`` (from 1) raised ``error``.

        ``initial * backoff_factor ** (attempt - 1)``, moved by up to ``jitter`` of itself either way, then clamped
        to ``initial`` and ``max_delay``. An error that carries a number as ``retry_after`` decides for itself.
        """
        asked = getattr(error, "retry_after", None)
        if isinstance(asked, (int, float)) and asked >= 0:
            return float(asked)
        try:
            delay = self.initial * self.backoff_factor ** (attempt - 1)
        except OverflowError:
            delay = self.max_delay
        delay *= random.uniform(1 - self.jitter, 1 + self.jitter)
        return min(max(delay, self.initial), self.max_delay)


def retry(policy: Retry, *, timer: SchedulerBase | None = None) -> Callable[[Observable[A]], Observable[A]]:
    """Subscribe to the source again when it fails, after a delay.

    ::

        source.pipe(ops.retry(Retry(max_attempts=5, initial=0.5)))

    Values of a failed attempt have been passed on already and come again. Values are notified on the source's
    thread; the waiting holds no thread, and an observer that raises does not cause another attempt.

    Args:
        policy: How often, and how long to wait.
        timer: Where to wait, a reactivex scheduler; else the one subscribed on, the running loop, or a timer thread.

    Returns:
        An operator that ends with the last attempt's error when there is none left.
    """

    def operator(source: Observable[A]) -> Observable[A]:
        def subscribe(observer: ObserverBase[A], scheduler: SchedulerBase | None = None) -> DisposableBase:
            clock = clock_for(timer, scheduler)
            gate = announced_gate()
            subscription, waiting = SerialDisposable(), SerialDisposable()
            attempt = 0
            ended = False

            def on_next(value: A) -> None:
                try:
                    observer.on_next(value)
                except Exception as error:  # noqa: BLE001 - not the source's failure, so no reason to try again
                    end(error)

            def end(error: Exception) -> None:
                nonlocal ended
                if not ended:
                    ended = True
                    subscription.dispose()
                    observer.on_error(error)

            def on_error(error: Exception) -> None:
                try:
                    again = policy.applies(error, attempt)
                    delay = policy.delay(attempt, error) if again else 0.0
                except Exception as broken:  # noqa: BLE001 - the user's retry_on raised: that ends the sequence
                    end(broken)
                    return
                if not again:
                    end(error)
                elif not ended:
                    waiting.disposable = clock.call_later(delay, start)

            def start() -> None:
                nonlocal attempt
                attempt += 1
                with announcing(gate):
                    subscription.disposable = source.subscribe(
                        on_next, on_error, observer.on_completed, scheduler=scheduler
                    )

            start()
            return CompositeDisposable(waiting, subscription)

        return reactivex.create(subscribe)

    return operator
