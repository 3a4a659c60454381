"""Each coroutine call of `stage` is like one in a task of its own, though tasks are shared by many."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest
from operator_helpers import Watch, run_on_loop
from reactivex import Observable
from reactivex.subject import Subject

from rxpipe.operators import Failure, deadline, from_iterable, stage
from rxpipe.operators.errors import CallFailed

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


async def sleep(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


def kind(failure: Failure[Any]) -> str:
    return type(failure.error).__name__


def values_of(chain: Callable[[], Observable[Any]]) -> list[Any]:
    """What a chain gives on a loop."""

    async def main() -> list[Any]:
        return await Watch[Any]().to(chain()).end_on_loop()

    return run_on_loop(main)


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError("own"), GeneratorExit("own"), SystemExit("own"), KeyboardInterrupt("own")]
)
def test_what_a_coroutine_raises_is_its_failure_only(error: BaseException) -> None:
    """Even what would end a task or a loop fails the one item, with what was raised as the cause."""

    async def fn(value: int) -> int:
        if value == 1:
            await asyncio.sleep(1)
            raise error
        return value

    failures: list[BaseException] = []

    def recover(failure: Failure[int]) -> int:
        failures.append(failure.error)
        return -1

    assert values_of(lambda: from_iterable(range(4)).pipe(stage(fn, recover=recover))) == [
        0,
        -1,
        2,
        3,
    ]
    assert failures == [error]


def test_what_is_not_an_exception_is_wrapped() -> None:
    """Without `recover`, a `CancelledError` of the function's own arrives as the cause of `CallFailed`."""

    async def fn(value: int) -> int:
        raise asyncio.CancelledError

    with pytest.raises(CallFailed, match="CancelledError"):
        values_of(lambda: from_iterable([1]).pipe(stage(fn)))


@pytest.mark.parametrize("error", [StopIteration(), StopAsyncIteration()])
def test_iteration_errors_become_runtime_errors(error: Exception) -> None:
    """Python itself turns a `StopIteration` out of a coroutine into a `RuntimeError`; nothing hangs."""

    async def fn(value: int) -> int:
        raise error

    with pytest.raises((RuntimeError, StopAsyncIteration)):
        values_of(lambda: from_iterable([1]).pipe(stage(fn)))


def test_asyncios_own_tools_work_in_a_call() -> None:
    """`asyncio.timeout`, task groups and `current_task` behave as in any task, call after call."""

    async def fn(value: int) -> tuple[bool, list[int], str]:
        timed_out = False
        try:
            async with asyncio.timeout(2):
                await asyncio.sleep(50)
        except TimeoutError:
            timed_out = True
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(1, value + n)) for n in range(2)]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        return timed_out, [task.result() for task in tasks], task.get_name()

    chain = from_iterable([1, 2]).pipe(stage(fn, name="ask"))
    assert values_of(lambda: chain) == [(True, [1, 2], "rxpipe-ask"), (True, [2, 3], "rxpipe-ask")]


@pytest.mark.parametrize("swallow", [True, False])
def test_a_cancellation_does_not_reach_the_next_call(swallow: bool) -> None:
    """A call that cancels its own task, and ends before it is noticed, leaves nothing for its successors."""

    async def fn(value: int) -> int:
        task = asyncio.current_task()
        assert task is not None
        if value == 0:
            task.cancel()
            if swallow:
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.sleep(1)
            return value
        await asyncio.sleep(1)
        return value + task.cancelling()

    assert values_of(lambda: from_iterable(range(4)).pipe(stage(fn))) == [0, 1, 2, 3]


def test_context_variables_do_not_leak_between_calls() -> None:
    """What a call sets is not seen by later ones, and what the subscriber has set is seen by all."""

    async def fn(value: int) -> str:
        seen = VAR.get()
        VAR.set(f"call {value}")
        await asyncio.sleep(value % 2)
        return f"{seen}, {VAR.get()}"

    async def main() -> list[str]:
        VAR.set("subscriber")
        return await Watch[str]().to(from_iterable(range(6)).pipe(stage(fn, concurrency=2))).end_on_loop()

    assert sorted(run_on_loop(main)) == [f"subscriber, call {n}" for n in range(6)]


def test_a_call_knows_its_deadline() -> None:
    """`deadline()` is what is left to the running call, in helpers it awaits and tasks it makes, and not outside."""

    async def helper() -> float | None:
        await asyncio.sleep(1)
        return deadline()

    async def fn(value: int) -> tuple[float | None, float | None, float | None]:
        await asyncio.sleep(value)
        return deadline(), await helper(), await asyncio.create_task(helper())

    async def main() -> None:
        outside: list[float | None] = []
        watch = Watch[Any](lambda value: outside.append(deadline()))
        watch.to(from_iterable([1, 2, 3]).pipe(stage(fn, concurrency=2, timeout=10)))
        assert await watch.end_on_loop() == [(9, 8, 7), (8, 7, 6), (7, 6, 5)]
        assert outside == [None] * 3

    run_on_loop(main)


def test_cancelling_every_task_ends_the_sequence() -> None:
    """When all tasks of a loop are cancelled, as at its shutdown, calls fail and the sequence ends."""

    async def main() -> None:
        watch = Watch[Any]().to(from_iterable([1, 2]).pipe(stage(sleep, concurrency=2, queue_size=0)))
        await asyncio.sleep(0.5)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with pytest.raises(CallFailed, match="CancelledError"):
            await watch.end_on_loop()

    run_on_loop(main)


@pytest.mark.parametrize("turns", range(4))
def test_tasks_cancelled_at_any_moment_are_replaced(turns: int) -> None:
    """Workers cancelled before they began, while idle or while giving way do not leave later items hanging."""

    async def fn(value: int) -> int:
        return value

    async def main() -> None:
        source = Subject[int]()
        watch = Watch[Any]().to(source.pipe(stage(fn, concurrency=2, recover=kind)))
        for number in range(3):
            source.on_next(number)
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        source.on_completed()
        assert len(await watch.end_on_loop()) == 3

    run_on_loop(main)
