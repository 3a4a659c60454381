"""The invariants that users rely on, one test each; the parts that make them are tested in their own files."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_helpers import Gauge, Watch, merged, run_on_loop
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.testing import TestScheduler

from rxpipe.operators import (
    AdaptiveConcurrency,
    Failure,
    RateLimiter,
    Retry,
    Usage,
    batch,
    from_iterable,
    rate_limit,
    record_usage,
    stage,
    timeout,
)

Fate = tuple[int, str]  # an item, and how it ended


def failed(failure: Failure[Any]) -> Fate:
    value = failure.value
    return (value if isinstance(value, int) else value[0], type(failure.error).__name__)


@settings(max_examples=30, deadline=None)
@given(
    plan=st.lists(st.sampled_from(["ok", "fails", "fails once", "hangs"]), max_size=25),
    concurrency=st.integers(1, 4),
    queue_size=st.integers(0, 3),
    ordered=st.booleans(),
    place=st.sampled_from(["loop", "virtual"]),
)
def test_conservation(plan: list[str], concurrency: int, queue_size: int, ordered: bool, place: str) -> None:
    """Every item taken comes out exactly once, as a result or as a failure, whatever becomes of the others."""
    attempts: Counter[int] = Counter()
    fates = {"ok": "done", "fails": "ValueError", "fails once": "done", "hangs": "StageTimeout"}

    def begin(number: int) -> bool:
        attempts[number] += 1
        if plan[number] == "fails" or (plan[number] == "fails once" and attempts[number] == 1):
            raise ValueError
        return plan[number] == "hangs"

    async def on_loop(number: int) -> Fate:
        await asyncio.sleep(number % 3)
        if begin(number):
            await asyncio.sleep(1000)
        return number, "done"

    def in_virtual_time(number: int) -> Observable[Fate]:
        done = rx.never() if begin(number) else rx.timer(1 + number % 3)
        return done.pipe(rx_ops.map(lambda _: (number, "done")))

    def chain(fn: Callable[[int], Any]) -> Observable[Fate]:
        return from_iterable(range(len(plan))).pipe(
            stage(
                fn,
                concurrency=concurrency,
                queue_size=queue_size,
                timeout=20,
                retry=Retry(max_attempts=2, initial=1, retry_on=ValueError),
                ordered=ordered,
                recover=failed,
            ),
            stage(lambda fate: fate, queue_size=0),
        )

    async def main() -> list[Fate]:
        return await Watch[Fate]().to(chain(on_loop)).end_on_loop()

    if place == "loop":
        values = run_on_loop(main)
    else:
        scheduler = TestScheduler()
        watch = Watch[Fate]().to(chain(in_virtual_time), scheduler)
        scheduler.start()
        values = watch.result()
    expected = [(number, fates[kind]) for number, kind in enumerate(plan)]
    assert (values if ordered else sorted(values)) == expected


def test_bounds() -> None:
    """Never more calls run than `concurrency`, nor more items held than that and `queue_size`, retries included."""
    running, held, chance, lock = Gauge(), Gauge(), random.Random(1), threading.Lock()

    def source(numbers: range) -> Iterator[int]:
        for number in numbers:
            held.__enter__()
            yield number

    def flaky(number: int) -> int:
        with running, lock:
            if chance.random() < 0.3:
                raise ValueError
        return number

    def leave(number: int) -> None:
        held.__exit__(None, None, None)

    branches = [from_iterable(source(range(n, 900, 3))) for n in range(3)]
    retry = Retry(max_attempts=100, initial=0)
    chain = merged(*branches).pipe(stage(flaky, concurrency=4, queue_size=3, retry=retry))
    watch = Watch[int](leave).to(chain)
    assert sorted(watch.end()) == list(range(900))
    assert running.most <= 4
    assert held.most <= 4 + 3


class Busy(Exception):
    """A call is refused, and made again."""

    uses_attempt = False
    retry_after = 0.001


def test_bounds_of_a_stage_that_adapts() -> None:
    """Never more calls run than `most`, nor more items held than that and `queue_size`, those pushed back included."""
    running, held, chance, lock = Gauge(), Gauge(), random.Random(1), threading.Lock()

    def source(numbers: range) -> Iterator[int]:
        for number in numbers:
            held.__enter__()
            yield number

    def refusing(number: int) -> int:
        with running, lock:
            if running.now > 6 or chance.random() < 0.1:
                raise Busy
        return number

    def leave(number: int) -> None:
        held.__exit__(None, None, None)

    adaptive = AdaptiveConcurrency(least=2, start=4, most=12, cool_down=0.001)
    chain = from_iterable(source(range(900))).pipe(stage(refusing, concurrency=adaptive, queue_size=3))
    assert sorted(Watch[int](leave).to(chain).end()) == list(range(900))
    assert running.most <= 12
    assert held.most <= 12 + 3


@pytest.mark.slow
def test_bounds_of_memory() -> None:
    """A million items run through while only as many exist as the bounds allow."""

    class Item:
        """Counts itself for as long as anything keeps it alive, reference cycles included."""

        alive = most = 0

        def __init__(self) -> None:
            Item.alive += 1
            Item.most = max(Item.most, Item.alive)

        def __del__(self) -> None:
            Item.alive -= 1

    async def fn(item: Item) -> Item:
        return item

    async def main() -> int:
        count = 0

        def on_next(item: Item) -> None:
            nonlocal count
            count += 1

        done = asyncio.Event()
        source = from_iterable(Item() for _ in range(1_000_000))
        source.pipe(stage(fn, concurrency=8, queue_size=8)).subscribe(on_next, None, done.set)
        await done.wait()
        return count

    assert run_on_loop(main) == 1_000_000
    assert Item.most <= 8 + 8 + 8


def test_rx_grammar() -> None:
    """`on_next* (on_error | on_completed)?`, never overlapping, from however many threads; nothing after disposal."""

    def fn(number: int) -> int:
        if number == 400:
            raise ValueError
        return number

    branches = [from_iterable(range(n, 1000, 4)).pipe(stage(fn, concurrency=2)) for n in range(4)]
    ended = Watch[int]().to(merged(*branches).pipe(stage(fn, concurrency=4, recover=lambda failure: -1)))
    assert ended.ended.wait(20)
    assert ended.broken == []
    assert isinstance(ended.error, ValueError)

    disposed = Watch[int](lambda value: disposed.dispose() if value == 50 else None)
    disposed.to(from_iterable(itertools.count()).pipe(stage(fn, concurrency=4, ordered=True)))
    disposed.wait_for(51)
    assert disposed.values == list(range(51))
    assert disposed.broken == []
    assert not disposed.ended.is_set()


class Lock:
    """A lock that knows which threads hold any of its kind."""

    held: threading.local = threading.local()

    def __init__(self) -> None:
        self._lock = _make_lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        taken = self._lock.acquire(blocking, timeout)
        if taken:
            self.held.count = getattr(self.held, "count", 0) + 1
        return taken

    def release(self) -> None:
        self.held.count -= 1
        self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


_make_lock = threading.Lock


def test_no_lock_is_held_while_user_code_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions, sources, policies and observers are called without any of rxpipe's locks being held."""
    places: Counter[str] = Counter()
    wrong: list[str] = []

    def here(place: str) -> None:
        places[place] += 1
        if getattr(Lock.held, "count", 0):
            wrong.append(place)

    def source() -> Iterator[int]:
        for number in range(200):
            here("source")
            yield number

    def fn(number: int) -> int:
        here("function")
        record_usage(Usage(prompt_tokens=1))
        if number % 10 == 0:
            raise ValueError
        return number

    def inner(number: int) -> Observable[int]:
        def factory(scheduler: Any) -> Observable[int]:
            here("subscribe")
            return from_iterable([number])

        return rx.defer(factory)

    def retry_on(error: BaseException) -> bool:
        here("retry_on")
        return True

    def recover(failure: Failure[int]) -> int:
        here("recover")
        return -1

    class Limit(RateLimiter):
        def reserve(self, now: float, amount: float = 1.0) -> float:
            here("limiter")
            return super().reserve(now, amount)

    watch = Watch[list[int]](lambda values: here("on_next"))
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Lock", Lock)
        retry = Retry(max_attempts=2, initial=0, retry_on=retry_on)
        chain = from_iterable(source()).pipe(
            stage(fn, concurrency=4, timeout=60, retry=retry, recover=recover, rate_limit=Limit(1_000_000, 1)),
            rate_limit(Limit(1_000_000, 1)),
            stage(inner, concurrency=2),
            batch(7, 0.001),
            timeout(60),
        )
        assert len([number for numbers in watch.to(chain).end() for number in numbers]) == 200
    assert wrong == []
    assert set(places) == {"source", "function", "subscribe", "retry_on", "recover", "limiter", "on_next"}


def test_an_exception_in_an_observer_never_re_runs_a_stage() -> None:
    """Each item is called with once, though the observer fails and retries are allowed."""
    calls: Counter[int] = Counter()

    def fn(number: int) -> int:
        calls[number] += 1
        return number

    def on_next(number: int) -> None:
        raise ValueError

    chain = from_iterable(range(10)).pipe(stage(fn, retry=Retry(initial=0)), stage(fn, retry=Retry(initial=0)))
    watch = Watch[int](on_next).to(chain)
    with pytest.raises(ValueError):  # noqa: PT011 - it has no text
        watch.end()
    assert max(calls.values()) <= 2  # once in each stage


def test_all_time_is_scheduler_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timeouts, delays and limits of a whole chain pass on one scheduler, exactly, and no real clock is asked."""

    def forbidden(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("real time was asked for, or waited for")

    monkeypatch.setattr("rxpipe.operators.core.clock.TIMER_THREAD", forbidden)
    monkeypatch.setattr("time.sleep", forbidden)
    scheduler = TestScheduler()
    attempts: Counter[int] = Counter()

    def fn(number: int) -> Observable[int]:
        attempts[number] += 1
        if attempts[number] == 1:
            raise ValueError
        return rx.never() if number == 1 else rx.timer(3).pipe(rx_ops.map(lambda _: number))

    chain = from_iterable(range(3)).pipe(
        stage(
            fn,
            timeout=20,
            retry=Retry(initial=7, jitter=0, retry_on=ValueError),
            recover=lambda failure: -failure.value,
        ),
        rate_limit(RateLimiter(1, 10)),
        batch(2, 50),
    )
    seen: list[tuple[float, list[int]]] = []
    watch = Watch[list[int]](lambda value: seen.append((scheduler.clock, value))).to(chain, scheduler)
    scheduler.start()
    watch.result()
    # Calls fail at 0; the retry of 0 takes 7 to 10, that of 1 times out at 30, that of 2 takes until 33.
    assert seen == [(30, [0, -1]), (40, [2])]


def test_isolation() -> None:
    """Items that fail, hang or raise the worst neither end nor delay nor double any other."""
    bad: dict[int, BaseException] = {3: ValueError(), 5: SystemExit(), 7: asyncio.CancelledError(), 9: GeneratorExit()}
    seen: list[tuple[float, Fate]] = []

    async def fn(number: int) -> Fate:
        await asyncio.sleep(1)
        if number in bad:
            raise bad[number]
        if number == 11:
            await asyncio.sleep(1000)
        return number, "done"

    async def main() -> None:
        now = asyncio.get_running_loop().time
        watch = Watch[Fate](lambda fate: seen.append((now(), fate)))
        await watch.to(
            from_iterable(range(16)).pipe(stage(fn, concurrency=16, timeout=5, recover=failed))
        ).end_on_loop()

    run_on_loop(main)
    good = {number for number in range(16) if number not in bad and number != 11}
    assert sorted(fate for when, fate in seen if fate[1] == "done" and when == 1) == [(n, "done") for n in sorted(good)]
    assert sorted(fate for _, fate in seen if fate[1] != "done") == [
        *((number, type(error).__name__) for number, error in bad.items()),
        (11, "StageTimeout"),
    ]
