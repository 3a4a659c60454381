"""The base of all executors of rxpipe: settings that say where calls run, and engines that are opened for a run."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

from reactivex.abc import DisposableBase

from rxpipe.errors import ConfigError
from rxpipe.executors.errors import ExecutorLost
from rxpipe.executors.serialization import Function, Pickler, name_of
from rxpipe.operators.core.worker import Call
from rxpipe.operators.errors import describe
from rxpipe.operators.runners.runner import Runner
from rxpipe.operators.stage import is_coroutine_function
from rxpipe.pipeline.ports import ManagedExecutor


class OpenEngine(ABC):
    """An open place for calls, until it is closed. A context manager, for use with ``ops.stage``."""

    @abstractmethod
    def runner(self) -> Runner:
        """Returns a runner for the calls of one stage."""

    @abstractmethod
    def missing(self, function: bytes) -> str | None:
        """Returns the reason why a pickled function cannot be loaded where calls run, or None. Waits for the answer.

        Raises:
            ExecutorLost: Nothing can run there.
        """

    @abstractmethod
    def close(self) -> None:
        """Cancel running calls and free all resources. May block for a moment, and be called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class EngineSettings(ManagedExecutor):
    """Where calls run. Opened when a run starts, and closed at its end. Equal settings are opened once for all stages.

    Subclasses are frozen dataclasses.

    Attributes:
        where: The name of the place in errors.
    """

    where: ClassVar[str]

    @property
    @abstractmethod
    def width(self) -> int | None:
        """Number of calls that can run there at once; None if unknown."""

    @abstractmethod
    def pickler(self) -> Pickler:
        """Pickles functions and values.

        Raises:
            ConfigError: An extra is not installed.
        """

    @abstractmethod
    def _open(self) -> OpenEngine:
        """See ``open``."""

    def open(self, functions: Mapping[str, Function] | None = None) -> OpenEngine:
        """Open the engine. May block for a moment.

        Args:
            functions: The functions that it will call, by the names of their stages.

        Raises:
            ConfigError: Nothing can run there; or a function's module is missing there.
            TypeError: A function cannot be sent there.
        """
        functions = functions or {}
        packed = {stage: self.packed(stage, function) for stage, function in functions.items()}
        start = f"{'stages' if len(packed) > 1 else 'stage'} {', '.join(packed)}: " if packed else ""
        try:
            engine = self._open()
        except ExecutorLost as error:
            raise ConfigError(f"{start}{error}") from error
        try:
            for stage, function in packed.items():
                missing = engine.missing(function)
                if missing is not None:
                    name = name_of(functions[stage])
                    raise ConfigError(f"stage {stage}: {self.where} cannot import its function {name}: {missing}")
        except ExecutorLost as error:
            engine.close()
            raise ConfigError(f"{start}{error}") from error
        except BaseException:
            engine.close()
            raise
        return engine

    def packed(self, stage: str, function: Function) -> bytes:
        """Returns a stage's function as bytes.

        Raises:
            TypeError: The function cannot run there: it is a coroutine function, or it does not pickle.
        """
        name = name_of(function)
        if is_coroutine_function(function):
            raise TypeError(f"stage {stage}: {name} is a coroutine function, which cannot run on {self.where}")
        try:
            return self.pickler().dumps(function)
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a foreign __reduce__ raises
            raise TypeError(
                f"stage {stage}: {name} cannot be sent to {self.where}, as it does not pickle ({describe(error)}); "
                "use a function of a module, or a partial of one"
            ) from None

    def runner(self) -> Runner:
        """Returns a runner for ``ops.stage`` alone.

        It opens the engine for one subscription, and closes it at the end.
        """
        return _OwnEngine(self.open())


class _OwnEngine:
    """A runner with an engine of its own."""

    def __init__(self, engine: OpenEngine) -> None:
        self._engine = engine
        self._runner = runner = engine.runner()
        self.queues, self.cancels, self.width = runner.queues, runner.cancels, runner.width

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase | None:
        """Start a call."""
        return self._runner.start(fn, value, call)

    def close(self) -> None:
        """Close the engine, without waiting for it."""
        self._runner.close()
        threading.Thread(target=self._engine.close, name="rxpipe-closing", daemon=True).start()
