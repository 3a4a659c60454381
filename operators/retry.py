"""``retry``: subscribes to any observable again after a failure."""

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

    - Values of a failed attempt were already passed on. They come again.
    - Values are notified on the source's thread. The next subscription happens on the timer's thread. No thread is held
      while waiting.
    - If an observer raises, the sequence ends with that error, and there is no further attempt.

    Args:
        policy: The number of attempts, and the delays between them.
        timer: The scheduler to wait on. The default is the scheduler subscribed on, the running loop, or a timer
            thread.

    Returns:
        An operator. Its sequence fails with the error of the last attempt.
    """

    def operator(source: Observable[A]) -> Observable[A]:
        def subscribe(observer: ObserverBase[A], scheduler: SchedulerBase | None = None) -> DisposableBase:
            attempts = _Attempts(source, policy, clock_for(timer, scheduler), observer, scheduler)
            attempts.start()
            return attempts

        return reactivex.create(subscribe)

    return operator


class _Attempts(ObserverBase[A], DisposableBase):
    """The attempts of one subscriber, one after the other."""

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
        self._context = call_context()  # later attempts run in the context of the first
        self._release_loop = hold_loop()  # keeps the loop between attempts, too
        self._attempt = 1
        self._pushed_back = 0  # failures that used no attempt
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
