"""What listeners set up around functions: where it applies, and how it is undone."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import Generator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest
from pipeline_helpers import same

from rxpipe import ItemView, Stage
from rxpipe.operators.core.running_call import running_call
from rxpipe.operators.stages.call import StageCall
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.wrap_call import Undo, inside

NAME: ContextVar[int | str | None] = ContextVar("name", default=None)


def name(item: ItemView) -> Undo:
    """Tell the function the ID of its item."""
    token = NAME.set(item.id)
    return lambda: NAME.reset(token)


def calling(item: ItemView, *, live: bool = True) -> None:
    """From now on, a call with this item runs here."""
    machine: Any = None
    worker: Any = SimpleNamespace(call=StageCall(machine, item))
    worker.call.live = live
    running_call.set(worker)


class Pause:
    """Awaiting it gives way once."""

    def __await__(self) -> Generator[None, None, int | str | None]:
        yield
        return NAME.get()


async def pausing(value: Any) -> Any:
    return await Pause()


def in_a_context(call: Any, *arguments: Any) -> Any:
    """Call it where nobody else sees what it sets."""
    return contextvars.copy_context().run(call, *arguments)


@pytest.mark.parametrize("plain", [True, False], ids=["awaitable", "coroutine"])
def test_while_it_runs_and_no_longer(plain: bool) -> None:
    """It is set up when the function begins to run, still there when it goes on, and undone when it returns."""

    def run() -> None:
        calling(Item("x", 0.0))
        call = inside(Stage("a", same), (lambda value: pausing(value)) if plain else pausing, name)
        steps = call(1).__await__()
        assert NAME.get() is None
        next(steps)
        assert NAME.get() == "x"
        with pytest.raises(StopIteration) as ended:
            next(steps)
        assert ended.value.value == "x"
        assert NAME.get() is None

    in_a_context(run)


@pytest.mark.parametrize("plain", [True, False], ids=["awaitable", "coroutine"])
def test_closed_in_another_context(plain: bool) -> None:
    """What waits on a loop that is gone may be closed anywhere: then nothing can be undone, and nothing is tried."""
    call = inside(Stage("a", same), (lambda value: pausing(value)) if plain else pausing, name)

    def begin() -> Any:
        calling(Item("x", 0.0))
        steps = call(1).__await__()
        next(steps)
        return steps

    in_a_context(begin).close()


def test_awaitable_that_is_not_awaited() -> None:
    """A coroutine that a plain function returned and nobody takes is closed, without a warning."""
    awaitable = inside(Stage("a", same), lambda value: pausing(value), name)(1)
    del awaitable
    gc.collect()


def test_future_that_a_function_returns() -> None:
    """Whatever can be awaited gives what it would have given."""

    async def main() -> Any:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        future.set_result(3)
        return await inside(Stage("a", same), lambda _: future, name)(1)

    assert asyncio.run(main()) == 3


@pytest.mark.parametrize("live", [True, False])
def test_a_call_that_is_over(live: bool) -> None:
    """A function that begins when its call has timed out already is not what its item is doing now."""

    def run() -> Any:
        calling(Item("x", 0.0), live=live)
        return inside(Stage("a", same), lambda _: NAME.get(), name)(1)

    assert in_a_context(run) == ("x" if live else None)


def test_it_raises() -> None:
    """It is undone then, too, and what the function raised is raised."""

    def run() -> None:
        calling(Item("x", 0.0))
        with pytest.raises(ZeroDivisionError):
            inside(Stage("a", same), lambda value: 1 / value, name)(0)
        assert NAME.get() is None

    in_a_context(run)


class Elsewhere(Executor):
    """Runs functions in who knows what places."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        raise NotImplementedError


def test_in_other_processes() -> None:
    """A function that travels stays as it is: it must pickle, and nothing of here is there."""
    with ProcessPoolExecutor(1) as pool:
        assert inside(Stage("a", same, executor=pool), same, name) is same
    assert inside(Stage("a", same, executor=Elsewhere()), same, name) is same
