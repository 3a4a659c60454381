"""``Stage``: one step of a pipeline, as its user describes it."""

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
    """The options of a ``Stage``, where they are described."""

    queue_size: int
    executor: ExecutionTarget | None
    version: str | int | None
    when: Callable[[Any], object] | None
    max_rounds: int
    cache: bool


class _AllOptions(StageOptions, total=False):
    """Also those by which type checkers tell what ``call`` takes and gives."""

    expand: bool
    collect: bool
    batch: Batch | None


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
        when: A quick function of the value: items for which it gives something false pass the stage unchanged.
        key: A quick function of the value: of items with the same key, one at a time is called with, in the order in
            which they came.
        expand: Whether ``call`` gives many values, each of which goes on as an item of its own: a list, an iterator, an
            async iterator (also by being a generator function), or an Observable. The children of item 17 are
            ``17/0``, ``17/1`` and so on, unless a value is a ``Record`` with an ID. ``timeout`` is that of each value.
        collect: Whether ``call`` gets the ``Children`` of an item that an earlier stage has expanded, once all of them
            have come so far or ended. The item goes on with what it returns.
        batch: Has ``call`` get a list of values, and return a list with a result for each.
        max_rounds: How often an item may go back to an earlier stage, by ``SendBack``.
        cache: With a store: use the result of an earlier call with the same value, of any run in that database. The
            function, its code, its arguments and ``version`` must be the same, too. Its result must depend on
            nothing else. Not with ``expand`` or ``collect``.
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
        """Describe a step; the options are the attributes.

        Raises:
            TypeError: There is no such option, or it is of a wrong type; or ``call`` cannot be called with one value,
                gives many values, or cannot be sent to where ``executor`` runs calls.
            ValueError: The name is empty, a number is out of range, or ``concurrency`` adapts itself to a server
                though calls run elsewhere.
        """
        refuse_unknown(options, _AllOptions, f"stage {name}")
        for one in fields(self):
            default = None if one.default is MISSING else one.default
            object.__setattr__(self, one.name, options.get(one.name, default))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "call", call)
        _check(self)

    def call_options(self) -> CallOptions:
        """How its calls are made, as ``ops.stage`` takes it."""
        options = {name: getattr(self, name) for name in CallOptions.__annotations__}
        return cast("CallOptions", {**options, "expand": self.expand, "batch": self.batch})


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
