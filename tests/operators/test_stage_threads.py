"""`stage` on its own worker threads: bounds, abandoned threads, stalls, contexts."""

from __future__ import annotations

import contextvars
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_helpers import Gauge, Hanging, Watch, collect, here, merged
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpipe.operators import Failure, Retry, deadline, from_iterable, stage

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


def ignore(failure: Failure[Any]) -> str:
    return type(failure.error).__name__


def test_calls_run_on_daemon_threads() -> None:
    """A call that hangs must not keep the process from ending."""
    (thread,) = collect(from_iterable([1]).pipe(stage(lambda _: here())))
    assert thread.daemon
    assert thread.name.startswith("rxpipe-worker-")


@pytest.mark.parametrize("concurrency", [1, 2, 7])
def test_as_many_calls_as_allowed_run_at_once(concurrency: int) -> None:
    """`concurrency` calls do run at the same time, and never one more."""
    gauge, meet = Gauge(), threading.Barrier(concurrency)

    def fn(value: int) -> int:
        with gauge:
            meet.wait(20)
        return value

    count = concurrency * 30
    assert len(collect(from_iterable(range(count)).pipe(stage(fn, concurrency=concurrency)))) == count
    assert gauge.most == concurrency


def test_threads_are_used_again() -> None:
    """Hundreds of calls run on a few threads, not on one each."""
    threads = collect(from_iterable(range(300)).pipe(stage(lambda _: here(), concurrency=3)))
    assert len(set(threads)) <= 3 * 2


def test_no_more_items_are_taken_than_are_held(hanging: Hanging) -> None:
    """While nothing goes on, `concurrency + queue_size` items are taken from the source, not one more."""
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    watch = Watch[int]().to(from_iterable(source()).pipe(stage(hanging, concurrency=2, queue_size=3)))
    hanging.gauge.wait_for(2)
    assert taken == [0, 1, 2, 3, 4]
    watch.dispose()


def test_results_that_cannot_go_on_keep_their_slots() -> None:
    """While the next stage is full, finished calls keep their slots, and there are no more calls than those."""
    calls, inside, go_on = Gauge(), Gauge(), threading.Semaphore(0)

    def fn(value: int) -> int:
        with calls:
            return value

    def wait(value: int) -> int:
        with inside:
            assert go_on.acquire(timeout=20)
        return value

    source = from_iterable(range(8))
    watch = Watch[int]().to(source.pipe(stage(fn, concurrency=3, queue_size=0), stage(wait, queue_size=0)))
    calls.wait_for(0, total=4)
    inside.wait_for(1)
    assert calls.total == 4  # one is in the second stage, three are held
    go_on.release()
    calls.wait_for(0, total=5)
    inside.wait_for(total=2)
    assert calls.total == 5
    go_on.release(7)
    assert sorted(watch.end()) == list(range(8))


def test_an_observer_that_blocks_holds_up_the_source() -> None:
    """While the observer takes its time with one result, no more items are taken than the stage may hold."""
    taken, busy, go_on = Gauge(), threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        for number in range(30):
            with taken:
                yield number

    def on_next(value: int) -> None:
        busy.set()
        assert go_on.wait(20)

    watch = Watch[int](on_next)
    watch.to(from_iterable(source()).pipe(stage(lambda value: value, concurrency=2, queue_size=1)))
    assert busy.wait(20)
    assert taken.total <= 3
    go_on.set()
    assert sorted(watch.end()) == list(range(30))


@settings(max_examples=25, deadline=None)
@given(
    sources=st.integers(1, 4),
    concurrency=st.integers(1, 6),
    queue_size=st.integers(0, 5),
    ordered=st.booleans(),
    seed=st.integers(0, 1000),
)
@pytest.mark.slow
def test_stress(sources: int, concurrency: int, queue_size: int, ordered: bool, seed: int) -> None:
    """With several threads emitting, calls failing at random and every bound tight, each item comes out once."""
    gauge, chance, lock = Gauge(), random.Random(seed), threading.Lock()

    def flaky(value: int) -> int:
        with gauge:
            with lock:
                unlucky = chance.random() < 0.2
            if unlucky:
                raise ValueError
        return value

    branches = [
        from_iterable(range(n, 200, sources)).pipe(stage(lambda value: value, concurrency=2, queue_size=1))
        for n in range(sources)
    ]
    chain = merged(*branches).pipe(
        stage(
            flaky,
            concurrency=concurrency,
            queue_size=queue_size,
            ordered=ordered,
            retry=Retry(max_attempts=50, initial=0, jitter=0),
        ),
        stage(lambda value: value, queue_size=0),
    )
    assert sorted(collect(chain)) == list(range(200))
    assert gauge.most <= concurrency


def test_order_is_kept_whatever_the_threads_do() -> None:
    """With `ordered`, results come in the order of their items though calls overtake each other."""
    chain = from_iterable(range(500)).pipe(stage(lambda value: value, concurrency=8, ordered=True))
    assert collect(chain) == list(range(500))


def test_items_from_many_threads_at_once() -> None:
    """A subject that many threads feed, serialized, loses nothing."""
    subject, lock = Subject[int](), threading.Lock()
    watch = Watch[int]().to(subject.pipe(stage(lambda value: value, concurrency=4, queue_size=None)))

    def feed(start: int) -> None:
        for number in range(start, start + 200):
            with lock:
                subject.on_next(number)

    threads = [threading.Thread(target=feed, args=(n * 200,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    subject.on_completed()
    assert sorted(watch.end()) == list(range(800))


def test_context_variables_do_not_leak_between_calls() -> None:
    """What a call sets is not seen by the next one on the thread, and the subscriber's context is by all."""
    VAR.set("subscriber")

    def fn(value: int) -> str:
        seen = VAR.get()
        VAR.set(f"call {value}")
        return seen

    try:
        seen = collect(from_iterable(range(20)).pipe(stage(fn, concurrency=2)))
    finally:
        VAR.set("unset")
    assert seen == ["subscriber"] * 20


def test_a_call_knows_its_deadline(hanging: Hanging) -> None:
    """`deadline()` is what is left of the running call's own time, and nothing outside of calls."""
    time = TestScheduler()
    seen: dict[int, list[float | None]] = {}

    def fn(value: int) -> int:
        seen[value] = [deadline()]
        hanging(value)
        seen[value].append(deadline())
        return value

    outside: list[float | None] = []
    watch = Watch[int](lambda value: outside.append(deadline()))
    watch.to(from_iterable([1, 2]).pipe(stage(fn, timeout=10, timer=time)))
    hanging.gauge.wait_for(1)
    time.advance_to(4)
    hanging.release(1)
    hanging.gauge.wait_for(total=2)
    time.advance_to(7)
    hanging.release(2)
    watch.end()
    assert seen == {1: [10, 6], 2: [10, 7]}
    assert outside == [None, None]
    assert deadline() is None


def test_without_a_timeout_there_is_no_deadline() -> None:
    """`deadline()` is `None` where the stage sets no limit."""
    assert collect(from_iterable([1]).pipe(stage(lambda _: deadline()))) == [None]


def test_where_no_thread_can_be_made_the_item_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the system's limit of threads, or at the end of the interpreter, calls fail; none is made twice."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    calls = Gauge()

    def fn(value: int) -> int:
        with calls:
            return value

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        told: Callable[[Failure[int]], str] = lambda failure: str(failure.error)  # noqa: E731
        watch = Watch[Any]().to(from_iterable([1, 2]).pipe(stage(fn, recover=told)))
        assert watch.result() == ["no thread can be started"] * 2
    assert calls.total == 0


def test_a_worker_outlives_what_its_calls_raise() -> None:
    """`SystemExit` in a call ends the call, not the thread, which serves the next one."""
    threads: list[threading.Thread] = []

    def fn(value: int) -> int:
        threads.append(here())
        raise SystemExit(value)

    number: Callable[[Failure[int]], int] = lambda failure: failure.value  # noqa: E731
    assert collect(from_iterable(range(20)).pipe(stage(fn, recover=number))) == list(range(20))
    assert len(set(threads)) <= 2
