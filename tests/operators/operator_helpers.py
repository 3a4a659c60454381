"""What the operator tests share: an observer that watches the Rx grammar, counters, and a loop in virtual time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, TypeVar

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable
from virtual_loop import VirtualLoop

A = TypeVar("A")

LIMIT = 20.0  # seconds until something that has not happened counts as never


class Watch(ObserverBase[A], Generic[A]):
    """Records notifications, and what breaks the grammar of Rx in ``broken``; on any thread.

    Attributes:
        values: What came.
        threads: The threads on which notifications came, ends included.
        error: What the sequence failed with.
        ended: Set when it has failed or completed.
    """

    def __init__(self, on_next: Callable[[A], None] | None = None) -> None:
        self.values: list[A] = []
        self.threads: list[threading.Thread] = []
        self.error: Exception | None = None
        self.completed = False
        self.ended = threading.Event()
        self.broken: list[str] = []
        self.subscription: DisposableBase | None = None
        self._on_next = on_next
        self._inside = threading.Lock()
        self._changed = threading.Condition()
        self._waiters: list[Callable[[], None]] = []

    def on_next(self, value: A) -> None:
        if not self._inside.acquire(blocking=False):
            self.broken.append(f"{value!r} overlaps another notification")
            return
        try:
            if self.ended.is_set():
                self.broken.append(f"{value!r} after the end")
            self.threads.append(threading.current_thread())
            with self._changed:
                self.values.append(value)
                self._changed.notify_all()
            if self._on_next is not None:
                self._on_next(value)
        finally:
            self._inside.release()

    def on_error(self, error: Exception) -> None:
        self.error = error
        self._end("on_error")

    def on_completed(self) -> None:
        self.completed = True
        self._end("on_completed")

    def _end(self, what: str) -> None:
        if self._inside.locked():
            self.broken.append(f"{what} overlaps another notification")
        if self.ended.is_set():
            self.broken.append(f"{what} after the end")
        self.threads.append(threading.current_thread())
        self.ended.set()
        for waiter in self._waiters:
            waiter()

    def to(self, source: Observable[A], scheduler: SchedulerBase | None = None) -> Watch[A]:
        """Subscribe."""
        self.subscription = source.subscribe(self, scheduler=scheduler)
        return self

    def dispose(self) -> None:
        assert self.subscription is not None
        self.subscription.dispose()

    def wait_for(self, count: int) -> None:
        """Wait until so many values have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.values) >= count, LIMIT), f"only {self.values}"

    def end(self) -> list[A]:
        """Wait for the end; the values, or raises what it failed with."""
        assert self.ended.wait(LIMIT), f"no end, {len(self.values)} values"
        return self.result()

    async def end_on_loop(self) -> list[A]:
        """The same, on a running loop."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            loop.call_soon_threadsafe(over.set)

        self._waiters.append(tell)
        if not self.ended.is_set():
            await over.wait()
        return self.result()

    def result(self) -> list[A]:
        assert self.broken == []
        if self.error is not None:
            raise self.error
        assert self.completed
        return self.values


def collect(source: Observable[A], scheduler: SchedulerBase | None = None) -> list[A]:
    """Subscribe, wait for the end, and give the values, or raise what it failed with."""
    return Watch[A]().to(source, scheduler).end()


def merged(*sources: Observable[A]) -> Observable[A]:
    """Several sources in one, subscribed to at once: unlike ``reactivex.merge``, which does it later and elsewhere."""

    def subscribe(observer: ObserverBase[A], scheduler: SchedulerBase | None = None) -> DisposableBase:
        lock, running = threading.RLock(), len(sources)

        def on_next(value: A) -> None:
            with lock:
                observer.on_next(value)

        def on_completed() -> None:
            nonlocal running
            with lock:
                running -= 1
                if not running:
                    observer.on_completed()

        def on_error(error: Exception) -> None:
            with lock:
                observer.on_error(error)

        return CompositeDisposable(
            *(source.subscribe(on_next, on_error, on_completed, scheduler=scheduler) for source in sources)
        )

    return reactivex.create(subscribe)


class Gauge:
    """Counts who is inside of it, exactly.

    Attributes:
        now: How many are.
        most: How many ever were.
        total: How many have come.
    """

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.total = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self.now += 1
            self.total += 1
            self.most = max(self.most, self.now)
            self._changed.notify_all()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._changed:
            self.now -= 1
            self._changed.notify_all()

    def wait_for(self, now: int | None = None, *, total: int | None = None) -> None:
        """Wait until so many are inside, or have come."""

        def reached() -> bool:
            return (now is None or self.now == now) and (total is None or self.total >= total)

        with self._changed:
            assert self._changed.wait_for(reached, LIMIT), f"{self.now} inside, {self.total} in all"


class Hanging:
    """A function whose calls hang until they are released, all of them at the end of a test."""

    def __init__(self) -> None:
        self.gauge = Gauge()
        self._releases: dict[int, threading.Event] = {}
        self._over = threading.Event()

    def __call__(self, value: int) -> int:
        release = self._releases.setdefault(value, threading.Event())
        with self.gauge:
            assert release.wait(20)
        return value

    def release(self, *values: int) -> None:
        for value in values:
            self._releases.setdefault(value, threading.Event()).set()


def run_on_loop(main: Callable[[], Coroutine[Any, Any, A]], *, virtual: bool = True) -> A:
    """Run a coroutine on a loop of its own, and see that it leaves no task behind."""
    with asyncio.Runner(loop_factory=VirtualLoop if virtual else None) as runner:
        return runner.run(_and_leave_nothing(main))


async def _and_leave_nothing(main: Callable[[], Coroutine[Any, Any, A]]) -> A:
    result = await main()
    for _ in range(20):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks left: {left}"
    return result


def here() -> threading.Thread:
    return threading.current_thread()
