"""What listeners set up around the functions of stages, in the thread or task where these run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from reactivex.abc import SchedulerBase

from rxpipe.item import Item
from rxpipe.operators.runners import discard
from rxpipe.operators.running_call import running_call
from rxpipe.operators.stage import is_coroutine_function
from rxpipe.operators.stage_call import StageCall
from rxpipe.stage import Stage

Undo = Callable[[], None]
Enter = Callable[[Item], Undo | None]
"""Sets something up for a call with an item, and says how that is undone; None if there is nothing to."""


def inside(stage: Stage, call: Callable[[Any], Any], enter: Enter) -> Callable[[Any], Any]:
    """The function of a stage inside what ``enter`` sets up; as it is if it runs in other processes.

    Of a plain function that returns an awaitable, awaiting that is inside, too; an Observable that it returns is not.

    Args:
        stage: Where it belongs.
        call: The function.
        enter: Called on the thread, or in the task, that runs the function, just before it does.
    """
    if not (stage.executor is None or isinstance(stage.executor, (SchedulerBase, ThreadPoolExecutor))):
        return call

    def begin() -> Undo | None:
        item = _running_item()
        return None if item is None else enter(item)

    if is_coroutine_function(call):

        @functools.wraps(call, updated=())
        async def run_coroutine(value: Any) -> Any:
            undo = begin()
            try:
                return await call(value)
            except GeneratorExit:
                undo = None  # it may be closed in any context, once its loop is gone; its own goes with it
                raise
            finally:
                if undo is not None:
                    undo()

        return run_coroutine

    @functools.wraps(call, updated=())
    def run(value: Any) -> Any:
        undo = begin()
        try:
            result: Any = call(value)
        finally:
            if undo is not None:
                undo()
        return _Inside(result, begin) if hasattr(result.__class__, "__await__") else result

    return run


def _running_item() -> Item | None:
    """The item that the function is called with; None if the call is over, as when it timed out before it began."""
    running: Any = running_call.get()
    call = getattr(running, "call", running)  # of a worker, its present one
    return call.item if isinstance(call, StageCall) and call.live and isinstance(call.item, Item) else None


class _Inside:
    """An awaitable, awaited inside what ``begin`` sets up then and there."""

    def __init__(self, awaitable: Any, begin: Callable[[], Undo | None]) -> None:
        self._awaitable = awaitable
        self._begin = begin

    def __await__(self) -> Generator[Any, Any, Any]:
        undo = self._begin()
        try:
            return (yield from self._steps())
        except GeneratorExit:
            undo = None  # as above
            raise
        finally:
            if undo is not None:
                undo()

    def _steps(self) -> Generator[Any, Any, Any]:
        steps: Generator[Any, Any, Any] = self._awaitable.__await__()
        return steps

    def __del__(self) -> None:
        discard(self._awaitable)  # nothing is left to discard if it was awaited
