"""Stages whose concurrency adapts itself: what they hold and run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import reactivex as rx
from adaptive_servers import Busy, Latency, Server, bounds, settings, varying
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from operator_helpers import LIMIT, Gauge, Watch, collect, run_on_loop
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.testing import TestScheduler
from reactivex.testing.recorded import Recorded

from rxpipe.operators import AdaptiveConcurrency, Failure, RateLimiter, Retry, from_iterable, stage
from rxpipe.operators.errors import StageStalled
from rxpipe.operators.stage import stage_with
from rxpipe.operators.stages.settings import StageStats

CONSTANT: Latency = lambda: 2.0  # noqa: E731


SHORT: Latency = lambda: 0.25  # noqa: E731


def minus_one(failure: Failure[int]) -> int:
    return -1


def negative(failure: Failure[int]) -> int:
    return -1 - failure.value


class Held:
    """Counts what a stage holds, from admission to result."""

    def __init__(self, items: int) -> None:
        self.count = 0
        self.on_admission: Callable[[int], None] = lambda held: None
        self._items = items

    def source(self) -> Iterator[int]:
        for item in range(self._items):
            self.count += 1
            self.on_admission(self.count)
            yield item

    def leave(self, value: Any) -> None:
        self.count -= 1


@pytest.mark.parametrize("queue_size", [0, 1, 10])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("refusal_takes", [0.0, 0.7])
def test_what_it_holds_follows_the_bound(queue_size: int, ordered: bool, refusal_takes: float) -> None:
    """No item is admitted beyond the bound of that moment and the queue, whatever is pushed back."""
    scheduler, held = TestScheduler(), Held(400)
    server = Server(scheduler, 12, varying(), refusal_takes=refusal_takes)
    options = settings(server, AdaptiveConcurrency(start=5), queue_size=queue_size, ordered=ordered)
    excess: list[float] = []

    def admitted(count: int) -> None:
        excess.append(count - options.stats.concurrency - queue_size)

    held.on_admission = admitted
    watch = Watch[int](held.leave).to(from_iterable(held.source()).pipe(stage_with(options)), scheduler)
    scheduler.start()
    assert sorted(watch.result()) == list(range(400))
    assert max(excess) == 0


@pytest.mark.parametrize("refusal_takes", [0.0, 0.7])
def test_no_call_starts_beyond_the_bound(refusal_takes: float) -> None:
    """Those that ran when it fell go on; another starts when there are fewer."""
    scheduler = TestScheduler()
    server = Server(scheduler, 12, varying(), refusal_takes=refusal_takes)
    excess: list[float] = []

    def call(value: int) -> Observable[int]:
        excess.append(options.stats.running - options.stats.concurrency)
        return server(value)

    options = settings(call, AdaptiveConcurrency(start=5))
    watch = Watch[int]().to(from_iterable(range(400)).pipe(stage_with(options)), scheduler)
    scheduler.start()
    assert sorted(watch.result()) == list(range(400))
    assert max(excess) == 0


def test_a_slow_source_does_not_raise_the_bound() -> None:
    """Where five calls run at once, nobody knows whether the server would take more than ten."""
    scheduler = TestScheduler()
    options = settings(Server(scheduler, 1000, lambda: 5.0), AdaptiveConcurrency())
    watch = Watch[int]().to(rx.interval(1).pipe(stage_with(options)), scheduler)
    assert set(bounds(scheduler, [options], 300)) == {10}
    watch.dispose()


def test_a_slow_stage_downstream_does_not_raise_the_bound() -> None:
    """Slots whose results wait to go downstream are not in use."""
    scheduler = TestScheduler()
    options = settings(Server(scheduler, 1000, lambda: 1.0), AdaptiveConcurrency())
    slow = stage(Server(scheduler, 1000, lambda: 10.0), queue_size=0)
    watch = Watch[int]().to(from_iterable(range(1000)).pipe(stage_with(options), slow), scheduler)
    assert set(bounds(scheduler, [options], 500)) == {10}
    watch.dispose()


def test_a_rate_limit_does_not_raise_the_bound() -> None:
    """Slots that wait for their place are not in use."""
    scheduler = TestScheduler()
    options = settings(Server(scheduler, 1000, CONSTANT), AdaptiveConcurrency(), rate_limit=RateLimiter(1))
    watch = Watch[int]().to(from_iterable(range(1000)).pipe(stage_with(options)), scheduler)
    assert set(bounds(scheduler, [options], 200)) == {10}
    watch.dispose()


def test_the_growth_in_virtual_time() -> None:
    """Rounds of two seconds: 10, 20, 40; the first refusal, at 4, is of the 31st call."""
    scheduler = TestScheduler()
    options = settings(Server(scheduler, 30), AdaptiveConcurrency(cool_down=5))
    watch = Watch[int]().to(from_iterable(range(1000)).pipe(stage_with(options)), scheduler)
    assert bounds(scheduler, [options], 9) == [10, 10, 20, 20, 32, 32, 32, 32, 32]
    watch.dispose()


def test_a_place_that_comes_when_the_bound_has_fallen_is_given_up() -> None:
    """Else two calls would follow each other at once when slots are free again."""
    scheduler = TestScheduler()
    calls: list[tuple[float, int]] = []

    def call(item: int) -> Observable[int]:
        calls.append((scheduler.clock, item))
        if item == 8:  # at 80; at 85 a place is on its way, for the tenth slot
            return rx.timer(5).pipe(rx_ops.flat_map(lambda _: rx.throw(Busy(1000))))
        return rx.timer(200 - 9 * item).pipe(rx_ops.map(lambda _: item))

    options = settings(call, AdaptiveConcurrency(), rate_limit=RateLimiter(1, 10))
    watch = Watch[int]().to(from_iterable(range(100)).pipe(stage_with(options)), scheduler)
    scheduler.advance_to(212)
    assert calls == [*((10 * item, item) for item in range(9)), (200, 9), (210, 10)]
    watch.dispose()


def test_timeouts_say_nothing_of_the_bound() -> None:
    """A call that times out is neither a success nor a refusal."""
    scheduler = TestScheduler()
    options = settings(lambda _: rx.never(), AdaptiveConcurrency(), timeout=3, recover=minus_one)
    watch = Watch[int]().to(from_iterable(range(300)).pipe(stage_with(options)), scheduler)
    scheduler.start()
    assert watch.result() == [-1] * 300
    assert options.stats.concurrency == 10


def test_other_failures_say_nothing_of_the_bound() -> None:
    """A call that fails is neither, though the server has answered."""
    scheduler = TestScheduler()

    def fails(item: int) -> int:
        raise ValueError(item)

    options = settings(fails, AdaptiveConcurrency(), recover=minus_one)
    watch = Watch[int]().to(from_iterable(range(300)).pipe(stage_with(options)), scheduler)
    scheduler.start()
    assert watch.result() == [-1] * 300
    assert options.stats.concurrency == 10


def test_a_refusal_that_is_not_tried_again_counts() -> None:
    """The bound falls also where the policy gives the item up."""
    scheduler = TestScheduler()

    def refuse(item: int) -> int:
        raise Busy

    options = settings(refuse, AdaptiveConcurrency(), retry=Retry(retry_on=lambda _: False), recover=minus_one)
    watch = Watch[int]().to(from_iterable(range(5)).pipe(stage_with(options)), scheduler)
    scheduler.start()
    assert watch.result() == [-1] * 5
    assert (options.stats.concurrency, options.stats.pushed_back, options.stats.failed) == (8, 0, 5)


def test_a_cool_down_does_not_grow_with_the_waiting_of_an_item() -> None:
    """An item that was pushed back often waits for long, and the server has not asked for that."""
    scheduler = TestScheduler()
    refused: list[float] = []

    def call(item: int) -> Observable[int]:
        if item in range(8) and len(refused) < 40:
            refused.append(scheduler.clock)
            raise Busy
        return rx.timer(1).pipe(rx_ops.map(lambda _: item))

    options = settings(call, AdaptiveConcurrency(start=8), retry=Retry(jitter=0, max_delay=1000))
    watch = Watch[int]().to(from_iterable(range(10_000)).pipe(stage_with(options)), scheduler)
    seen = bounds(scheduler, [options], 32)
    assert sorted(set(refused)) == [0, 1, 3, 7, 15]
    assert seen[14:19] == [10, 8, 8, 9, 10]  # refused for the fifth time, the items wait until 31
    watch.dispose()


@pytest.mark.parametrize("ordered", [False, True])
def test_equal_numbers_behave_as_a_number(ordered: bool) -> None:
    """`least=start=most=3` notifies what `concurrency=3` does, when it does."""

    def messages(concurrency: AdaptiveConcurrency | int) -> list[Recorded[Any]]:
        scheduler = TestScheduler()
        server = Server(scheduler, 2, varying(7), refusal_takes=0.3)
        options = settings(server, concurrency, ordered=ordered, retry=Retry(jitter=0))
        return scheduler.start(lambda: from_iterable(range(60)).pipe(stage_with(options)), disposed=5000).messages

    fixed = messages(3)
    assert len(fixed) == 61
    assert messages(AdaptiveConcurrency(least=3, start=3, most=3)) == fixed


def test_a_stage_whose_last_slots_are_stuck_stalls_when_the_bound_falls() -> None:
    """Four calls hang on, and one of five slots is left: a refusal takes it, and that must be noticed."""
    release = asyncio.Event()

    async def call(item: int) -> int:
        if item < 4:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                await release.wait()
                raise
        await asyncio.sleep(7)
        if item == 5:
            raise Busy(1)
        return item

    async def main() -> float:
        loop = asyncio.get_running_loop()
        chain = from_iterable(range(100)).pipe(
            stage(call, concurrency=AdaptiveConcurrency(start=5), timeout=10, recover=lambda failure: -failure.value)
        )
        with pytest.raises(StageStalled):
            await Watch[int]().to(chain).end_on_loop()
        stalled = loop.time()
        release.set()
        return stalled

    assert run_on_loop(main) == 14 + 10  # the refusal, and a call's time


def test_abandoned_threads_leave_slots_within_their_allowance(hanging: Any) -> None:
    """On threads, calls that time out are abandoned, and others go on in fresh ones, as with a fixed number."""

    def call(item: int) -> int:
        return hanging(item) if item < 2 else item

    chain = from_iterable([0, 1, 2]).pipe(
        stage(
            call,
            concurrency=AdaptiveConcurrency(start=1, most=3),
            timeout=0.02,
            recover=minus_one,
        )
    )
    assert collect(chain) == [-1, -1, 2]


def test_dispose_in_a_cool_down_ends_everything() -> None:
    """Nothing is called afterwards, and the figures add up."""
    scheduler = TestScheduler()
    server = Server(scheduler, 5, CONSTANT, retry_after=30)
    options = settings(server, AdaptiveConcurrency())
    watch = Watch[int]().to(from_iterable(range(1000)).pipe(stage_with(options)), scheduler)
    scheduler.advance_to(3)
    called = len(server.calls)
    watch.dispose()
    scheduler.start()
    stats = options.stats
    assert len(server.calls) == called
    assert (stats.running, stats.waiting) == (0, 0)
    assert stats.taken == stats.done + stats.failed + stats.cancelled + stats.discarded


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    plan=st.lists(st.sampled_from(["ok", "fails", "fails once", "hangs", "busy", "several"]), max_size=40),
    concurrency=st.sampled_from([(1, 1, 2), (1, 4, 8), (2, 2, 2), (1, 10, 200)]),
    queue_size=st.integers(0, 4),
    takes=st.integers(1, 6),
    ordered=st.booleans(),
    cool_down=st.sampled_from([0.0, 1.0]),
)
def test_conservation(
    plan: list[str],
    concurrency: tuple[int, int, int],
    queue_size: int,
    takes: int,
    ordered: bool,
    cool_down: float,
) -> None:
    """Every item comes out once, with timeouts, retries, refusals and Observables of several values."""
    scheduler = TestScheduler()
    server = Server(scheduler, takes, lambda: 1.0, refusal_takes=0.2)
    tried: set[int] = set()

    def call(item: int) -> Observable[int]:
        first = item not in tried
        tried.add(item)
        match plan[item]:
            case "hangs":
                return rx.never()
            case "fails":
                raise ValueError
            case "fails once" if first:
                raise ValueError
            case "busy" if first:
                raise Busy
            case "several":
                return rx.of(item, item, item)  # pays no heed to whose turn it is
            case _:
                return server(item)

    least, start, most = concurrency
    options = settings(
        call,
        AdaptiveConcurrency(least=least, start=start, most=most, cool_down=cool_down),
        queue_size=queue_size,
        timeout=5,
        retry=Retry(max_attempts=2, retry_on=ValueError, jitter=0),
        ordered=ordered,
        recover=negative,
    )
    check_stats = Checked(options.stats)
    chain = from_iterable(range(len(plan))).pipe(
        rx_ops.do_action(check_stats), stage_with(options), rx_ops.do_action(check_stats), stage(_same, queue_size=0)
    )
    watch = Watch[int]().to(chain, scheduler)
    scheduler.start()
    expected: list[int] = []
    for item, kind in enumerate(plan):
        expected += [item] * 3 if kind == "several" else [-1 - item] if kind in ("hangs", "fails") else [item]
    values = watch.result()
    assert (values if ordered else sorted(values)) == (expected if ordered else sorted(expected))
    assert check_stats.wrong == []
    assert options.stats.done + options.stats.failed == options.stats.taken == len(plan)


class Checked:
    """Looks at the figures of a stage whenever it is called."""

    def __init__(self, stats: StageStats) -> None:
        self.wrong: list[str] = []
        self._stats = stats

    def __call__(self, value: Any) -> None:
        stats = self._stats
        if stats.running < 0 or stats.waiting < 0:
            self.wrong.append(f"{stats.running} running, {stats.waiting} waiting")


def _same(value: int) -> int:
    return value


@pytest.mark.parametrize("place", ["threads", "loop"])
def test_on_threads_and_loops_nothing_is_lost(place: str) -> None:
    """With a server that takes three calls at once, and others refused at once."""
    gauge, lock = Gauge(), threading.Lock()

    def enter() -> None:
        with lock:
            if gauge.now >= 3:
                raise Busy(0.001)
            gauge.__enter__()

    def call(item: int) -> int:
        enter()
        gauge.__exit__(None, None, None)
        return item

    async def call_on_loop(item: int) -> int:
        enter()
        await asyncio.sleep(0)
        gauge.__exit__(None, None, None)
        return item

    options = settings(call if place == "threads" else call_on_loop, AdaptiveConcurrency(cool_down=0.01))
    watch = Watch[int]().to(from_iterable(range(500)).pipe(stage_with(options)))
    assert watch.ended.wait(LIMIT)
    assert sorted(watch.result()) == list(range(500))
    assert options.stats.done == 500
    assert gauge.most <= 3
