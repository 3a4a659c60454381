"""Trying again: the policy, and the operator for any observable."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import SerialDisposable, SingleAssignmentDisposable

from .clock import FOREVER, Clock, clock_for
from .gate import announced_gate, announcing
from .machine import as_exception
from .runners import call_context

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
        TypeError: ``retry_on`` is neither types nor a function.
    """

    max_attempts: int = 3
    backoff_factor: float = 2.0
    initial: float = 1.0
    max_delay: float = 60.0
    jitter: float = 0.5
    retry_on: RetryOn = Exception

    def __post_init__(self) -> None:
        if not self.max_attempts >= 1:
            raise ValueError(f"max_attempts must be at least 1, not {self.max_attempts}")
        if not self.backoff_factor >= 1:
            raise ValueError(f"backoff_factor must be at least 1, not {self.backoff_factor}")
        if not 0 <= self.initial <= self.max_delay:
            raise ValueError(f"need 0 <= initial <= max_delay, not {self.initial} and {self.max_delay}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be between 0 and 1, not {self.jitter}")
        if not callable(self.retry_on):
            isinstance(Exception(), self.retry_on)  # raises, if it cannot be asked

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
        if isinstance(asked, (int, float)) and 0 <= asked < FOREVER:
            return float(asked)
        try:
            delay = self.initial and self.initial * float(self.backoff_factor) ** (attempt - 1)
        except OverflowError:
            delay = self.max_delay
        delay *= random.uniform(1 - self.jitter, 1 + self.jitter)
        return min(max(delay, self.initial), self.max_delay)


def retry(policy: Retry, *, timer: SchedulerBase | None = None) -> Callable[[Observable[A]], Observable[A]]:
    """Subscribe to the source again when it fails, after a delay.

    ::

        source.pipe(ops.retry(Retry(max_attempts=5, initial=0.5)))

    Values of a failed attempt have been passed on already and come again. Values are notified on the source's
    thread, and the source is subscribed to again where the timer rings. The waiting holds no thread. What an observer
    raises ends the sequence with that error, and does not cause another attempt.

    Args:
        policy: How often, and how long to wait.
        timer: Where to wait, a reactivex scheduler; else the one subscribed on, the running loop, or a timer thread.

    Returns:
        An operator that ends with the last attempt's error when there is none left.
    """

    def operator(source: Observable[A]) -> Observable[A]:
        def subscribe(observer: ObserverBase[A], scheduler: SchedulerBase | None = None) -> DisposableBase:
            attempts = _Attempts(source, policy, clock_for(timer, scheduler), observer, scheduler)
            attempts.start()
            return attempts

        return reactivex.create(subscribe)

    return operator


class _Attempts(ObserverBase[A], DisposableBase):
    """One subscriber's attempts, one after the other."""

    def __init__(
        self,
        source: Observable[A],
        policy: Retry,
        clock: Clock,
        observer: ObserverBase[A],
        scheduler: SchedulerBase | None,
    ) -> None:
        self._source = source
        self._policy = policy
        self._clock = clock
        self._observer = observer
        self._scheduler = scheduler
        self._gate = announced_gate()
        self._context = call_context()  # so that later attempts find there what the first one does
        self._attempt = 0
        self._ended = False
        self._waiting = SerialDisposable()
        self._subscription = SerialDisposable()

    def start(self) -> None:
        """Begin an attempt."""
        self._attempt += 1
        # There before the source is subscribed to, as the attempt may fail, and the next begin, before that returns.
        subscription = SingleAssignmentDisposable()
        self._subscription.disposable = subscription
        with announcing(self._gate):
            subscription.disposable = self._source.subscribe(self, scheduler=self._scheduler)

    def _start_again(self) -> None:
        if not self._ended:
            try:
                self._context.copy().run(self.start)
            except BaseException as error:  # noqa: BLE001 - nobody is above to take it, and the sequence must end
                self._end(as_exception(error))

    def on_next(self, value: A) -> None:
        try:
            self._observer.on_next(value)
        except BaseException as error:  # noqa: BLE001 - not the source's failure, so no reason to try again
            self._end(as_exception(error))

    def on_error(self, error: Exception) -> None:
        if self._ended:
            return
        try:
            if self._policy.applies(error, self._attempt):
                delay = self._policy.delay(self._attempt, error)
                self._waiting.disposable = self._clock.call_later(delay, self._start_again)
                return
        except BaseException as broken:  # noqa: BLE001 - the user's retry_on raised: that ends the sequence
            if broken is not error:
                broken.__context__ = error
            error = as_exception(broken)
        self._end(error)

    def on_completed(self) -> None:
        self._observer.on_completed()

    def _end(self, error: Exception) -> None:
        if not self._ended:
            self.dispose()
            self._observer.on_error(error)

    def dispose(self) -> None:
        self._ended = True
        self._waiting.dispose()
        self._subscription.dispose()
