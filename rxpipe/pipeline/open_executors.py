"""Opens the executors of a run before it starts, and closes them at its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable

from rxpipe.operators.core.clock import running_loop
from rxpipe.operators.stage import ExecutionTarget
from rxpipe.pipeline.ports import ManagedExecutor, OpenExecutor, Write
from rxpipe.pipeline.stage import Stage

A = TypeVar("A")


class OpenExecutors:
    """The open executors of a run. Each is opened once, and shared by all stages with it. A context manager."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        """Open the executors of these stages.

        Raises:
            ConfigError: An executor cannot be used, or a stage's function is missing where its calls would run.
        """
        self._opened: dict[ManagedExecutor, OpenExecutor] = {}
        functions: dict[ManagedExecutor, dict[str, Callable[[Any], Any]]] = {}
        for stage in stages:
            if isinstance(stage.executor, ManagedExecutor):
                functions.setdefault(stage.executor, {})[stage.name] = stage.call
        try:
            for executor, called in functions.items():
                self._opened[executor] = executor.open(called)
        except BaseException:
            self.close()
            raise

    def target_of(self, executor: ExecutionTarget | None) -> ExecutionTarget | None:
        """Returns where the calls of a stage with this executor run."""
        return self._opened[executor] if isinstance(executor, ManagedExecutor) else executor

    def close(self) -> None:
        """Close all executors. May block for a moment, and be called again."""
        _close_all(self._opened.values())

    def closed_with(self, write: Write) -> Write:
        """Returns ``write``, changed to close the executors when its sequence ends."""
        return (lambda outcomes: self.closed_after(write(outcomes))) if self._opened else write

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def closed_after(self, source: Observable[A]) -> Observable[A]:
        """Returns the source, changed to close the executors before it passes on its end.

        Disposing closes them, too.
        """

        def subscribe(observer: ObserverBase[A], scheduler: SchedulerBase | None = None) -> DisposableBase:
            loop = running_loop()

            def end(error: Exception | None = None) -> None:
                def tell() -> None:
                    observer.on_completed() if error is None else observer.on_error(error)

                def close_and_tell() -> None:
                    try:
                        self.close()
                    finally:
                        tell() if loop is None or loop.is_closed() else loop.call_soon_threadsafe(tell)

                _in_background(close_and_tell)  # it takes a moment, and may have to wait for this thread

            subscription = source.subscribe(observer.on_next, end, end, scheduler=scheduler)
            return CompositeDisposable(subscription, Disposable(lambda: _in_background(self.close)))

        return reactivex.create(subscribe)


def _close_all(executors: Iterable[OpenExecutor]) -> None:
    errors: list[Exception] = []
    for executor in list(executors):
        try:
            executor.close()
        except Exception as error:  # noqa: BLE001 - the others are to be closed as well
            errors.append(error)
    if errors:
        raise errors[0]


def _in_background(action: Callable[[], Any]) -> None:
    threading.Thread(target=action, name="rxpipe-closing", daemon=True).start()
