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
Kind = type[BaseException] | str
RetryOn = Kind | tuple[Kind, ...] | Callable[[BaseException], bool]


def kind_of(error: BaseException) -> str:
    """What kind of error it is: what it says itself as ``kind``; else ``transient`` or ``error``.

    Timeouts and broken connections are transient.
    """
    kind = getattr(error, "kind", None)
    if isinstance(kind, str):
        return kind
    return "transient" if isinstance(error, (TimeoutError, ConnectionError)) else "error"


def uses_attempt(error: BaseException) -> bool:
    """Whether a call that fails with this was an attempt: not if the server has only said that it is busy."""
    return getattr(error, "uses_attempt", True) is not False


def asked_delay(error: BaseException) -> float | None:
    """Seconds to wait, as the error says by ``retry_after``; ``None`` if that is no time that could be waited for."""
    asked = getattr(error, "retry_after", None)
    return float(asked) if isinstance(asked, (int, float)) and 0 <= asked < FOREVER else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """How often to call again, and how long to wait before: exponential backoff with jitter.

    Errors may say how they want to be taken, by attributes:

    - ``retry_after``, seconds: how long to wait before the next call
    - ``kind``, text: what ``retry_on`` may name
    - ``uses_attempt``, if false: the call does not count; it is made again as long as it takes, as after a 429,
      whichever types and kinds ``retry_on`` names
    - ``is_permanent``, if true: it is not worth another call, unless ``retry_on`` names its kind
    - ``is_final``, if true: there is no other call, whatever ``retry_on`` says

    Attributes:
        max_attempts: Calls in all, the first included; at least 1.
        backoff_factor: What each delay is multiplied by to give the next; at least 1.
        initial: The first delay, in seconds.
        max_delay: The longest delay, in seconds.
        jitter: How far a delay is moved at random, as a share of it, 0 to 1.
        retry_on: Which errors are worth another call: types, kinds (see ``kind_of``), or a function that says so.

    Raises:
        ValueError: A number is out of range.
        TypeError: ``retry_on`` is neither types, nor kinds, nor a function.
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
            types, kinds = _told_apart(self.retry_on)
            isinstance(Exception(), types)  # raises, if it cannot be asked
            if odd := [kind for kind in kinds if not (kind.isidentifier() and kind.islower())]:
                raise TypeError(f"a kind of error is a word in lower case, like transient, not {odd[0]!r}")

    def applies(self, error: BaseException, attempt: int) -> bool:
        """Whether to call again after call number ``attempt`` (from 1) raised ``error``."""
        if (attempt >= self.max_attempts and uses_attempt(error)) or getattr(error, "is_final", False):
            return False
        retry_on = self.retry_on
        if callable(retry_on) and not isinstance(retry_on, type):
            return bool(retry_on(error))
        types, kinds = _told_apart(retry_on)
        if kind_of(error) in kinds:
            return True
        if getattr(error, "is_permanent", False):
            return False
        return isinstance(error, types) or not uses_attempt(error)

    def delay(self, attempt: int, error: BaseException) -> float:
        """Seconds to wait after call number ``attempt`` (from 1) raised ``error``.

        ``initial * backoff_factor ** (attempt - 1)``, moved by up to ``jitter`` of itself either way, then clamped
        to ``initial`` and ``max_delay``. An error that carries a number as ``retry_after`` decides for itself.

        After one that does not use up an attempt, ``attempt`` is how many of these there have been, and there is a
        delay in any case: without one the calls would go on at once, for ever. Where neither the error nor the policy
        gives one, it is as long as by default.
        """
        asked = asked_delay(error)
        if uses_attempt(error):
            return self._backoff(attempt) if asked is None else asked
        return asked or self._backoff(attempt) or NO_RETRY._backoff(attempt)

    def _backoff(self, attempt: int) -> float:
        try:
            delay = self.initial and self.initial * float(self.backoff_factor) ** (attempt - 1)
        except OverflowError:
            delay = self.max_delay
        delay *= random.uniform(1 - self.jitter, 1 + self.jitter)
        return min(max(delay, self.initial), self.max_delay)


NO_RETRY = Retry(max_attempts=1)


def _told_apart(given: Kind | tuple[Kind, ...]) -> tuple[tuple[type[BaseException], ...], tuple[str, ...]]:
    """The types in it, and the kinds."""
    several = given if isinstance(given, tuple) else (given,)
    kinds = tuple(one for one in several if isinstance(one, str))
    return tuple(one for one in several if not isinstance(one, str)), kinds


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
        self._attempt = 1
        self._pushed_back = 0  # how often, without using up an attempt
        self._ended = False
        self._waiting = SerialDisposable()
        self._subscription = SerialDisposable()

    def start(self) -> None:
        """Begin an attempt."""
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
                if uses_attempt(error):
                    delay = self._policy.delay(self._attempt, error)
                    self._attempt += 1
                else:
                    self._pushed_back += 1
                    delay = self._policy.delay(self._pushed_back, error)
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
