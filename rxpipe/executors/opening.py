"""Executors are opened when a run is prepared, and closed when it is over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable

from rxpipe.executors.engine import EngineSettings, OpenEngine
from rxpipe.executors.shipping import Function
from rxpipe.operators.clock import running_loop
from rxpipe.operators.stage import Place
from rxpipe.stage import Stage

if TYPE_CHECKING:
    from rxpipe.pipeline import Ends, Pipeline
    from rxpipe.run import Write

A = TypeVar("A")


def with_executors(prepare: Callable[[Pipeline], Ends]) -> Callable[[Pipeline], Ends]:
    """What prepares a run opens its stages' executors first; they are closed when its last outcome is written."""

    @wraps(prepare)
    def prepare_with(pipeline: Pipeline) -> Ends:
        if not any(isinstance(stage.executor, EngineSettings) for stage in pipeline.stages):
            return prepare(pipeline)
        executors = OpenExecutors(pipeline.stages)
        try:
            ends = prepare(pipeline)
        except BaseException:
            executors.close()
            raise
        return replace(ends, write=executors.closed_with(ends.write), place=executors.place)

    return prepare_with


class OpenExecutors:
    """The executors of a run, each opened once for all the stages that name it."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        """Open them.

        Raises:
            ConfigError: An executor cannot be used, or a stage's function is missing where its calls would run.
        """
        self._opened: dict[EngineSettings, OpenEngine] = {}
        functions: dict[EngineSettings, dict[str, Function]] = {}
        for stage in stages:
            if isinstance(stage.executor, EngineSettings):
                functions.setdefault(stage.executor, {})[stage.name] = stage.call
        try:
            for settings, called in functions.items():
                self._opened[settings] = settings.open(called)
        except BaseException:
            self.close()
            raise

    def place(self, place: Place | None) -> Place | None:
        """Where the calls of a stage with such an executor run."""
        return self._opened[place] if isinstance(place, EngineSettings) else place

    def close(self) -> None:
        """Close them all; may block for a moment, and be called again."""
        _close_all(self._opened.values())

    def closed_with(self, write: Write) -> Write:
        """The same way of keeping outcomes, at whose end they are closed."""
        return lambda outcomes: self.closed_after(write(outcomes))

    def closed_after(self, source: Observable[A]) -> Observable[A]:
        """The same sequence, at whose end they are closed before that is told; disposing of it closes them, too."""

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


def _close_all(engines: Iterable[OpenEngine]) -> None:
    errors: list[Exception] = []
    for engine in list(engines):
        try:
            engine.close()
        except Exception as error:  # noqa: BLE001 - the others are to be closed as well
            errors.append(error)
    if errors:
        raise errors[0]


def _in_background(action: Callable[[], Any]) -> None:
    threading.Thread(target=action, name="rxpipe-closing", daemon=True).start()
