"""``Stage``: one step of a pipeline, as its user describes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from types import NoneType
from typing import Any

from reactivex.abc import SchedulerBase

from rxpipe.executors.engine import EngineSettings
from rxpipe.operators.adaptive import AdaptiveConcurrency
from rxpipe.operators.limiter import Limiter
from rxpipe.operators.retry import Retry
from rxpipe.operators.runners import Engine
from rxpipe.operators.stage import Place


@dataclass(frozen=True, slots=True)
class Stage:
    """A step that every item takes.

    Attributes:
        name: For reports and errors.
        call: A function of what the stage before returned (of the ID, for the first); plain, or a coroutine
            function. If it returns an Observable, the last value counts.
        concurrency: Calls that may run at once; by default as many as ``executor`` has workers, if that is known, else
            the pipeline's, which it is with ``per_item`` always.
        queue_size: Items that may wait before it.
        timeout: Seconds for one call.
        retry: Whether and when to call again after a failure.
        rate_limit: Taken by every call, retries included; may be shared between stages.
        executor: Where a plain function runs instead of worker threads: one of ``rxpipe.executors``, which is opened
            for each run and closed after it; or what stays yours: one that you have opened, an executor, or a
            reactivex scheduler.
        max_abandoned: See ``ops.stage``.
        version: With a store: another one says that what was kept of this stage does not apply any more.
    """

    name: str
    call: Callable[[Any], Any]
    concurrency: int | AdaptiveConcurrency | None = None
    queue_size: int = 10
    timeout: float | None = None
    retry: Retry | None = None
    rate_limit: Limiter | None = None
    executor: Place | None = None
    max_abandoned: int | None = None
    version: str | int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            TypeError: An option is of a wrong type, or ``call`` cannot be called with one value, or cannot be sent to
                where ``executor`` runs calls.
            ValueError: The name is empty, or ``concurrency`` adapts itself to a server though calls run elsewhere.
        """
        for option, kind in _KINDS.items():
            value: Any = getattr(self, option)
            if not isinstance(value, kind) or isinstance(value, type):
                wrong = f"stage {self.name}: {option} must not be {value!r}, of type {type(value).__name__}"
                raise TypeError(wrong + _INSTEAD.get(option, ""))
        if not self.name:
            raise ValueError("a stage needs a name")
        if not callable(self.call):
            raise TypeError(f"stage {self.name}: call must be a function, not {self.call!r}")
        _check_takes_one_value(self)
        if isinstance(self.executor, EngineSettings):
            if isinstance(self.concurrency, AdaptiveConcurrency):
                raise ValueError(f"stage {self.name}: concurrency must be a number beside {self.executor!r}")
            self.executor.packed(self.name, self.call)
            if self.concurrency is None:
                object.__setattr__(self, "concurrency", self.executor.width)


_INSTEAD = {"executor": "; but such as Processes(4) or DaskCluster(...) of rxpipe.executors, or an executor of yours"}
_NUMBER = (int, float, NoneType)
_KINDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "concurrency": (*_NUMBER, AdaptiveConcurrency),
    "queue_size": _NUMBER,
    "timeout": _NUMBER,
    "retry": (Retry, NoneType),
    "rate_limit": (Limiter, NoneType),
    "executor": (Engine, Executor, SchedulerBase, NoneType),
    "max_abandoned": _NUMBER,
    "version": (str, int, NoneType),
}


def _check_takes_one_value(stage: Stage) -> None:
    try:
        signature = inspect.signature(stage.call)
    except (TypeError, ValueError):  # some builtin functions tell nothing
        return
    try:
        signature.bind(None)
    except TypeError:
        raise TypeError(f"stage {stage.name}: call must take one argument; it takes {signature}") from None
