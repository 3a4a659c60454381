"""What a function may tell of the call that is running: what it used."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import reactivex as rx
from adaptive_servers import Busy, settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from operator_helpers import LIMIT, Gauge, Hanging, Watch, collect, run_on_loop
from reactivex import Observable
from usage_helpers import Noted, eventually, minus_one, noting, usage_of, used

from rxpipe.operators import Retry, Usage, deadline, from_iterable, record_usage, will_retry
from rxpipe.operators.stage import stage_with


def test_usages_add_up() -> None:
    """Each of their figures does."""
    assert used(1) + used(10) == used(11)
    assert used(3).tokens == 9


def test_outside_of_a_call_nothing_happens() -> None:
    """There is no deadline, nothing is counted, and nothing follows."""
    record_usage(used(1))
    assert deadline() is None
    assert will_retry(ValueError()) is False


def test_a_thread_records_what_it_used() -> None:
    """Calls of a plain function add up."""

    def fn(item: int) -> int:
        record_usage(used(item))
        return item

    assert usage_of(fn, 5) == used(0 + 1 + 2 + 3 + 4)


def test_a_coroutine_records_what_it_used() -> None:
    """Also after it has waited, with others running between."""

    async def fn(item: int) -> int:
        record_usage(used(item))
        await asyncio.sleep(0)
        record_usage(used(10 * item))
        return item

    assert usage_of(fn, 5) == used(110)


def test_an_executor_records_what_it_used() -> None:
    """A thread pool's threads do as the stage's own."""

    def fn(item: int) -> int:
        record_usage(used(item))
        return item

    made = settings(fn, 2)
    with ThreadPoolExecutor(2) as pool:
        collect(from_iterable(range(5)).pipe(stage_with(made, scheduler=pool)))
    assert made.stats.usage == used(10)


def test_an_awaitable_of_a_plain_function_records() -> None:
    """The function and the coroutine that it returns are one call."""

    async def later() -> None:
        await asyncio.sleep(0)
        record_usage(used(10))

    def fn(item: int) -> Any:
        record_usage(used(1))
        return later()

    assert usage_of(fn) == used(11)


def test_an_observable_records_while_it_is_subscribed_to() -> None:
    """The function and the Observable that it returns are one call."""

    def inner(_: Any) -> Observable[int]:
        record_usage(used(10))
        return rx.of(1)

    def fn(item: int) -> Observable[int]:
        record_usage(used(1))
        return rx.defer(inner)

    assert usage_of(fn) == used(11)


def test_a_failing_call_counts_what_it_used() -> None:
    """As does each of its attempts, and one that was refused."""
    errors = iter([ValueError(), Busy(0.001), ValueError()])

    def fn(item: int) -> int:
        record_usage(used(1))
        raise next(errors)

    assert usage_of(fn, retry=Retry(max_attempts=2, initial=0)) == used(3)


def test_threads_of_a_call_lose_nothing() -> None:
    """However many of them record at the same moment."""

    def fn(item: int) -> int:
        def record() -> None:
            for _ in range(200):
                record_usage(used(1))

        threads = [threading.Thread(target=contextvars.copy_context().run, args=(record,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        return item

    assert usage_of(fn, 3) == used(3 * 4 * 200)


def test_two_threads_do_not_add_to_the_same_sum() -> None:
    """One that is in the middle of an addition keeps another from beginning its own."""
    both = threading.Barrier(2)

    class Slow(Usage):
        def __add__(self, other: Usage) -> Usage:
            with suppress(threading.BrokenBarrierError):
                both.wait(0.03)  # for another that does the same
            return Usage(prompt_tokens=self.prompt_tokens + other.prompt_tokens)

    def fn(item: int) -> int:
        record_usage(Slow(prompt_tokens=1))
        other = threading.Thread(target=contextvars.copy_context().run, args=(record_usage, used(1)))
        other.start()
        record_usage(used(1))
        other.join(LIMIT)
        return item

    assert usage_of(fn).prompt_tokens == 3


def test_tasks_of_a_call_record_for_it() -> None:
    """Those that it makes, and the threads that those go on to."""

    async def part(tokens: int) -> None:
        await asyncio.sleep(0)
        record_usage(used(tokens))
        await asyncio.to_thread(record_usage, used(tokens))

    async def fn(item: int) -> int:
        await asyncio.gather(*(part(tokens) for tokens in range(4)))
        return item

    assert usage_of(fn, 3) == used(3 * 2 * 6)


def test_a_thread_that_outlives_its_call_breaks_nothing() -> None:
    """What it records when the worker has nothing to do is not counted."""
    go, threads = threading.Event(), list[threading.Thread]()

    def fn(item: int) -> int:
        def late() -> None:
            assert go.wait(LIMIT)
            record_usage(used(1))
            assert deadline() is None
            assert not will_retry(ValueError())
            done.set()

        threads.append(threading.Thread(target=contextvars.copy_context().run, args=(late,)))
        threads[0].start()
        return item

    done = threading.Event()
    assert usage_of(fn) == Usage()
    go.set()
    threads[0].join(LIMIT)
    assert done.is_set()


def test_an_abandoned_call_counts_what_it_used_once(hanging: Hanging) -> None:
    """What it had used when its time was up counts then, and what it used later when it returns."""
    recorded = Gauge()

    def fn(item: int) -> int:
        record_usage(used(1))
        hanging(item)
        record_usage(used(10))
        recorded.__enter__()
        return item

    made, noted = noting(fn, timeout=0.02, recover=minus_one, queue_size=0)
    watch = Watch[int]().to(rx.concat(rx.of(7), rx.never()).pipe(stage_with(made)))
    watch.wait_for(1)
    assert made.stats.usage == used(1)
    hanging.release(7)
    recorded.wait_for(total=1)
    assert eventually(lambda: made.stats.usage == used(11))
    assert noted.used_by == [(7, 1, used(1)), (7, 1, used(10))]
    watch.dispose()


def test_a_cancelled_coroutine_counts_what_it_used_once() -> None:
    """Before its time was up, and while it ends."""

    async def fn(item: int) -> int:
        record_usage(used(1))
        try:
            await asyncio.sleep(100)
        finally:
            record_usage(used(10))
        return item

    made, noted = noting(fn, timeout=5, recover=minus_one)

    async def main() -> list[int]:
        return await Watch[int]().to(from_iterable([7]).pipe(stage_with(made))).end_on_loop()

    assert run_on_loop(main) == [-1]
    assert made.stats.usage == used(11)
    assert noted.used_by == [(7, 1, used(1)), (7, 1, used(10))]


def test_disposed_calls_count_what_they_had_used(hanging: Hanging) -> None:
    """Each once, also what they use before they end after all."""

    def fn(item: int) -> int:
        record_usage(used(1))
        hanging(item)
        record_usage(used(10))
        return item

    made, noted = noting(fn)
    watch = Watch[int]().to(from_iterable(range(3)).pipe(stage_with(made)))
    hanging.gauge.wait_for(3)
    watch.dispose()
    assert eventually(lambda: made.stats.usage == used(3))
    hanging.release(0, 1, 2)
    assert eventually(lambda: made.stats.usage == used(33))
    assert sorted(item for item, _, _ in noted.used_by) == [0, 0, 1, 1, 2, 2]
    assert made.stats.cancelled == 3


def test_calls_of_a_sequence_that_fails_count_what_they_had_used(hanging: Hanging) -> None:
    """One item's failure cancels the others, and they have cost what they have."""

    def fn(item: int) -> int:
        record_usage(used(1))
        if item == 2:
            hanging.gauge.wait_for(2)
            raise ValueError
        return hanging(item)

    made = settings(fn, 4)
    watch = Watch[int]().to(from_iterable(range(3)).pipe(stage_with(made)))
    assert watch.ended.wait(LIMIT)
    assert isinstance(watch.error, ValueError)
    assert made.stats.usage == used(3)


def test_the_envelope_is_told_by_attempt() -> None:
    """What each of an item's calls used, with the number of its attempt."""
    errors = iter([ValueError(), Busy(0.001), None])

    def fn(item: int) -> int:
        record_usage(used(1))
        record_usage(used(1))
        if (error := next(errors)) is not None:
            raise error
        return item

    made, noted = noting(fn, retry=Retry(initial=0))
    assert collect(from_iterable([7]).pipe(stage_with(made))) == [7]
    assert noted.used_by == [(7, 1, used(2)), (7, 2, used(2)), (7, 2, used(2))]


def test_a_call_that_used_nothing_tells_nothing() -> None:
    """The envelope hears of usage only."""
    made, noted = noting(lambda item: item)
    assert collect(from_iterable(range(3)).pipe(stage_with(made))) == [0, 1, 2]
    assert noted.used_by == []


@pytest.mark.slow
@hypothesis_settings(max_examples=30, deadline=None)
@given(
    plans=st.lists(
        st.lists(st.tuples(st.sampled_from(["ok", "fails", "busy", "hangs"]), st.lists(st.integers(1, 9))), max_size=4),
        max_size=12,
    ),
    nested=st.booleans(),
    concurrency=st.integers(1, 4),
    place=st.sampled_from(["threads", "loop"]),
)
def test_usage_is_neither_lost_nor_counted_twice(
    plans: list[list[tuple[str, list[int]]]], nested: bool, concurrency: int, place: str
) -> None:
    """What all functions recorded is what the stage has counted, and what its envelope was told."""
    recorded, lock, calls = list[int](), threading.Lock(), Gauge()
    tries = [iter(plan) for plan in plans]

    def record(amounts: list[int]) -> None:
        for amount in amounts:
            with lock:
                recorded.append(amount)
            record_usage(used(amount))

    def begin(item: int) -> tuple[str, list[int]]:
        fate, amounts = next(tries[item], ("ok", [1]))
        record(amounts)
        if fate == "fails":
            raise ValueError
        if fate == "busy":
            raise Busy(0.0001)
        return fate, amounts

    def on_thread(item: int) -> int:
        with calls:
            _, amounts = begin(item)
            if nested:
                thread = threading.Thread(target=contextvars.copy_context().run, args=(record, amounts))
                thread.start()
                record(amounts)
                thread.join(LIMIT)
        return item

    async def on_loop(item: int) -> int:
        with calls:
            fate, amounts = begin(item)
            try:
                if nested:
                    await asyncio.create_task(recording(amounts))
                if fate == "hangs":
                    await asyncio.sleep(1000)
            finally:
                record(amounts)
        return item

    async def recording(amounts: list[int]) -> None:
        record(amounts)

    noted = Noted()
    made = settings(
        on_thread if place == "threads" else on_loop,
        concurrency,
        timeout=0.02 if place == "loop" else 60,
        retry=Retry(max_attempts=2, initial=0),
        recover=minus_one,
        envelope=noted,
    )
    assert len(collect(from_iterable(range(len(plans))).pipe(stage_with(made)))) == len(plans)
    calls.wait_for(0)  # those that timed out end later
    assert eventually(lambda: made.stats.usage == used(sum(recorded)))
    assert sum((usage for _, _, usage in noted.used_by), Usage()) == used(sum(recorded))


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt_tokens": -1},
        {"prompt_tokens": None},
        {"completion_tokens": 1.5},
        {"cost": -0.1},
        {"cost": float("nan")},
        {"cost": float("inf")},
    ],
    ids=str,
)
def test_what_cannot_be_counted_is_refused(wrong: dict[str, Any]) -> None:
    """Where it is told, not where it is added up."""
    with pytest.raises(ValueError, match="0 or more"):
        Usage(**wrong)
