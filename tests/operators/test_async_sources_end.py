"""How `from_async_iterable` ends: by disposal, by errors, with its loop; and that it is closed in any case."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from async_sources import Failing, Never, Numbers, turn
from marbles import Basin
from operator_helpers import LIMIT, Watch, collect, run_on_loop
from reactivex import operators as rx_ops

from rxpipe.operators import from_async_iterable
from rxpipe.operators.errors import CallFailed

ERROR = ValueError("no")


async def dispose_while_it_waits_for_room(numbers: Numbers) -> None:
    basin = Basin[int](1).fill_from(from_async_iterable(numbers))
    await asyncio.sleep(15)
    basin.dispose()


async def dispose_while_it_is_awaited(numbers: Numbers) -> None:
    watch = Watch[int]().to(from_async_iterable(numbers))
    await asyncio.sleep(15)
    watch.dispose()


async def dispose_out_of_an_item(numbers: Numbers) -> None:
    watch = Watch[int]().to(from_async_iterable(numbers).pipe(rx_ops.take(1)))
    assert await watch.end_on_loop() == [0]


async def dispose_on_another_thread(numbers: Numbers) -> None:
    watch = Watch[int](lambda value: other.start()).to(from_async_iterable(numbers))
    other = threading.Thread(target=watch.dispose)
    await asyncio.sleep(11)
    other.join(LIMIT)


async def dispose_out_of_an_item_that_fills_the_gate(numbers: Numbers) -> None:
    basin = Basin[int](1, lambda value: basin.dispose()).fill_from(from_async_iterable(numbers))
    await asyncio.sleep(11)


ENDS = [
    dispose_out_of_an_item_that_fills_the_gate,
    dispose_while_it_waits_for_room,
    dispose_while_it_is_awaited,
    dispose_out_of_an_item,
    dispose_on_another_thread,
]


@pytest.mark.parametrize("end", ENDS)
def test_disposal_closes_it(end: Callable[[Numbers], Any]) -> None:
    """However it is disposed: nothing more is asked for, and its clean-up may await to its end."""

    async def main() -> Numbers:
        numbers = Numbers(each=10, closing=5)
        await end(numbers)
        assert numbers.closed == []
        await asyncio.sleep(100)
        return numbers

    numbers = run_on_loop(main)
    assert (numbers.count, len(numbers.closed)) == (1, 1)


def test_disposal_closes_it_on_the_background_loop() -> None:
    """Whichever thread disposes it, the background loop lives until the clean-up is through."""
    for _ in range(50):
        numbers = Numbers(closing=0.001)
        assert len(collect(from_async_iterable(numbers).pipe(rx_ops.take(2)))) == 2
        for thread in threading.enumerate():
            if thread.name == "rxpipe-loop":
                thread.join(LIMIT)
        assert (numbers.count, len(numbers.closed)) == (2, 1)


def test_disposal_before_it_begins() -> None:
    """It is not iterated at all."""
    iterated: list[bool] = []

    class Noting(Numbers):
        def __aiter__(self) -> AsyncGenerator[int, None]:
            iterated.append(True)
            return super().__aiter__()

    async def main() -> None:
        Watch[int]().to(from_async_iterable(Noting())).dispose()
        await turn()

    run_on_loop(main)
    assert iterated == []


def test_an_error_of_the_clean_up_ends_the_sequence() -> None:
    """If nothing else has ended it."""

    class Closing(Failing):
        async def aclose(self) -> None:
            raise ERROR

    watch = Watch[int]().to(from_async_iterable(Closing(StopAsyncIteration(), 1)))
    assert watch.ended.wait(LIMIT)
    assert (watch.values, watch.error) == ([1], ERROR)


def test_an_error_of_the_clean_up_after_another() -> None:
    """The first one counts."""

    class Closing(Failing):
        async def aclose(self) -> None:
            raise KeyError

    watch = Watch[int]().to(from_async_iterable(Closing(ERROR)))
    assert watch.ended.wait(LIMIT)
    assert watch.error is ERROR


def test_it_is_closed_before_the_completion() -> None:
    """Whoever hears of the end finds that everything is over."""

    async def main() -> list[float]:
        numbers = Numbers(1, each=10, closing=5)
        await Watch[int]().to(from_async_iterable(numbers)).end_on_loop()
        return numbers.closed

    assert run_on_loop(main) == [15]


@pytest.mark.parametrize("turns", [0, 3])
def test_the_loop_s_shutdown_ends_the_sequence(turns: int) -> None:
    """Cancelled by whoever ends the loop, it fails, and is closed if it had begun."""
    numbers, watch = Numbers(each=1), Watch[int]()

    async def main() -> None:
        watch.to(from_async_iterable(numbers))
        await turn(turns)

    asyncio.run(main())
    assert isinstance(watch.error, CallFailed)
    assert isinstance(watch.error.__cause__, asyncio.CancelledError)
    assert len(numbers.closed) == (turns > 0)


def test_disposal_after_the_loop_was_closed() -> None:
    """There is nothing left to do."""
    watch = Watch[int]()

    async def main() -> None:
        watch.to(from_async_iterable(Numbers()))
        await turn()

    asyncio.run(main())
    watch.dispose()
    assert watch.ended.is_set()


async def subscribe_and_leave(watch: Watch[int]) -> None:
    watch.to(from_async_iterable(Never()))
    await turn()
    for task in asyncio.all_tasks():
        setattr(task, "_log_destroy_pending", False)  # noqa: B010 - asyncio would complain, and rightly so


def test_disposal_after_the_loop_was_closed_upon_it() -> None:
    """There is nothing left to do."""
    watch, loop = Watch[int](), asyncio.new_event_loop()
    loop.run_until_complete(subscribe_and_leave(watch))
    loop.close()
    watch.dispose()
    assert not watch.ended.is_set()


def test_a_task_that_is_freed_with_its_loop() -> None:
    """Nobody is told out of the garbage collector."""
    watch, loop = Watch[int](), asyncio.new_event_loop()
    loop.run_until_complete(subscribe_and_leave(watch))
    loop.close()
    watch.subscription = None
    gc.collect()
    assert not watch.ended.is_set()
