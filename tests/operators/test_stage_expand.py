"""``ops.stage(expand=True)`` and ``ops.expand``: many values for each item, in any chain."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import reactivex
from operator_helpers import LIMIT, Watch, collect, run_on_loop
from reactivex import operators as rx_ops
from reactivex.testing import TestScheduler

from rxpipe import operators as ops
from rxpipe.operators import Retry, from_iterable


def twice(value: int) -> list[int]:
    return [value, value]


def generate(value: int) -> Iterator[int]:
    yield value
    yield value


async def generate_later(value: int) -> AsyncIterator[int]:
    yield value
    await asyncio.sleep(0)
    yield value


def observe(value: int) -> reactivex.Observable[int]:
    return reactivex.of(value, value)


@pytest.mark.parametrize("fn", [twice, generate, generate_later, observe])
def test_each_value_is_emitted(fn: Any) -> None:
    """Those of several items mix."""
    assert sorted(collect(from_iterable(range(5)).pipe(ops.expand(fn, concurrency=2)))) == sorted([*range(5)] * 2)


def test_ordered_values_follow_each_other() -> None:
    """In the order of their items."""
    source = from_iterable(range(20)).pipe(ops.expand(generate, concurrency=4, ordered=True))
    assert collect(source) == [number for number in range(20) for _ in range(2)]


def test_ordered_values_of_items_that_wait_for_their_key() -> None:
    """One slot is enough: an item whose turn it is does not wait for one behind it that has the slot."""
    stage = ops.stage(twice, expand=True, ordered=True, key=lambda value: value % 2)
    assert collect(from_iterable([1, 3, 2, 4, 5]).pipe(stage)) == [1, 1, 3, 3, 2, 2, 4, 4, 5, 5]


def test_nothing_is_pulled_before_there_is_room() -> None:
    """Of an endless iterator, as many as a stage downstream takes."""
    given = itertools.count()
    may_return, done = threading.Event(), threading.Event()

    def hold(value: int) -> int:
        done.set()
        assert may_return.wait(LIMIT)
        return value

    chain = from_iterable([1]).pipe(
        ops.expand(lambda value: iter(lambda: next(given), -1)), ops.stage(hold, queue_size=2), rx_ops.take(1)
    )
    watch = Watch[int]()
    subscription = chain.subscribe(watch)
    assert done.wait(LIMIT)
    threading.Event().wait(0.01)
    assert next(given) <= 5
    may_return.set()
    subscription.dispose()


def test_the_timeout_is_that_of_each_value() -> None:
    """Two seconds between values are no trouble, five are."""
    scheduler = TestScheduler()
    watch = Watch[Any]()
    values = reactivex.concat(*(reactivex.timer(seconds) for seconds in (2.0, 2.0, 5.0)))
    reactivex.of(1).pipe(ops.expand(lambda value: values, timeout=3)).subscribe(watch, scheduler=scheduler)
    scheduler.start()
    assert len(watch.values) == 2
    assert isinstance(watch.error, TimeoutError)


@pytest.mark.parametrize("wrong", [None, 1, "ab", b"ab", {1: 2}], ids=repr)
def test_a_single_value_is_refused(wrong: Any) -> None:
    """It ends the sequence, as any failure does."""
    with pytest.raises(TypeError, match="gives many values"):
        collect(from_iterable([1]).pipe(ops.stage(lambda value: wrong, expand=True)))


def test_a_failure_is_tried_again_from_the_start() -> None:
    """What it gave before is not known here."""
    attempts = itertools.count()

    def flaky(value: int) -> Iterator[int]:
        yield value
        if next(attempts) == 0:
            raise OSError

    assert collect(from_iterable([1]).pipe(ops.expand(flaky, retry=Retry(initial=0)))) == [1, 1]


def test_a_cancelled_async_iterator_keeps_its_slot_until_it_has_ended() -> None:
    """As a cancelled coroutine does."""
    inside: list[int] = []
    most: list[int] = []

    async def slow(value: int) -> AsyncIterator[int]:
        inside.append(value)
        most.append(len(inside))
        try:
            await asyncio.sleep(100)
            yield value
        finally:
            await asyncio.sleep(0.5)
            inside.pop()

    async def main() -> list[Any]:
        chain = from_iterable(range(3)).pipe(
            ops.expand(slow, timeout=1, recover=lambda failure: type(failure.error).__name__)
        )
        results = [one async for one in ops.to_async_iterable(chain)]
        await asyncio.sleep(1)  # for the last one to end
        return results

    assert run_on_loop(main) == ["StageTimeout"] * 3
    assert max(most) == 1
