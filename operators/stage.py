"""``stage``: applies a function to each item, with bounded concurrency."""

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
    """The options of ``stage``; ``stage`` describes them."""

    name: str | None
    queue_size: int | None
    scheduler: ExecutionTarget | None
    timer: SchedulerBase | None
    ordered: bool
    recover: Callable[[Failure[A]], B] | None


class _AllOptions(StageOptions[A, B], total=False):
    """All options, with those from which type checkers infer the types of ``fn``."""

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

    - **Where ``fn`` runs.** A coroutine function runs on the event loop that is running at subscription, else on
      rxpipe's own loop. A plain function runs on daemon worker threads, or on ``scheduler``.
    - **Results.** The return value is the result. An awaitable is awaited; an Observable is flat-mapped.
    - **Threads.** If you subscribe on a running event loop, results are notified on that loop. Otherwise they are
      notified on the thread that produced them, never two at once.
    - **Backpressure.** The stage holds at most ``concurrency + queue_size`` items, including items that wait for a
      retry. While the stage is full, stages and sources upstream wait. A result that waits for room downstream keeps
      its slot.

    Args:
        fn: Called with each item, maybe on several threads at once.
        **options: See below.

    Options:
        name: The name in errors and reports. The default is the function's name.
        concurrency: Calls that may run at once: a number, 1 by default; ``AdaptiveConcurrency`` for as many as the
            server takes; or ``None`` for no bound.
        queue_size: Items that may wait, 10 by default; ``None`` for no bound.
        timeout: Seconds that one call may take, from its start to its result (for an Observable, its completion).
            A coroutine is cancelled, and keeps its slot until it has ended. A thread cannot be stopped: it is
            abandoned, and its result is discarded.
        retry: When to call again after a failure, and how often. The slot is free during the delay.
        rate_limit: A limiter for all calls, retries included. Several stages can share a limiter.
        scheduler: Where a plain function runs: a reactivex scheduler, an executor, or one of ``rxpipe.executors``,
            which is opened for the subscription. For a process pool, functions and values must pickle.
        timer: The scheduler to wait on. The default is the scheduler subscribed on, the running loop, or a timer
            thread.
        expand: True to emit each of the many values that ``fn`` gives, as a list, an iterator, an async iterator or an
            Observable. ``timeout`` applies to each value.
        batch: If set, ``fn`` gets a list of values, and returns a list with one result for each.
        key: A function of the item. Items with the same key are called one at a time, in their order.
        ordered: True to emit results in the order of their items, instead of as they finish. A result that waits for
            its turn has left its slot, but counts as held.
        recover: A function that turns an item's final failure into a value. Without it, the first failed item ends
            the sequence.
        max_abandoned: Abandoned threads that are replaced by fresh ones. The default is ``concurrency``. Beyond that
            number, a slot stays taken until its thread returns.

    Returns:
        An operator. Its sequence fails with the last error of ``fn`` (``CallFailed`` if that is no ``Exception``), with
        ``StageTimeout``, or with ``StageStalled``. The stage is stalled if calls that timed out and have not ended hold
        all slots for ``timeout`` seconds.

    Raises:
        ValueError: A number is out of range.
        TypeError: There is no such option, or a coroutine function has an executor.
        RuntimeError: ``run()`` subscribes on a running event loop, and would block the loop for ever.
    """
    refuse_unknown(options, _AllOptions, "a stage")
    scheduler, timer = options.pop("scheduler", None), options.pop("timer", None)
    return stage_with(settings_of(fn, **options), scheduler=scheduler, timer=timer)


def stage_with(
    settings: Settings[A, B], *, scheduler: ExecutionTarget | None = None, timer: SchedulerBase | None = None
) -> Callable[[Observable[A]], Observable[B]]:
    """Returns the operator for checked settings."""
    if isinstance(scheduler, ThreadPoolScheduler):
        # A scheduled action that was disposed while it waited in the pool would stay there and never report.
        scheduler = scheduler.executor
    if isinstance(scheduler, (Executor, Engine)) and is_coroutine_function(settings.fn):
        raise TypeError(f"stage {settings.name}: a coroutine function cannot run on an executor")

    def operator(source: Observable[A]) -> Observable[B]:
        def subscribe(observer: ObserverBase[B], subscribed_on: SchedulerBase | None = None) -> DisposableBase:
            refuse_to_block()  # before anything begins
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
        # Threads would not wait for virtual time, and many actions at one tick would make the virtual clock advance.
        return SchedulerRunner(ImmediateScheduler.singleton())
    return ThreadRunner() if scheduler is None else SchedulerRunner(scheduler)


def _dispatcher_of(runner: Runner, name: str, scheduler: SchedulerBase | None) -> Dispatcher | None:
    """Returns where a stage's mailbox is emptied. None: on the running event loop if there is one, else on any thread.

    The subscriber's and the source's threads do not serve: they must not be blocked. In virtual time messages are
    handled at once, on any thread, since time must not pass before. ``VirtualTime`` has one thread only, unless calls
    run on others.
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
    """Returns the runner. In a test's virtual time: a runner that lets no time pass while its calls run."""
    if isinstance(runner, SchedulerRunner) or isinstance(scheduler, VirtualTime):
        return runner
    return CountedRunner(runner, scheduler) if isinstance(scheduler, VirtualTimeScheduler) else runner


def _loop_runner(name: str) -> Runner:
    return LoopRunner(name, *use_loop())


def _nothing() -> None:
    pass


def is_coroutine_function(fn: Callable[..., Any]) -> bool:
    """Returns True if calling ``fn`` gives a coroutine. Works for objects with a coroutine ``__call__``, too."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)
