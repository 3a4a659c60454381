"""`to_async_iterable`: items in an `async for`, how many may wait, and what ends it."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
import reactivex as rx
from async_sources import Numbers, turn
from marbles import Pulled
from operator_helpers import Gauge, run_on_loop
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.scheduler import NewThreadScheduler
from reactivex.subject import Subject

from rxpipe.operators import from_async_iterable, from_iterable, stage, to_async_iterable

ERROR = ValueError("no")


def keep(value: int) -> int:
    return value


def square(value: int) -> int:
    return value * value


class Tap:
    """A source that is fed by hand, from any thread, and counts its subscriptions."""

    def __init__(self) -> None:
        self.observer: ObserverBase[int] | None = None
        self.subscribed = 0
        self.disposed = 0
        self.source: Observable[int] = rx.create(self._subscribe)

    def _subscribe(self, observer: ObserverBase[int], scheduler: SchedulerBase | None = None) -> DisposableBase:
        self.subscribed += 1
        self.observer = observer
        return Disposable(self._dispose)

    def _dispose(self) -> None:
        self.disposed += 1

    def give(self, *values: int, end: Exception | bool = False) -> None:
        assert self.observer is not None
        for value in values:
            self.observer.on_next(value)
        if isinstance(end, Exception):
            self.observer.on_error(end)
        elif end:
            self.observer.on_completed()


async def all_of(iterable: AsyncGenerator[int, None]) -> list[int]:
    return [value async for value in iterable]


def test_the_items() -> None:
    """All of them, in order."""

    async def main() -> list[int]:
        return await all_of(to_async_iterable(from_iterable(range(100)), 3))

    assert run_on_loop(main) == list(range(100))


def test_an_empty_sequence() -> None:
    """The loop is not entered."""

    async def main() -> list[int]:
        return await all_of(to_async_iterable(rx.empty()))

    assert run_on_loop(main) == []


def test_a_chain_on_the_loop() -> None:
    """Async in, async out, in the loop's time."""

    async def double(value: int) -> int:
        await asyncio.sleep(1)
        return value * 2

    async def main() -> tuple[list[int], float]:
        chain = from_async_iterable(Numbers(4, each=10)).pipe(stage(double))
        return await all_of(to_async_iterable(chain)), asyncio.get_running_loop().time()

    assert run_on_loop(main) == ([0, 2, 4, 6], 41)


def test_a_chain_on_threads() -> None:
    """Results of threads come on the loop."""

    async def main() -> list[int]:
        chain = from_iterable(range(200)).pipe(stage(keep, concurrency=4), stage(keep, concurrency=4))
        return sorted(await all_of(to_async_iterable(chain, 2)))

    assert run_on_loop(main, virtual=False) == list(range(200))


def test_it_subscribes_at_the_first_step() -> None:
    """Not before."""

    async def main() -> None:
        tap = Tap()
        items = to_async_iterable(tap.source)
        assert tap.subscribed == 0
        step = asyncio.ensure_future(anext(items))
        await turn()
        assert tap.subscribed == 1
        tap.give(1)
        assert await step == 1
        await items.aclose()

    run_on_loop(main)


@pytest.mark.parametrize("max_items", [1, 2, 10])
def test_no_more_items_wait_than_allowed(max_items: int) -> None:
    """So many are pulled ahead of the one that the consumer has in hand."""

    async def main() -> None:
        pulled = Pulled(itertools.count())
        async with aclosing(to_async_iterable(from_iterable(pulled), max_items)) as items:
            async for value in items:
                assert pulled.count == value + 1 + max_items
                if value == 5:
                    break

    run_on_loop(main)


def test_no_more_items_wait_than_allowed_behind_a_stage() -> None:
    """Those in the stage come on top."""

    async def main() -> None:
        pulled, gauge = Pulled(itertools.count()), Gauge()

        def call(value: int) -> int:
            with gauge:
                return value

        chain = from_iterable(pulled).pipe(stage(call, queue_size=2))
        async with aclosing(to_async_iterable(chain, 3)) as items:
            async for value in items:
                await asyncio.to_thread(pulled.wait_for, value + 7)
                assert pulled.count == value + 7
                if value == 5:
                    break

    run_on_loop(main, virtual=False)


@pytest.mark.parametrize("max_items", [0, -1])
def test_no_items_are_refused(max_items: int) -> None:
    """At the call, not at the first step."""
    with pytest.raises(ValueError, match="max_items"):
        to_async_iterable(rx.empty(), max_items)


def test_an_error_comes_after_the_items() -> None:
    """What was there before it is not lost."""

    async def main() -> list[int]:
        tap, values = Tap(), list[int]()
        items = to_async_iterable(tap.source, 1)
        step = asyncio.ensure_future(anext(items))
        await turn()
        tap.give(1, 2, 3, end=ERROR)
        values.append(await step)
        try:
            async for value in items:
                values.append(value)
        except ValueError as error:
            assert error is ERROR  # noqa: PT017 - pytest.raises would hide that items came before
        return values

    assert run_on_loop(main) == [1, 2, 3]


def test_an_error_before_any_item() -> None:
    """It comes at the first step."""

    async def main() -> None:
        with pytest.raises(ValueError, match="no"):
            await anext(to_async_iterable(rx.throw(ERROR)))

    run_on_loop(main)


def test_an_error_while_it_waits() -> None:
    """It comes at that step, and the generator is over."""

    async def main() -> None:
        tap = Tap()
        items = to_async_iterable(tap.source)
        step = asyncio.ensure_future(anext(items))
        await turn()
        tap.give(end=ERROR)
        with pytest.raises(ValueError, match="no"):
            await step
        with pytest.raises(StopAsyncIteration):
            await anext(items)
        assert tap.disposed == 1

    run_on_loop(main)


@pytest.mark.parametrize("way", ["break", "raise", "return"])
def test_leaving_the_loop_disposes_the_subscription(way: str) -> None:
    """At once, with `aclosing`."""

    async def main() -> None:
        tap = Tap()

        async def consume() -> None:
            async with aclosing(to_async_iterable(tap.source)) as items:
                async for _ in items:
                    if way == "break":
                        break
                    if way == "return":
                        return
                    raise KeyError

        task = asyncio.ensure_future(consume())
        await turn()
        tap.give(1, 2)
        if way == "raise":
            with pytest.raises(KeyError):
                await task
        else:
            await task
        assert tap.disposed == 1
        tap.give(3, end=True)

    run_on_loop(main)


def test_a_generator_that_is_dropped_disposes_the_subscription() -> None:
    """The loop closes it when it is collected."""

    async def main() -> None:
        tap = Tap()

        async def consume() -> None:
            async for _ in to_async_iterable(tap.source):
                break

        task = asyncio.ensure_future(consume())
        await turn()
        tap.give(1)
        await task
        gc.collect()
        await turn()
        assert tap.disposed == 1

    run_on_loop(main)


def test_cancelling_the_consumer_disposes_the_subscription() -> None:
    """While it waits for an item."""

    async def main() -> None:
        tap = Tap()
        task = asyncio.ensure_future(all_of(to_async_iterable(tap.source)))
        await turn()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert tap.disposed == 1

    run_on_loop(main)


def test_disposal_stops_the_stages_upstream() -> None:
    """Their calls are cancelled."""

    async def main() -> list[str]:
        seen: list[str] = []

        async def hang(value: int) -> int:
            if value == 0:
                return value
            try:
                return await asyncio.sleep(1000, value)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        async with aclosing(to_async_iterable(from_iterable(range(5)).pipe(stage(hang)))) as items:
            async for _ in items:
                await turn()
                break
        await turn()
        return seen

    assert run_on_loop(main) == ["cancelled"]


def test_items_from_other_threads() -> None:
    """They wake the loop, and the end does not overtake them."""

    async def main() -> None:
        for count in [0, 1, 2, 50] * 25:
            source = rx.from_iterable(range(count), NewThreadScheduler())
            assert await all_of(to_async_iterable(source)) == list(range(count))

    run_on_loop(main, virtual=False)


@pytest.mark.parametrize("look", [1, 2, 3])
def test_an_end_that_comes_with_the_last_item_while_it_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    """An item that another thread gives right after a look at what there is, and ends with, is not lost."""
    tap, looks = Tap(), 0

    class Watched(deque[int]):
        def __len__(self) -> int:
            nonlocal looks
            length, looks = super().__len__(), looks + 1
            if looks == look:
                tap.give(1, end=True)
            return length

    async def main() -> list[int]:
        items = to_async_iterable(tap.source)
        step = asyncio.ensure_future(all_of(items))
        await turn()
        if looks < look:
            tap.give(1, end=True)
        return await step

    monkeypatch.setattr("rxpipe.operators.to_async.deque", Watched)
    assert run_on_loop(main) == [1]


def test_items_of_another_thread_after_the_loop_was_closed() -> None:
    """Nobody takes them, and the thread does not suffer for it."""
    tap = Tap()

    async def main() -> asyncio.Task[list[int]]:
        task = asyncio.ensure_future(all_of(to_async_iterable(tap.source)))
        await turn()
        setattr(task, "_log_destroy_pending", False)  # noqa: B010 - asyncio would complain, and rightly so
        return task

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(main())
    loop.close()
    tap.give(1, end=True)
    del task
    gc.collect()
    assert tap.disposed == 1


def test_several_at_once() -> None:
    """Each iteration is a subscription of its own."""

    async def main() -> list[list[int]]:
        source = from_iterable(range(5)).pipe(rx_ops.map(square))
        return await asyncio.gather(*[all_of(to_async_iterable(source, 2)) for _ in range(3)])

    assert run_on_loop(main) == [[0, 1, 4, 9, 16]] * 3


def test_a_subject_is_buffered() -> None:
    """What cannot wait is not lost."""

    async def main() -> list[int]:
        subject: Subject[Any] = Subject()
        task = asyncio.ensure_future(all_of(to_async_iterable(subject, 1)))
        await turn()
        for value in range(100):
            subject.on_next(value)
        subject.on_completed()
        return await task

    assert run_on_loop(main) == list(range(100))
