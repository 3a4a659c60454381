"""``retry``: trying again, for any observable."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import SerialDisposable, SingleAssignmentDisposable

from .core.clock import Clock, clock_for
from .core.gate import announced_gate, announcing
from .core.loops import hold_loop
from .core.machine import as_exception
from .core.worker import call_context
from .stages.retry_policy import Retry, uses_attempt

A = TypeVar("A")


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
        self._release_loop = hold_loop()  # also between attempts
        self._attempt = 1
        self._pushed_back = 0  # how often, without using up an attempt
        self._ended = False
        self._waiting = SerialDisposable()
        self._subscription = SerialDisposable()

    def start(self) -> None:
        """Begin an attempt."""
        # Set before subscribing: the source may fail, and the next attempt begin, before ``subscribe`` returns.
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
        self._release_loop()
