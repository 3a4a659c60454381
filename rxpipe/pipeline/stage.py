"""``Stage``: the description of one step of a pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import MISSING, dataclass, fields
from inspect import Parameter, Signature
from types import NoneType
from typing import Any, ClassVar, Generic, Literal, Unpack, cast, overload

from reactivex import Observable
from reactivex.abc import SchedulerBase
from typing_extensions import TypeVar  # with defaults, which typing has from Python 3.13 on

from rxpipe.identity.arguments import signature_of
from rxpipe.operators.expansion import Many
from rxpipe.operators.runners.runner import Engine
from rxpipe.operators.stage import ExecutionTarget
from rxpipe.operators.stages.adaptive import AdaptiveConcurrency
from rxpipe.operators.stages.limiter import Limiter
from rxpipe.operators.stages.options import Batch, CallOptions, refuse_unknown
from rxpipe.operators.stages.retry_policy import Retry
from rxpipe.pipeline.children import Children
from rxpipe.pipeline.decisions import Drop, SendBack
from rxpipe.pipeline.ports import ManagedExecutor
from rxpipe.pipeline.record import Record

A = TypeVar("A", contravariant=True, default=Any)
B = TypeVar("B", covariant=True, default=Any)


class StageOptions(CallOptions, total=False):
    """The options of a ``Stage``; ``Stage`` describes them."""

    queue_size: int
    executor: ExecutionTarget | None
    version: str | int | None
    when: Callable[[Any], object] | None
    max_rounds: int
    cache: bool


class _AllOptions(StageOptions, total=False):
    """All options, with those from which type checkers infer the types of ``call``."""

    expand: bool
    collect: bool
    batch: Batch | None


@dataclass(frozen=True, slots=True, init=False)
class Stage(Generic[A, B]):
    """A step of a pipeline. A step turns the result of the stage before, an ``A``, into a ``B``.

    ::

        Stage("answering", answer, concurrency=8, timeout=120, retry=Retry(max_attempts=3))

    Attributes:
        name: The stage's name in reports and errors.
        call: The function to call: plain, or a coroutine function. The argument is the result of the stage before; for
            the first stage, the ID or the record's value. If the function returns an Observable, its last value is the
            result.
        concurrency: Calls that may run at once. The default is the number of workers of ``executor``, if known, else
            the pipeline's ``concurrency``. With the strategy ``per_item`` the pipeline's number always applies.
        queue_size: Items that may wait in front of the stage.
        timeout: Seconds that one call may take.
        retry: When to call again after a failure, and how often.
        rate_limit: A limiter for all calls, retries included. Several stages can share a limiter.
        executor: Where a plain function runs instead of worker threads. One of ``rxpipe.executors`` is opened for each
            run and closed at its end. An executor that you have opened, or a reactivex scheduler, stays yours.
        max_abandoned: Abandoned threads that are replaced by fresh ones; see ``ops.stage``.
        version: A new version invalidates the stored results of this stage. Used with a store.
        when: A quick function of the value. If it returns False, the item passes the stage unchanged, without a call.
        key: A quick function of the value. Items with the same key are called one at a time, in their order.
        expand: True if ``call`` gives many values, and each goes on as an item of its own. ``call`` gives a list, an
            iterator, an async iterator or an Observable, or is a generator function. The children of item 17 are
            ``17/0``, ``17/1`` and so on, unless a value is a ``Record`` with an ID. ``timeout`` applies to each value.
        collect: True if ``call`` gets the ``Children`` of an item that an earlier stage has expanded. The call is made
            when every child has reached this stage or ended. The item goes on with the result.
        batch: If set, ``call`` gets a list of values, and returns a list with one result for each.
        max_rounds: The number of times that ``SendBack`` may send an item back to an earlier stage.
        cache: True to use the result of an earlier call with the same value, from any run in the store's database. The
            function, its code, its arguments and ``version`` must be the same, too. The result must depend on nothing
            else. Needs a store; not with ``expand`` or ``collect``.
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
    when: Callable[[A], object] | None = None
    key: Callable[[A], Hashable] | None = None
    expand: bool = False
    collect: bool = False
    batch: Batch | None = None
    max_rounds: int = 3
    cache: bool = False
    __signature__: ClassVar[Signature]

    @overload
    def __init__(
        self,
        name: str,
        call: Callable[[A], Observable[Record[B]]],
        *,
        expand: Literal[True],
        **options: Unpack[StageOptions],
    ) -> None: ...
    @overload
    def __init__(
        self, name: str, call: Callable[[A], Observable[B]], *, expand: Literal[True], **options: Unpack[StageOptions]
    ) -> None: ...
    @overload
    def __init__(
        self, name: str, call: Callable[[A], Many[Record[B]]], *, expand: Literal[True], **options: Unpack[StageOptions]
    ) -> None: ...
    @overload
    def __init__(
        self, name: str, call: Callable[[A], Many[B]], *, expand: Literal[True], **options: Unpack[StageOptions]
    ) -> None: ...
    @overload
    def __init__(
        self,
        name: str,
        call: Callable[[Children[A]], Awaitable[B | Drop | SendBack]],
        *,
        collect: Literal[True],
        **options: Unpack[StageOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        name: str,
        call: Callable[[Children[A]], B | Drop | SendBack],
        *,
        collect: Literal[True],
        **options: Unpack[StageOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        name: str,
        call: Callable[[list[A]], Awaitable[Sequence[B | BaseException]]],
        *,
        batch: Batch,
        **options: Unpack[StageOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        name: str,
        call: Callable[[list[A]], Sequence[B | BaseException]],
        *,
        batch: Batch,
        **options: Unpack[StageOptions],
    ) -> None: ...
    @overload
    def __init__(self, name: str, call: Callable[[A], Observable[B]], **options: Unpack[StageOptions]) -> None: ...
    @overload
    def __init__(
        self, name: str, call: Callable[[A], Awaitable[B | Drop | SendBack]], **options: Unpack[StageOptions]
    ) -> None: ...
    @overload
    def __init__(
        self, name: str, call: Callable[[A], B | Drop | SendBack], **options: Unpack[StageOptions]
    ) -> None: ...
    def __init__(self, name: str, call: Callable[[Any], Any], **options: Any) -> None:
        """Describe a step. The options are the attributes.

        Raises:
            TypeError: There is no such option, or an option is of the wrong type. Or ``call`` does not take one
                argument, gives many values without ``expand``, or cannot be sent to ``executor``.
            ValueError: The name is empty, a number is out of range, or ``concurrency`` is an ``AdaptiveConcurrency``
                while ``executor`` is one of ``rxpipe.executors``. Or two options exclude each other.
        """
        refuse_unknown(options, _AllOptions, f"stage {name}")
        for one in fields(self):
            default = None if one.default is MISSING else one.default
            object.__setattr__(self, one.name, options.get(one.name, default))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "call", call)
        _check(self)

    def call_options(self) -> CallOptions:
        """Returns the options of the stage's calls, as ``ops.stage`` takes them."""
        options = {name: getattr(self, name) for name in CallOptions.__annotations__}
        return cast("CallOptions", {**options, "expand": self.expand, "batch": self.batch})


_NAME, _CALL, *_OPTIONS = fields(Stage)
Stage.__signature__ = Signature(  # for help(), which would not show the options
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
    if not stage.expand and (inspect.isasyncgenfunction(stage.call) or inspect.isgeneratorfunction(stage.call)):
        raise TypeError(
            f"stage {name}: call gives many values, as it has a yield; with expand=True each becomes an item of its "
            "own; else return one value, such as a list"
        )
    if stage.batch is not None and (stage.expand or stage.collect):
        raise ValueError(f"stage {name}: a stage with batch has neither expand nor collect")
    if stage.collect and (stage.when is not None or stage.key is not None):
        raise ValueError(f"stage {name}: a stage with collect has neither when nor key")
    if stage.cache and (stage.expand or stage.collect):
        raise ValueError(f"stage {name}: a stage with cache has neither expand nor collect")
    if not (stage.max_rounds >= 0 and stage.max_rounds % 1 == 0):
        raise ValueError(f"stage {name}: max_rounds must be a whole number of at least 0, not {stage.max_rounds}")
    for option in ("when", "key"):
        if getattr(stage, option) is not None and not callable(getattr(stage, option)):
            raise TypeError(f"stage {name}: {option} must be a function, not {getattr(stage, option)!r}")
    if isinstance(stage.executor, ManagedExecutor):
        if isinstance(stage.concurrency, AdaptiveConcurrency):
            raise ValueError(f"stage {name}: concurrency must be a number beside {stage.executor!r}")
        stage.executor.packed(name, stage.call)
        if stage.concurrency is None:
            object.__setattr__(stage, "concurrency", stage.executor.width)


_INSTEAD = {
    "batch": "; write batch=Batch(max_items=100)",
    "executor": "; use Processes(4) or DaskCluster(...) of rxpipe.executors, or an executor of yours",
    "rate_limit": "; write rate_limit=RateLimiter(10) for 10 calls a second",
    "retry": "; write retry=Retry(max_attempts=3)",
}
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
    "expand": bool,
    "collect": bool,
    "batch": (Batch, NoneType),
    "max_rounds": _NUMBER,
    "cache": bool,
}


def _check_takes_one_value(stage: Stage[Any, Any]) -> None:
    signature = signature_of(stage.call)
    if signature is None:
        return
    try:
        signature.bind(None)
    except TypeError:
        raise TypeError(f"stage {stage.name}: call must take one argument; it takes {signature}") from None
