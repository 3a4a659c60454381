"""``stage``: a function applied to each item, concurrently, within bounds."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, Generic, Literal, TypeVar, Unpack, overload

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.scheduler import ImmediateScheduler, ThreadPoolScheduler, VirtualTimeScheduler

from .core.clock import clock_for, loop_of, running_loop
from .core.dispatchers import Dispatcher, LoopDispatcher, OneThread, RelayDispatcher
from .core.loop_guard import refuse_to_block
from .core.loops import use_loop
from .core.virtual_time import VirtualTime
from .expansion import Many, observable_of
from .runners.counted_runner import CountedRunner
from .runners.loop_runner import LoopRunner
from .runners.pools import ExecutorRunner, SchedulerRunner
from .runners.runner import Engine, Runner
from .runners.thread_runner import ThreadRunner
from .stages.batch_machine import BatchStageMachine
from .stages.expand_machine import ExpandStageMachine
from .stages.options import Batch, CallOptions, refuse_unknown
from .stages.settings import Failure, Settings, settings_of
from .stages.stage_machine import StageMachine

A = TypeVar("A")
B = TypeVar("B")

ExecutionTarget = SchedulerBase | Executor | Engine


class StageOptions(CallOptions, Generic[A, B], total=False):
    """The options of ``stage``, where they are described."""

    name: str | None
    queue_size: int | None
    scheduler: ExecutionTarget | None
    timer: SchedulerBase | None
    ordered: bool
    recover: Callable[[Failure[A]], B] | None


class _AllOptions(StageOptions[A, B], total=False):
    """Also those by which type checkers tell what ``fn`` takes and gives."""

    expand: bool
    batch: Batch | None


@overload
def stage(
    fn: Callable[[A], Observable[B]], *, expand: Literal[True], **options: Unpack[StageOptions[A, B]]
) -> Callable[[Observable[A]], Observable[B]]: ...
@overload
def stage(
    fn: Callable[[A], Many[B]], *, expand: Literal[True], **options: Unpack[StageOptions[A, B]]
) -> Callable[[Observable[A]], Observable[B]]: ...
@overload
def stage(
    fn: Callable[[list[A]], Awaitable[Sequence[B | BaseException]]],
    *,
    batch: Batch,
    **options: Unpack[StageOptions[A, B]],
) -> Callable[[Observable[A]], Observable[B]]: ...
@overload
def stage(
    fn: Callable[[list[A]], Sequence[B | BaseException]], *, batch: Batch, **options: Unpack[StageOptions[A, B]]
) -> Callable[[Observable[A]], Observable[B]]: ...
@overload
def stage(
    fn: Callable[[A], Observable[B]], **options: Unpack[StageOptions[A, B]]
) -> Callable[[Observable[A]], Observable[B]]: ...
@overload
def stage(
    fn: Callable[[A], Awaitable[B]], **options: Unpack[StageOptions[A, B]]
) -> Callable[[Observable[A]], Observable[B]]: ...
@overload
def stage(fn: Callable[[A], B], **options: Unpack[StageOptions[A, B]]) -> Callable[[Observable[A]], Observable[B]]: ...
def stage(fn: Callable[[Any], Any], **options: Any) -> Callable[[Observable[Any]], Observable[Any]]:
    """Apply a function to each item, several at a time.

    ::

        from_iterable(ids).pipe(
            ops.stage(generate, concurrency=3, timeout=60, retry=Retry(max_attempts=3)),
            ops.stage(answer, concurrency=8, timeout=120),
        )

    Where ``fn`` runs: a coroutine function on the event loop that is running at subscription, else on one of
    rxpipe's own; a plain function on daemon worker threads, or on ``scheduler``. What it returns is the result; an
    awaitable is awaited, an Observable is flat-mapped. Subscribed to on a running event loop, results are notified
    on that loop; elsewhere on the thread that produced them, never two at once.

    It holds at most ``concurrency + queue_size`` items, those that wait for a retry included, and takes no more
    from a stage or source upstream while that many are there. A result that cannot go downstream keeps its slot.

    Args:
        fn: Called with each item; may be called on several threads at once.
        **options: As follows.

    Options:
        name: For errors and reports; the function's own by default.
        concurrency: Calls that may run at once, 1 by default: a number, ``AdaptiveConcurrency`` for as many as the
            server takes, or ``None`` for no bound.
        queue_size: Items that may wait, 10 by default; ``None`` for no bound.
        timeout: Seconds that one call may take, from its start to its result (the completion of its Observable).
            A coroutine is cancelled and keeps its slot until it has ended. A thread cannot be stopped: it is
            abandoned, and its result discarded.
        retry: Whether and when to call again after a failure; the slot is free meanwhile.
        rate_limit: Taken by every call, retries included; may be shared.
        scheduler: Where a plain function runs: a reactivex scheduler, an executor, or one of
            ``rxpipe.executors``, which is opened for the subscription. Functions and values must pickle for a
            process pool.
        timer: The scheduler to wait on; else the one subscribed on, the running loop, or a timer thread.
        expand: Emit each of the many values that ``fn`` gives: a list, an iterator, an async iterator or an Observable.
            ``timeout`` is that of each value.
        batch: Call ``fn`` with lists of values; it returns a list with a result for each.
        key: Of items for which it gives the same, ``fn`` is called with one at a time, in the order in which they came.
        ordered: Give results in the order of their items instead of as they finish. A result that waits for its
            turn has left its slot, and counts as held.
        recover: Turns an item's final failure into a value. Without it the first ends the sequence.
        max_abandoned: Abandoned threads whose slots are given to fresh ones; as many as ``concurrency`` by
            default. Beyond, a slot stays taken until its thread returns.

    Returns:
        An operator. Its sequence fails with what ``fn`` raised last (``CallFailed`` if that is not an ``Exception``),
        with ``StageTimeout``, or with ``StageStalled`` when for ``timeout`` seconds every slot has been taken by a
        call that timed out and does not end.

    Raises:
        ValueError: A number is out of range.
        TypeError: There is no such option, or a coroutine function was given an executor.
        RuntimeError: When subscribed to by ``run()`` on a running event loop, which that would block for ever.
    """
    refuse_unknown(options, _AllOptions, "a stage")
    scheduler, timer = options.pop("scheduler", None), options.pop("timer", None)
    return stage_with(settings_of(fn, **options), scheduler=scheduler, timer=timer)


def stage_with(
    settings: Settings[A, B], *, scheduler: ExecutionTarget | None = None, timer: SchedulerBase | None = None
) -> Callable[[Observable[A]], Observable[B]]:
    """The operator for settings that are already checked."""
    if isinstance(scheduler, ThreadPoolScheduler):
        # A scheduled action that was disposed while it waited in the pool would stay there and never report.
        scheduler = scheduler.executor
    if isinstance(scheduler, (Executor, Engine)) and is_coroutine_function(settings.fn):
        raise TypeError(f"stage {settings.name}: a coroutine function cannot run on an executor")

    def operator(source: Observable[A]) -> Observable[B]:
        def subscribe(observer: ObserverBase[B], subscribed_on: SchedulerBase | None = None) -> DisposableBase:
            refuse_to_block()  # before anything is begun
            runner = _runner_for(settings, scheduler, subscribed_on)
            machine = _kind_of(settings)(
                settings,
                observer,
                clock=clock_for(timer, subscribed_on),
                runner=_counted(runner, timer or subscribed_on),
                loop_runner=lambda: _counted(_loop_runner(settings.name), timer or subscribed_on),
                dispatcher=_dispatcher_of(runner, settings.name, timer or subscribed_on),
                scheduler=subscribed_on,
            )
            return machine.subscribe_to(source, subscribed_on)

        return reactivex.create(subscribe)

    return operator


def _kind_of(settings: Settings[A, B]) -> Callable[..., StageMachine[A, B]]:
    if settings.expand:
        return partial(ExpandStageMachine[A, B], many=observable_of)
    return StageMachine if settings.batch is None else BatchStageMachine


def _runner_for(
    settings: Settings[Any, Any], scheduler: ExecutionTarget | None, subscribed_on: SchedulerBase | None
) -> Runner:
    if is_coroutine_function(settings.fn):
        loop = loop_of(scheduler) if isinstance(scheduler, SchedulerBase) else None
        return _loop_runner(settings.name) if loop is None else LoopRunner(settings.name, loop, _nothing)
    if isinstance(scheduler, Executor):
        return ExecutorRunner(scheduler)
    if isinstance(scheduler, Engine):
        return scheduler.runner()
    if scheduler is None and isinstance(subscribed_on, VirtualTimeScheduler):
        # Threads would not wait for virtual time; and many actions at one tick would make the virtual clock advance.
        return SchedulerRunner(ImmediateScheduler.singleton())
    return ThreadRunner() if scheduler is None else SchedulerRunner(scheduler)


def _dispatcher_of(runner: Runner, name: str, scheduler: SchedulerBase | None) -> Dispatcher | None:
    """Where a stage's mailbox is emptied; None: on the running event loop, if there is one, else on any thread.

    Not on the subscriber's or the source's thread, which must not be blocked. In virtual time messages are handled at
    once, on any thread: time must not pass before they are handled. ``VirtualTime`` has one thread only, unless
    calls run on others.
    """
    if running_loop() is not None:
        return None
    if isinstance(scheduler, VirtualTimeScheduler):
        has_threads = isinstance(runner, (ThreadRunner, LoopRunner, ExecutorRunner))
        return OneThread() if isinstance(scheduler, VirtualTime) and not has_threads else None
    if isinstance(runner, ThreadRunner):
        return runner
    if isinstance(runner, LoopRunner):
        return LoopDispatcher(runner.loop)
    return None if isinstance(runner, SchedulerRunner) and runner.inline else RelayDispatcher(name)


def _counted(runner: Runner, scheduler: SchedulerBase | None) -> Runner:
    """The runner; in a test's virtual time one that lets no time pass while its calls run."""
    if isinstance(runner, SchedulerRunner) or isinstance(scheduler, VirtualTime):
        return runner
    return CountedRunner(runner, scheduler) if isinstance(scheduler, VirtualTimeScheduler) else runner


def _loop_runner(name: str) -> Runner:
    return LoopRunner(name, *use_loop())


def _nothing() -> None:
    pass


def is_coroutine_function(fn: Callable[..., Any]) -> bool:
    """Whether calling ``fn`` gives a coroutine; also for objects whose ``__call__`` is one."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)
