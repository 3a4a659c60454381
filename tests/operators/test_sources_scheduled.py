"""`from_iterable` on schedulers and loops: iterables that block, and who is notified where."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from marbles import Basin, Pulled, joined
from operator_helpers import LIMIT, Watch, run_on_loop
from reactivex import operators as rx_ops
from reactivex import typing
from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.disposable import Disposable, SerialDisposable
from reactivex.scheduler import CurrentThreadScheduler, EventLoopScheduler, ImmediateScheduler, NewThreadScheduler
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpipe.operators import from_iterable, stage, timeout


def keep(value: int) -> int:
    return value


@pytest.mark.parametrize(
    "scheduler", [None, CurrentThreadScheduler(), ImmediateScheduler(), NewThreadScheduler(), TestScheduler()]
)
def test_disposal_out_of_an_item(scheduler: SchedulerBase | None) -> None:
    """An observer that disposes its subscription gets nothing more, wherever it is notified."""
    subscription, values = SerialDisposable(), list[int]()
    ready, disposed = threading.Event(), threading.Event()

    def on_value(value: int) -> None:
        assert ready.wait(LIMIT)
        values.append(value)
        if value == 3:
            subscription.dispose()
            disposed.set()

    def subscribe(_: Any = None, __: Any = None) -> None:
        subscription.disposable = from_iterable(itertools.count()).subscribe(on_value, scheduler=scheduler)
        ready.set()

    CurrentThreadScheduler.singleton().schedule(subscribe)
    if isinstance(scheduler, TestScheduler):
        scheduler.start()
    assert disposed.wait(LIMIT)
    assert values == [0, 1, 2, 3]


class Hasty(NewThreadScheduler):
    """Another thread is at work before `schedule` returns."""

    def schedule(self, action: typing.ScheduledAction[Any], state: Any = None) -> DisposableBase:
        thread = threading.Thread(target=action, args=(self, state), daemon=True)
        thread.start()
        thread.join(0.02)
        return Disposable()


def test_nothing_is_taken_before_the_subscriber_can_dispose() -> None:
    """Subscribed to on another thread, an endless source gives no more than is wanted."""
    pulled = Pulled(itertools.count())
    assert from_iterable(pulled).pipe(rx_ops.take(2)).run(Hasty()) == 1
    assert pulled.count == 2


@pytest.mark.parametrize("make", [EventLoopScheduler, NewThreadScheduler])
def test_an_iterable_that_blocks(make: Callable[[], Any]) -> None:
    """With a scheduler it blocks a thread of that, and neither the subscriber nor a worker."""
    incoming: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    threads: set[int] = set()

    def items() -> Iterator[int]:
        while (item := incoming.get(timeout=LIMIT)) is not None:
            threads.add(threading.get_ident())
            yield item

    scheduler = make()
    watch = Watch[int]().to(from_iterable(items(), scheduler=scheduler).pipe(stage(keep, queue_size=0)))
    for item in range(20):
        incoming.put(item)
        watch.wait_for(item + 1)
    incoming.put(None)
    assert watch.end() == list(range(20))
    assert threading.get_ident() not in threads
    if isinstance(scheduler, EventLoopScheduler):
        assert len(threads) == 1
        scheduler.dispose()


def test_an_iterable_that_blocks_keeps_no_place_from_another() -> None:
    """Behind a gate that both share, items of the other come while it blocks; then it waits for its turn."""
    go_on, blocked, scheduler = threading.Event(), threading.Event(), EventLoopScheduler()

    def slow() -> Iterator[str]:
        blocked.set()
        assert go_on.wait(LIMIT)
        yield "slow"

    other, basin = Subject[str](), Basin[str](1)
    basin.fill_from(joined(from_iterable(slow(), scheduler=scheduler), other.pipe(timeout(60))))
    assert blocked.wait(LIMIT)
    other.on_next("fast")
    other.on_completed()
    assert basin.messages == ["fast"]
    go_on.set()
    finish(scheduler)
    assert basin.messages == ["fast"]
    basin.drain()
    finish(scheduler)
    assert basin.messages == ["fast", "slow"]
    basin.drain()
    finish(scheduler)
    assert basin.messages == ["fast", "slow", None]
    scheduler.dispose()


def finish(scheduler: EventLoopScheduler) -> None:
    """Wait until a scheduler has done what it was given."""
    done = threading.Event()

    def tell(scheduler: SchedulerBase, state: Any = None) -> None:
        done.set()

    scheduler.schedule(tell)
    assert done.wait(LIMIT)


def test_disposal_while_it_blocks() -> None:
    """What it gives afterwards goes nowhere, and it is let go of."""
    go_on, blocked, scheduler, closed = threading.Event(), threading.Event(), EventLoopScheduler(), threading.Event()

    class Blocking:
        def __iter__(self) -> Iterator[int]:
            try:
                blocked.set()
                assert go_on.wait(LIMIT)
                yield 1
            finally:
                closed.set()

    watch = Watch[int]().to(from_iterable(Blocking(), scheduler=scheduler))
    assert blocked.wait(LIMIT)
    watch.dispose()
    go_on.set()
    assert closed.wait(LIMIT)
    assert (watch.values, watch.error, watch.completed) == ([], None, False)
    scheduler.dispose()


def test_on_a_loop_items_come_there() -> None:
    """Also those for which a worker's thread made room."""

    async def main() -> tuple[list[int], set[threading.Thread]]:
        watch = Watch[int]().to(from_iterable(range(50)).pipe(stage(keep, queue_size=0)))
        return await watch.end_on_loop(), set(watch.threads)

    assert run_on_loop(main, virtual=False) == (list(range(50)), {threading.current_thread()})


def test_the_immediate_scheduler() -> None:
    """Subscribed to on that, everything has come when `subscribe` returns."""
    watch = Watch[int]().to(from_iterable(range(3)), ImmediateScheduler.singleton())
    assert watch.result() == [0, 1, 2]
