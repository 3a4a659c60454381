"""``Stage``: one step of a pipeline, as its user describes it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import MISSING, dataclass, fields
from inspect import Parameter, Signature
from types import NoneType
from typing import Any, ClassVar, Generic, Unpack, cast, overload

from reactivex import Observable
from reactivex.abc import SchedulerBase
from typing_extensions import TypeVar  # with defaults, which typing has from Python 3.13 on

from rxpipe.identity.arguments import signature_of
from rxpipe.operators.runners.runner import Engine
from rxpipe.operators.stage import ExecutionTarget
from rxpipe.operators.stages.adaptive import AdaptiveConcurrency
from rxpipe.operators.stages.limiter import Limiter
from rxpipe.operators.stages.options import CallOptions, refuse_unknown
from rxpipe.operators.stages.retry_policy import Retry
from rxpipe.pipeline.ports import ManagedExecutor

A = TypeVar("A", contravariant=True, default=Any)
B = TypeVar("B", covariant=True, default=Any)


class StageOptions(CallOptions, total=False):
    """The options of a ``Stage``, where they are described."""

    queue_size: int
    executor: ExecutionTarget | None
    version: str | int | None


@dataclass(frozen=True, slots=True, init=False)
class Stage(Generic[A, B]):
    """A step that every item takes: from what the stage before returned, an ``A``, to a ``B``.

    ::

        Stage("answering", answer, concurrency=8, timeout=120, retry=Retry(max_attempts=3))

    Attributes:
        name: For reports and errors.
        call: A function of what the stage before returned (of the ID, for the first); plain, or a coroutine
            function. If it returns an Observable, the last value counts.
        concurrency: Calls that may run at once. By default as many as ``executor`` has workers, if that is known, else
            the pipeline's. ``per_item`` always uses the pipeline's.
        queue_size: Items that may wait before it.
        timeout: Seconds for one call.
        retry: Whether and when to call again after a failure.
        rate_limit: Taken by every call, retries included; may be shared between stages.
        executor: Where a plain function runs instead of worker threads: one of ``rxpipe.executors``, which is opened
            for each run and closed after it; or what stays yours: one that you have opened, an executor, or a
            reactivex scheduler.
        max_abandoned: See ``ops.stage``.
        version: With a store: a new version invalidates what was kept of this stage.
    """

    name: str
    call: Callable[[A], Any]
    concurrency: int | AdaptiveConcurrency | None = None
    queue_size: int = 10
    timeout: float | None = None
    retry: Retry | None = None
    rate_limit: Limiter | None = None
    executor: ExecutionTarget | None = None
    max_abandoned: int | None = None
    version: str | int | None = None
    __signature__: ClassVar[Signature]

    @overload
    def __init__(self, name: str, call: Callable[[A], Observable[B]], **options: Unpack[StageOptions]) -> None: ...
    @overload
    def __init__(self, name: str, call: Callable[[A], Awaitable[B]], **options: Unpack[StageOptions]) -> None: ...
    @overload
    def __init__(self, name: str, call: Callable[[A], B], **options: Unpack[StageOptions]) -> None: ...
    def __init__(self, name: str, call: Callable[[Any], Any], **options: Any) -> None:
        """Describe a step; the options are the attributes.

        Raises:
            TypeError: There is no such option, or it is of a wrong type; or ``call`` cannot be called with one value,
                gives many values, or cannot be sent to where ``executor`` runs calls.
            ValueError: The name is empty, a number is out of range, or ``concurrency`` adapts itself to a server
                though calls run elsewhere.
        """
        refuse_unknown(options, StageOptions, f"stage {name}")
        for one in fields(self):
            default = None if one.default is MISSING else one.default
            object.__setattr__(self, one.name, options.get(one.name, default))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "call", call)
        _check(self)

    def call_options(self) -> CallOptions:
        """How its calls are made, as ``ops.stage`` takes it."""
        return cast("CallOptions", {name: getattr(self, name) for name in CallOptions.__annotations__})


_NAME, _CALL, *_OPTIONS = fields(Stage)
Stage.__signature__ = Signature(  # for help(), which would not see the options
    [Parameter(one.name, Parameter.POSITIONAL_OR_KEYWORD) for one in (_NAME, _CALL)]
    + [Parameter(one.name, Parameter.KEYWORD_ONLY, default=one.default) for one in _OPTIONS]
)


def _check(stage: Stage[Any, Any]) -> None:
    name = stage.name
    for option, kind in _KINDS.items():
        value: Any = getattr(stage, option)
        if not isinstance(value, kind) or isinstance(value, type):
            wrong = f"stage {name}: {option} must not be {value!r}, of type {type(value).__name__}"
            raise TypeError(wrong + _INSTEAD.get(option, ""))
    if not name:
        raise ValueError("a stage needs a name")
    if not callable(stage.call):
        raise TypeError(f"stage {name}: call must be a function, not {stage.call!r}")
    _check_takes_one_value(stage)
    if inspect.isasyncgenfunction(stage.call) or inspect.isgeneratorfunction(stage.call):
        raise TypeError(
            f"stage {name}: call gives many values, as it has a yield; a stage returns one: return a list, or an "
            "Observable, of which the last value counts"
        )
    if isinstance(stage.executor, ManagedExecutor):
        if isinstance(stage.concurrency, AdaptiveConcurrency):
            raise ValueError(f"stage {name}: concurrency must be a number beside {stage.executor!r}")
        stage.executor.packed(name, stage.call)
        if stage.concurrency is None:
            object.__setattr__(stage, "concurrency", stage.executor.width)


_INSTEAD = {"executor": "; use Processes(4) or DaskCluster(...) of rxpipe.executors, or an executor of yours"}
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


def _check_takes_one_value(stage: Stage[Any, Any]) -> None:
    signature = signature_of(stage.call)
    if signature is None:
        return
    try:
        signature.bind(None)
    except TypeError:
        raise TypeError(f"stage {stage.name}: call must take one argument; it takes {signature}") from None
