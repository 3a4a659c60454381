"""What a function may ask and tell of the call that is running: its deadline, what it used, whether another follows."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import reactivex as rx
from adaptive_servers import Busy, settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from operator_helpers import LIMIT, Gauge, Hanging, Watch, collect, run_on_loop
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.testing import TestScheduler

from rxpipe.operators import Failure, Retry, Usage, deadline, from_iterable, record_usage, will_retry
from rxpipe.operators.stage import stage_with
from rxpipe.operators.stage_settings import Settings


def used(tokens: int) -> Usage:
    return Usage(prompt_tokens=tokens, completion_tokens=2 * tokens, cost=float(tokens))


def minus_one(failure: Failure[Any]) -> int:
    return -1


def usage_of(fn: Callable[[Any], Any], items: int = 1, **options: Any) -> Usage:
    """What a stage counts of a function, when all of its items are through."""
    made = settings(fn, options.pop("concurrency", 2), recover=minus_one, **options)
    assert len(collect(from_iterable(range(items)).pipe(stage_with(made)))) == items
    return made.stats.usage


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


@dataclass
class Noted:
    """An envelope that notes what it is told."""

    used_by: list[tuple[Any, int, Usage]] = field(default_factory=list[tuple[Any, int, Usage]])

    def skip(self, item: Any) -> bool:
        return False

    def open(self, item: Any) -> Any:
        return item

    def close(self, item: Any, result: Any) -> Any:
        return result

    def again(self, item: Any, attempt: int, error: BaseException) -> None:
        pass

    def used(self, item: Any, attempt: int, usage: Usage) -> None:
        self.used_by.append((item, attempt, usage))


def noting(fn: Callable[[Any], Any], **options: Any) -> tuple[Settings[Any, Any], Noted]:
    noted = Noted()
    return settings(fn, 4, envelope=noted, **options), noted


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


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it comes true soon."""
    changed = threading.Event()
    for _ in range(int(LIMIT * 1000)):
        if condition():
            return True
        changed.wait(0.001)
    return False


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
    ("policy", "foretold"),
    [
        (None, [False]),
        (Retry(max_attempts=3, initial=0), [True, True, False]),
        (Retry(max_attempts=3, initial=0, retry_on=OSError), [False]),
        (Retry(max_attempts=3, initial=0, retry_on=("odd", "error")), [True, True, False]),
    ],
)
def test_will_retry_knows_the_attempts_left(policy: Retry | None, foretold: list[bool]) -> None:
    """It tells for each call whether another follows if that raises the error."""
    told: list[bool] = []

    def fn(item: int) -> int:
        error = ValueError()
        told.append(will_retry(error))
        raise error

    usage_of(fn, retry=policy)
    assert told == foretold


def test_will_retry_is_asked_of_the_error_given() -> None:
    """A call may ask about several, also about one that is pushed back."""
    told: list[bool] = []

    def fn(item: int) -> int:
        told.extend(will_retry(error) for error in (ValueError(), ConnectionError(), Busy(), KeyboardInterrupt()))
        return item

    usage_of(fn, retry=Retry(retry_on="transient"))
    assert told == [False, True, True, False]


def test_will_retry_is_false_where_the_policy_breaks() -> None:
    """If `retry_on` raises, the item fails."""
    told: list[bool] = []

    def broken(error: BaseException) -> bool:
        raise LookupError

    def fn(item: int) -> int:
        told.append(will_retry(ValueError()))
        raise ValueError

    usage_of(fn, retry=Retry(retry_on=broken))
    assert told == [False]


def test_will_retry_is_a_truth_value() -> None:
    """Whatever true thing `retry_on` gives."""
    told: list[Any] = []

    def yes(error: BaseException) -> Any:
        return "yes"

    def fn(item: int) -> int:
        told.append(will_retry(ValueError()))
        return item

    usage_of(fn, retry=Retry(retry_on=yes))
    assert told == [True]


def test_will_retry_is_false_when_the_time_is_up(hanging: Hanging) -> None:
    """The call has failed by then, and what it raises is discarded, though its stage goes on."""
    told: list[bool] = []

    def fn(item: int) -> int:
        told.append(will_retry(ValueError()))
        hanging(item)
        told.append(will_retry(ValueError()))
        return item

    made = settings(fn, 1, timeout=0.02, retry=Retry(retry_on=ValueError), recover=minus_one)
    watch = Watch[int]().to(rx.concat(rx.of(0), rx.never()).pipe(stage_with(made)))
    watch.wait_for(1)
    hanging.release(0)
    assert eventually(lambda: told == [True, False])
    watch.dispose()


def test_will_retry_is_false_when_all_is_over(hanging: Hanging) -> None:
    """Nothing follows in a stage that was disposed."""
    told: list[bool] = []

    def fn(item: int) -> int:
        hanging(item)
        told.append(will_retry(ValueError()))
        return item

    made = settings(fn, 1, retry=Retry(initial=0))
    watch = Watch[int]().to(from_iterable([0]).pipe(stage_with(made)))
    hanging.gauge.wait_for(1)
    watch.dispose()
    hanging.release(0)
    assert eventually(lambda: told == [False])


def test_an_observable_knows_its_call() -> None:
    """Subscribed to, it may ask for the deadline, and whether another attempt follows."""
    scheduler, told = TestScheduler(), list[Any]()

    def inner(_: Any) -> Observable[int]:
        told.append((deadline(), will_retry(ValueError())))
        return rx.timer(4).pipe(rx_ops.flat_map(lambda _: rx.throw(ValueError())))

    made = settings(lambda _: rx.defer(inner), 1, timeout=10, retry=Retry(max_attempts=2, jitter=0), recover=minus_one)
    watch = Watch[int]().to(from_iterable([0]).pipe(stage_with(made)), scheduler)
    scheduler.start()
    assert watch.result() == [-1]
    assert told == [(10, True), (10, False)]


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
