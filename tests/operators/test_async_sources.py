"""`from_async_iterable`: when it is advanced, what ends it, and that it is closed."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any

import pytest
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


async def turn(times: int = 10) -> None:
    """Let everything that can happen on the loop happen."""
    for _ in range(times):
        await asyncio.sleep(0)


class Numbers:
    """An async iterable that takes a while for each number, and a while to close.

    Attributes:
        count: How many it has given.
        closed: When its clean-up was through, by the loop's time.
        threads: The threads on which it ran.
    """

    def __init__(self, end: int | None = None, *, each: float = 0, closing: float = 0) -> None:
        self.count = 0
        self.closed: list[float] = []
        self.threads: set[str] = set()
        self._end = end
        self._each = each
        self._closing = closing

    async def __aiter__(self) -> AsyncGenerator[int, None]:
        try:
            for number in itertools.count() if self._end is None else range(self._end):
                await asyncio.sleep(self._each)
                self.count += 1
                self.threads.add(threading.current_thread().name)
                yield number
        finally:
            await asyncio.sleep(self._closing)
            self.closed.append(asyncio.get_running_loop().time())


class Failing:
    """An iterator that gives some numbers and then raises."""

    def __init__(self, error: BaseException, *items: int) -> None:
        self.error = error
        self.items = list(items)

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        if not self.items:
            raise self.error
        return self.items.pop(0)


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
        while not numbers.closed:
            threading.Event().wait(0.001)
        assert numbers.count == 2


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


class Never:
    """An iterator that never gives anything."""

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        return await asyncio.get_running_loop().create_future()


def test_a_loop_that_was_closed_upon_it() -> None:
    """Then nobody can be told; disposal is still possible."""
    watch, loop = Watch[int](), asyncio.new_event_loop()

    async def main() -> None:
        watch.to(from_async_iterable(Never()))
        await turn()

    loop.run_until_complete(main())
    for task in asyncio.all_tasks(loop):
        setattr(task, "_log_destroy_pending", False)  # noqa: B010 - asyncio would complain, and rightly so
    loop.close()
    del task
    gc.collect()
    watch.dispose()
    assert not watch.ended.is_set()


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
