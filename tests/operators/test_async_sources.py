"""`from_async_iterable`: when it is advanced, what ends it, and that it is closed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextvars import ContextVar
from typing import Any

import pytest
from async_sources import Failing, Numbers, turn
from marbles import Basin, joined
from operator_helpers import LIMIT, Watch, collect, run_on_loop
from reactivex import operators as rx_ops
from reactivex.subject import Subject

from rxpipe.operators import from_async_iterable, from_iterable, stage, timeout
from rxpipe.operators.errors import CallFailed

ERROR = ValueError("no")
RAISED: list[BaseException] = [ERROR, KeyboardInterrupt(), SystemExit(1), GeneratorExit(), asyncio.CancelledError()]
ITEM = ContextVar("item", default="none")


def keep(value: int) -> int:
    return value


def test_items_come_on_the_running_loop() -> None:
    """In order, each when it is there, and the completion after the last."""

    async def main() -> tuple[list[int], float, set[threading.Thread]]:
        watch = Watch[int]().to(from_async_iterable(Numbers(3, each=10)))
        return await watch.end_on_loop(), asyncio.get_running_loop().time(), set(watch.threads)

    assert run_on_loop(main) == ([0, 1, 2], 30, {threading.current_thread()})


def test_without_a_running_loop_it_runs_on_rxpipe_s_own() -> None:
    """That ends with the last that uses it, as the fixture of all tests sees."""
    numbers = Numbers(3)
    assert collect(from_async_iterable(numbers)) == [0, 1, 2]
    assert numbers.threads == {"rxpipe-loop"}


def test_an_empty_iterable() -> None:
    """It completes."""
    assert collect(from_async_iterable(Numbers(0))) == []


def test_each_subscription_iterates_anew() -> None:
    """The observable is cold."""
    numbers = Numbers(3)
    source = from_async_iterable(numbers)
    assert (collect(source), collect(source), numbers.count) == ([0, 1, 2], [0, 1, 2], 6)


def test_nothing_is_asked_for_before_there_is_room() -> None:
    """As many are taken as there are places, then one for each that is free again."""

    async def main() -> list[int]:
        numbers, counts = Numbers(), list[int]()
        basin = Basin[int](2).fill_from(from_async_iterable(numbers))
        for drained in (0, 1, 2):
            basin.drain(drained)
            await turn()
            counts.append(numbers.count)
        basin.dispose()
        basin.drain(2)
        await turn()
        counts.append(numbers.count)
        assert basin.messages == [0, 1, 2, 3, 4]
        return counts

    assert run_on_loop(main) == [2, 3, 5, 5]


def test_nothing_is_asked_for_before_a_thread_has_room() -> None:
    """The same from the background loop, behind a stage on threads."""
    numbers, release = Numbers(20), threading.Semaphore(0)

    def wait(value: int) -> int:
        assert release.acquire(timeout=LIMIT)
        return value

    watch = Watch[int]().to(from_async_iterable(numbers).pipe(stage(wait, queue_size=2)))
    for given in range(1, 21):
        release.release()
        watch.wait_for(given)
        assert numbers.count <= given + 3
    assert watch.end() == list(range(20))


def test_while_it_is_awaited_it_keeps_no_place_from_another() -> None:
    """Behind a gate that both share, items of the other come meanwhile; then it waits for its turn."""

    async def main() -> list[Any]:
        other, basin = Subject[str](), Basin[Any](1)
        basin.fill_from(joined(from_async_iterable(Numbers(1, each=10)), other.pipe(timeout(60))))
        await turn()
        other.on_next("fast")
        other.on_completed()
        await asyncio.sleep(20)
        assert basin.messages == ["fast"]
        basin.drain(1)
        await turn()
        assert basin.messages == ["fast", 0]
        basin.drain(1)
        await turn()
        return basin.messages

    assert run_on_loop(main) == ["fast", 0, None]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("items", [[], [1, 2]], ids=len)
def test_what_it_raises_ends_the_sequence(error: BaseException, items: list[int]) -> None:
    """With the error itself, or wrapped in one that says what it was."""
    watch = Watch[int]().to(from_async_iterable(Failing(error, *items)))
    assert watch.ended.wait(LIMIT)
    assert watch.values == items
    if isinstance(error, Exception):
        assert watch.error is error
    else:
        assert isinstance(watch.error, CallFailed)
        assert watch.error.__cause__ is error


@pytest.mark.parametrize("error", [ERROR, KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_what_aiter_raises_ends_the_sequence(error: BaseException) -> None:
    """So does an iterable that cannot be iterated."""

    class Refusing:
        def __aiter__(self) -> AsyncIterator[int]:
            raise error

    watch = Watch[int]().to(from_async_iterable(Refusing()))
    assert watch.ended.wait(LIMIT)
    assert error in (watch.error, watch.error and watch.error.__cause__)


def test_what_is_no_async_iterable_ends_the_sequence() -> None:
    """The error says so."""
    nothing: Any = [1, 2]
    with pytest.raises(TypeError, match="async"):
        collect(from_async_iterable(nothing))


def test_an_iterator_needs_no_more_than_anext() -> None:
    """As for `async for`."""

    class Bare:
        def __init__(self) -> None:
            self.left = 2

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

    class Iterable:
        def __aiter__(self) -> Any:
            return Bare()

    assert collect(from_async_iterable(Iterable())) == [1, 0]


@pytest.mark.parametrize("error", RAISED[:3], ids=lambda error: type(error).__name__)
def test_what_an_observer_raises_ends_the_sequence(error: BaseException) -> None:
    """No other item is asked for, and the iterable is closed."""

    async def main() -> Numbers:
        def fail(value: int) -> None:
            raise error

        numbers, watch = Numbers(closing=10), Watch[int](fail)
        watch.to(from_async_iterable(numbers))
        await asyncio.sleep(20)
        assert error in (watch.error, watch.error and watch.error.__cause__)
        return numbers

    numbers = run_on_loop(main)
    assert (numbers.count, numbers.closed) == (1, [10])


def test_it_runs_in_the_subscriber_s_context() -> None:
    """Context variables are as they were at the subscription; but what it subscribes to is behind no gate of ours."""
    seen: list[Any] = []

    async def look() -> AsyncGenerator[int, None]:
        seen.append(ITEM.get())
        Watch[int]().to(from_iterable(range(10)).pipe(rx_ops.do_action(seen.append)))
        yield 1

    token = ITEM.set("seventeen")
    basin, done = Basin[int](1), threading.Event()
    basin.fill_from(from_async_iterable(look()).pipe(rx_ops.do_action(lambda _: done.set())))
    ITEM.reset(token)
    assert done.wait(LIMIT)
    assert seen == ["seventeen", *range(10)]
    basin.dispose()


def test_sources_share_the_background_loop() -> None:
    """Several at once use one thread."""
    together: list[str] = []
    joint = joined(*[from_async_iterable(Numbers(5, each=0.001)) for _ in range(5)])
    watch = Watch[int](lambda value: together.append(threading.current_thread().name)).to(joint)
    assert sorted(watch.end()) == sorted(list(range(5)) * 5)
    assert len(set(together)) == 1
