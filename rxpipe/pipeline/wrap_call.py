"""Sets something up around the functions of stages, for listeners, where the function runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from reactivex.abc import SchedulerBase

from rxpipe.operators.core.clock import guarded
from rxpipe.operators.core.running_call import running_call
from rxpipe.operators.core.worker import discard
from rxpipe.operators.errors import describe
from rxpipe.operators.stage import is_coroutine_function
from rxpipe.operators.stages.call import StageCall
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.stage import Stage
from rxpipe.pipeline.views import ItemView

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

Undo = Callable[[], None]
Enter = Callable[[ItemView], Undo | None]
"""Sets something up for a call with an item. Returns a function that undoes it; None if nothing is to be undone."""


def inside(stage: Stage, call: Callable[[Any], Any], enter: Enter) -> Callable[[Any], Any]:
    """Run a stage's function inside the setting of ``enter``.

    A function that may run in another process is left unchanged. If a plain function returns an awaitable, awaiting it
    is inside, too. A returned Observable is not.

    Args:
        stage: The function's stage.
        call: The function.
        enter: Called just before the function, on the thread or in the task that runs it.
    """
    if not (stage.executor is None or isinstance(stage.executor, (SchedulerBase, ThreadPoolExecutor))):
        return call

    setting = _Setting(enter)
    if is_coroutine_function(call):

        @functools.wraps(call, updated=())
        async def run_coroutine(value: Any) -> Any:
            undo = setting.begin()
            try:
                return await call(value)
            except GeneratorExit:
                undo = None  # once its loop is gone, it may be closed in any context; its own goes with it
                raise
            finally:
                setting.end(undo)

        return run_coroutine

    @functools.wraps(call, updated=())
    def run(value: Any) -> Any:
        undo = setting.begin()
        try:
            result: Any = call(value)
        finally:
            setting.end(undo)
        return _Inside(result, setting) if hasattr(result.__class__, "__await__") else result

    return run


class _Setting:
    """Sets something up around calls. If that raises, the error is logged, and it is not tried again."""

    def __init__(self, enter: Enter) -> None:
        self._enter: Enter | None = enter

    def begin(self) -> Undo | None:
        """Set up for the running call."""
        item = _running_item()
        if item is None or self._enter is None:
            return None
        try:
            return self._enter(item)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the call must not notice
            self._failed(error)
            return None

    def end(self, undo: Undo | None) -> None:
        """Undo the setting."""
        try:
            if undo is not None:
                undo()
        except BaseException as error:  # noqa: BLE001 - as above
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self._enter = None
        guarded(lambda: _log.error("what a listener sets up around calls failed", error=describe(error)))


def _running_item() -> ItemView | None:
    """Returns the item of the running call; None if the call is over, such as after a timeout before its beginning."""
    running: Any = running_call.get()
    call = getattr(running, "call", running)  # of a worker: its present call
    return call.item if isinstance(call, StageCall) and call.live and isinstance(call.item, Item) else None


class _Inside:
    """An awaitable. The setting is made when it is awaited."""

    def __init__(self, awaitable: Any, setting: _Setting) -> None:
        self._awaitable = awaitable
        self._setting = setting

    def __await__(self) -> Generator[Any, Any, Any]:
        undo = self._setting.begin()
        try:
            return (yield from self._steps())
        except GeneratorExit:
            undo = None  # as above
            raise
        finally:
            self._setting.end(undo)

    def _steps(self) -> Generator[Any, Any, Any]:
        steps: Generator[Any, Any, Any] = self._awaitable.__await__()
        return steps

    def __del__(self) -> None:
        discard(self._awaitable)  # nothing is left to discard if it was awaited
