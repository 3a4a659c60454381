"""`retry` where attempts begin on other threads: races, event loops, contexts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from typing import Any

import pytest
import reactivex as rx
from marbles import AtOnce, Ringing
from operator_helpers import LIMIT, Watch, collect, run_on_loop
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.scheduler import NewThreadScheduler
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler

from rxpipe.operators import Retry, from_async_iterable, from_iterable, retry, stage

ERROR = ValueError("no")
AT_ONCE = Retry(max_attempts=3, initial=0, jitter=0)
ITEM = ContextVar("item", default="none")

Way = Callable[[ObserverBase[str]], Any]


def source_of(*ways: Way) -> Observable[str]:
    """A source whose subscriptions go one way each; what a way returns is called on disposal."""
    left = iter(ways)

    def subscribe(observer: ObserverBase[str], scheduler: SchedulerBase | None = None) -> DisposableBase:
        return Disposable(next(left)(observer))

    return rx.create(subscribe)


def fail(observer: ObserverBase[str]) -> None:
    observer.on_error(ERROR)


def fail_elsewhere(observer: ObserverBase[str]) -> None:
    threading.Thread(target=observer.on_error, args=(ERROR,)).start()


def give(observer: ObserverBase[str]) -> None:
    observer.on_next(threading.current_thread().name)
    observer.on_completed()


def test_an_attempt_that_begins_before_the_last_one_was_subscribed_to() -> None:
    """A failed attempt whose `subscribe` returns late does not dispose the next one."""
    disposed: list[bool] = []
    begun: list[ObserverBase[str]] = []

    def begin(observer: ObserverBase[str]) -> Callable[[], None]:
        begun.append(observer)
        return lambda: disposed.append(True)

    watch = Watch[str]().to(source_of(fail, begin).pipe(retry(AT_ONCE, timer=AtOnce())))
    assert disposed == []
    give(begun[0])
    assert len(watch.end()) == 1


def test_a_timer_that_rings_while_it_is_disposed() -> None:
    """No attempt begins after disposal, even if its delay was over at that very moment."""
    timer, begun = Ringing(), list[ObserverBase[str]]()
    Watch[str]().to(source_of(fail, begun.append).pipe(retry(AT_ONCE, timer=timer))).dispose()
    timer.ring()
    assert begun == []


def test_a_source_that_fails_after_the_end() -> None:
    """Once the observer has raised, the policy is not asked any more."""
    asked: list[BaseException] = []

    def ask(error: BaseException) -> bool:
        asked.append(error)
        return True

    def give_and_fail(observer: ObserverBase[str]) -> None:
        observer.on_next("a")
        observer.on_error(ValueError("late"))

    def refuse(value: str) -> None:
        raise ERROR

    watch = Watch[str](refuse).to(source_of(give_and_fail).pipe(retry(Retry(initial=0, retry_on=ask))))
    assert (watch.error, asked) == (ERROR, [])


def test_attempts_elsewhere_than_on_the_subscriber_s_thread() -> None:
    """Off any loop, a later attempt begins on the timer thread."""
    assert collect(source_of(fail, give).pipe(retry(AT_ONCE))) == ["rxpipe-timer"]


def test_slow_attempts_run_side_by_side() -> None:
    """Sources that block while they are subscribed to do not wait for each other's later attempts."""
    together = threading.Barrier(5)

    def block(observer: ObserverBase[str]) -> None:
        together.wait(LIMIT)
        give(observer)

    watches = [Watch[str]().to(source_of(fail, block).pipe(retry(AT_ONCE))) for _ in range(5)]
    assert [len(watch.end()) for watch in watches] == [1] * 5


def test_errors_from_other_threads_wake_the_loop() -> None:
    """On a loop, the delay begins when a foreign thread fails, and the next attempt begins on the loop."""

    async def main() -> list[str]:
        return await Watch[str]().to(source_of(fail_elsewhere, give).pipe(retry(AT_ONCE))).end_on_loop()

    assert run_on_loop(main, virtual=False) == [threading.current_thread().name]


def test_delays_on_a_loop() -> None:
    """On a loop, the loop's time counts."""

    async def main() -> float:
        policy = Retry(initial=10, backoff_factor=2, jitter=0)
        await Watch[str]().to(source_of(fail, fail, give).pipe(retry(policy))).end_on_loop()
        return asyncio.get_running_loop().time()

    assert run_on_loop(main) == 30


def test_disposal_from_another_thread_than_the_loop_s() -> None:
    """Then no attempt begins, and no timer is left on the loop."""

    async def main() -> list[asyncio.TimerHandle]:
        watch = Watch[str]().to(source_of(fail, give).pipe(retry(Retry(initial=60))))
        await asyncio.to_thread(watch.dispose)
        await asyncio.sleep(0)  # the loop has a turn: waiting for what is done already gives it none
        timers: list[asyncio.TimerHandle] = getattr(asyncio.get_running_loop(), "_scheduled")  # noqa: B009
        return [timer for timer in timers if not timer.cancelled()]

    assert run_on_loop(main, virtual=False) == []


def test_a_failure_after_the_loop_was_closed() -> None:
    """There is no loop to wait on any more: the sequence ends."""
    observers: list[ObserverBase[str]] = []
    watch = Watch[str]()

    async def main() -> None:
        watch.to(source_of(observers.append).pipe(retry(AT_ONCE)))

    asyncio.run(main())
    observers[0].on_error(ERROR)
    assert isinstance(watch.error, RuntimeError)


def test_the_loop_of_a_scheduler_is_used_from_other_threads() -> None:
    """An attempt waits on the loop of the scheduler that it is given."""

    async def main() -> list[str]:
        timer = AsyncIOThreadSafeScheduler(asyncio.get_running_loop())
        watch = Watch[str]()
        await asyncio.to_thread(watch.to, source_of(fail, give).pipe(retry(AT_ONCE, timer=timer)))
        return await watch.end_on_loop()

    assert run_on_loop(main, virtual=False) == [threading.current_thread().name]


@pytest.mark.parametrize("scheduler", [None, NewThreadScheduler()])
def test_later_attempts_see_the_subscriber_s_context(scheduler: SchedulerBase | None) -> None:
    """Calls of a stage upstream run in the context of the subscriber, in every attempt."""
    seen: list[str] = []

    def call(value: int) -> int:
        seen.append(ITEM.get())
        if len(seen) < 3:
            raise ERROR
        return value

    token = ITEM.set("seventeen")
    watch = Watch[int]().to(from_iterable([1]).pipe(stage(call), retry(AT_ONCE)), scheduler)
    ITEM.reset(token)
    assert watch.end() == [1]
    assert seen == ["seventeen"] * 3


def test_async_sources_are_tried_again() -> None:
    """An async generator that fails is iterated anew, on the background loop."""
    attempts: list[int] = []

    class Numbers:
        async def __aiter__(self) -> AsyncGenerator[int, None]:
            attempts.append(1)
            yield 1
            if len(attempts) < 3:
                raise ERROR

    assert collect(from_async_iterable(Numbers()).pipe(retry(AT_ONCE))) == [1, 1, 1]


def test_dispose_while_attempts_fail_on_other_threads() -> None:
    """Whenever it is disposed, attempts stop, and none is left subscribed."""
    policy = Retry(max_attempts=10**6, initial=0, jitter=0)
    for _ in range(50):
        attempts = OpenAttempts()
        watch = Watch[str]().to(rx.create(attempts.subscribe).pipe(retry(policy)))
        attempts.wait_until_one_has_begun()
        watch.dispose()
        assert watch.error is None
        attempts.wait_until_all_are_closed()


class OpenAttempts:
    """A source that fails on other threads, and counts who is subscribed."""

    def __init__(self) -> None:
        self.begun = 0
        self.open: set[int] = set()
        self._changed = threading.Condition()

    def subscribe(self, observer: ObserverBase[str], scheduler: SchedulerBase | None = None) -> DisposableBase:
        with self._changed:
            self.begun += 1
            number = self.begun
            self.open.add(number)
            self._changed.notify_all()
        fail_elsewhere(observer)
        return Disposable(lambda: self._close(number))

    def _close(self, number: int) -> None:
        with self._changed:
            self.open.discard(number)
            self._changed.notify_all()

    def wait_until_one_has_begun(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.begun, LIMIT)

    def wait_until_all_are_closed(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: not self.open, LIMIT), self.open
