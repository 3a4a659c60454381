"""Disposing of `stage` at every point of an item's way: nothing comes after, and nothing goes on."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import reactivex as rx
from operator_helpers import Gauge, Watch, here, run_on_loop
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.scheduler import ImmediateScheduler
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpipe.operators import Failure, RateLimiter, Retry, from_iterable, stage
from rxpipe.operators.core.loops import BACKGROUND_LOOP


class Steps:
    """A function whose calls wait until they are let go, all at once."""

    def __init__(self) -> None:
        self.gauge = Gauge()
        self.go = threading.Event()

    def __call__(self, value: int) -> int:
        with self.gauge:
            assert self.go.wait(20)
        return value

    def finish(self) -> None:
        self.go.set()
        self.gauge.wait_for(0)


def test_before_the_first_item() -> None:
    """Disposed in the moment of subscription, nothing is taken and nothing called."""
    scheduler, taken = TestScheduler(), Gauge()

    def source() -> Iterator[int]:
        with taken:
            yield 1

    watch = Watch[int]().to(from_iterable(source()).pipe(stage(lambda value: value)), scheduler)
    watch.dispose()
    scheduler.start()
    assert (taken.total, watch.values, watch.ended.is_set()) == (0, [], False)


def test_while_calls_run() -> None:
    """Results of threads that are still running are discarded, and no more calls are made."""
    steps = Steps()
    watch = Watch[int]().to(from_iterable(range(9)).pipe(stage(steps, concurrency=3)))
    steps.gauge.wait_for(3)
    watch.dispose()
    steps.finish()
    assert (steps.gauge.total, watch.values, watch.ended.is_set()) == (3, [], False)


def test_while_a_result_waits_behind_a_closed_gate() -> None:
    """A result that the next stage had no room for does not come later."""
    steps, calls = Steps(), Gauge()

    def first(value: int) -> int:
        with calls:
            return value

    watch = Watch[int]().to(from_iterable(range(5)).pipe(stage(first, queue_size=0), stage(steps, queue_size=0)))
    steps.gauge.wait_for(1)
    calls.wait_for(0, total=2)
    watch.dispose()
    steps.finish()
    assert (steps.gauge.total, calls.total, watch.values) == (1, 2, [])


def test_inside_on_next() -> None:
    """An observer that disposes of the sequence in `on_next` has seen its last value."""
    watch = Watch[int](lambda value: watch.dispose() if value == 3 else None)
    scheduler = TestScheduler()
    watch.to(from_iterable(range(100)).pipe(stage(lambda value: value, concurrency=5)), scheduler)
    scheduler.start()
    assert watch.values == [0, 1, 2, 3]
    assert not watch.ended.is_set()


@pytest.mark.parametrize("where", ["function", "recover", "retry_on", "source", "inner"])
def test_inside_user_code(where: str) -> None:
    """Whatever function disposes of the sequence while it runs, nothing comes after, and nothing hangs."""
    scheduler = TestScheduler()
    calls = Gauge()

    def dispose_in(place: str) -> None:
        if place == where:
            watch.dispose()

    def source() -> Iterator[int]:
        yield 0
        dispose_in("source")
        yield 1

    def subscribed(_: Any) -> Observable[int]:
        dispose_in("inner")
        return rx.return_value(1)

    def fn(value: int) -> Observable[int]:
        dispose_in("function")
        with calls:
            if calls.total == 1:
                raise ValueError
        return rx.defer(subscribed)

    def retry_on(error: BaseException) -> bool:
        dispose_in("retry_on")
        return False

    def recover(failure: Failure[int]) -> int:
        dispose_in("recover")
        return -1

    watch = Watch[int]()
    chain = from_iterable(source()).pipe(stage(fn, retry=Retry(retry_on=retry_on), recover=recover))
    watch.to(chain, scheduler)
    scheduler.start()
    assert watch.values == ([-1] if where in ("inner", "source") else [])
    assert not watch.ended.is_set()


def test_while_a_call_waits_for_the_rate_limit() -> None:
    """Disposed before its place in the schedule comes, a call is not made."""
    scheduler, calls = TestScheduler(), Gauge()

    def fn(value: int) -> int:
        with calls:
            return value

    watch = Watch[int]().to(from_iterable(range(5)).pipe(stage(fn, rate_limit=RateLimiter(1, 10))), scheduler)
    scheduler.advance_to(15)
    watch.dispose()
    scheduler.advance_to(100)
    assert calls.total == 2


def test_inner_observables_are_disposed() -> None:
    """Every Observable that a function returned is unsubscribed from."""
    gauge = Gauge()

    def subscribe(observer: ObserverBase[int], scheduler: SchedulerBase | None = None) -> DisposableBase:
        gauge.__enter__()
        return Disposable(lambda: gauge.__exit__(None, None, None))

    def fn(value: int) -> Observable[int]:
        return rx.create(subscribe)

    watch = Watch[int]().to(from_iterable(range(9)).pipe(stage(fn, concurrency=3)))
    gauge.wait_for(3)
    watch.dispose()
    gauge.wait_for(0)


def test_coroutines_are_cancelled_and_awaited() -> None:
    """Disposed on a loop, running coroutines get a cancellation and the time to clean up; those waiting never begin."""
    steps: list[str] = []

    async def fn(value: int) -> None:
        steps.append(f"begin {value}")
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(1)
            steps.append(f"clean {value}")

    async def main() -> None:
        watch = Watch[None]().to(from_iterable(range(5)).pipe(stage(fn, concurrency=2)))
        await asyncio.sleep(1)
        watch.dispose()
        await asyncio.sleep(2)

    run_on_loop(main)
    assert steps == ["begin 0", "begin 1", "clean 0", "clean 1"]


def test_a_coroutine_may_dispose_of_its_own_sequence() -> None:
    """It is cancelled where it next waits, as if from outside."""
    seen: list[str] = []

    async def fn(value: int) -> None:
        watch.dispose()
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    watch = Watch[None]()

    async def main() -> None:
        watch.to(from_iterable(range(5)).pipe(stage(fn)))
        await asyncio.sleep(5)

    run_on_loop(main)
    assert seen == ["cancelled"]


def test_a_coroutine_that_has_not_begun_never_does() -> None:
    """One that a plain function returned is closed, so that Python does not complain that it was never awaited."""
    begun: list[int] = []

    async def answer(value: int) -> None:
        begun.append(value)

    def fn(value: int) -> Any:
        return answer(value)

    async def main() -> None:
        source = Subject[int]()
        operator = stage(fn, concurrency=2, scheduler=ImmediateScheduler())
        watch = Watch[None]().to(source.pipe(operator))
        source.on_next(1)
        source.on_next(2)
        watch.dispose()
        await asyncio.sleep(1)

    run_on_loop(main)
    assert begun == []


@pytest.mark.parametrize("kind", ["threads", "coroutines"])
def test_from_several_threads_at_once(kind: str) -> None:
    """Two who dispose at the same moment end it once: a background loop is let go of by one of them only."""

    async def forever(value: int) -> None:
        await asyncio.Event().wait()

    steps = Steps()
    _, release = BACKGROUND_LOOP.acquire()
    try:
        for _ in range(20):
            source = from_iterable(range(3))
            chain = source.pipe(stage(forever, concurrency=2)) if kind == "coroutines" else source.pipe(stage(steps))
            watch = Watch[Any]().to(chain)
            together = threading.Barrier(3)

            def dispose(watch: Watch[Any] = watch, together: threading.Barrier = together) -> None:
                together.wait(20)
                watch.dispose()

            threads = [threading.Thread(target=dispose) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert BACKGROUND_LOOP.users >= 1
    finally:
        steps.finish()
        release()


def test_while_values_stream() -> None:
    """Disposed in the middle of a rush of results from many threads, nothing comes after `dispose` has returned."""
    came = threading.Event()

    for _ in range(30):
        came.clear()
        watch = Watch[int](lambda value: came.set())
        watch.to(from_iterable(itertools.count()).pipe(stage(lambda value: value, concurrency=4)))
        assert came.wait(20)
        watch.dispose()
        count = len(watch.values)
        assert not watch.ended.is_set()
        assert watch.broken == []
        assert len(watch.values) <= count + 1  # one may be under way on another thread


class Item:
    pass


@pytest.mark.parametrize("end", ["disposed", "completed"])
def test_nothing_is_kept_alive(end: str) -> None:
    """When a sequence is over, the items and results that it held are garbage, though the subscription is kept."""
    alive: list[weakref.ref[Item]] = []
    source = Subject[Item]()
    inside = Gauge()
    release = threading.Event()

    threads = set[threading.Thread]()

    def fn(item: Item) -> Item:
        threads.add(here())
        with inside:
            release.wait(20)
        return item

    subscription = source.pipe(stage(fn, concurrency=2)).subscribe()
    for _ in range(8):
        item = Item()
        alive.append(weakref.ref(item))
        source.on_next(item)
        del item
    inside.wait_for(2)
    if end == "disposed":
        subscription.dispose()
        release.set()
    else:
        release.set()
        inside.wait_for(0, total=8)
        source.on_completed()
    for thread in threads:
        thread.join(20)
    gc.collect()
    assert [ref() for ref in alive] == [None] * 8
    subscription.dispose()
