"""``stage``: a function applied to each item, concurrently, within bounds."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, TypeVar, overload

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.scheduler import ImmediateScheduler, ThreadPoolScheduler, VirtualTimeScheduler

from .core.blocking import refuse_to_block
from .core.clock import clock_for, loop_of, running_loop
from .core.dispatchers import Dispatcher, LoopDispatcher, RelayDispatcher
from .core.loops import use_loop
from .runners.loop_runner import LoopRunner
from .runners.pools import ExecutorRunner, SchedulerRunner
from .runners.runner import Engine, Runner
from .runners.thread_runner import ThreadRunner
from .stages.adaptive import AdaptiveConcurrency
from .stages.limiter import Limiter
from .stages.retry_policy import Retry
from .stages.settings import Envelope, Failure, Settings, StageStats
from .stages.stage_machine import StageMachine

A = TypeVar("A")
B = TypeVar("B")

ExecutionTarget = SchedulerBase | Executor | Engine


@overload
def stage(
    fn: Callable[[A], Observable[B]],
    *,
    name: str | None = ...,
    concurrency: int | AdaptiveConcurrency | None = ...,
    queue_size: int | None = ...,
    timeout: float | None = ...,
    retry: Retry | None = ...,
    rate_limit: Limiter | None = ...,
    scheduler: ExecutionTarget | None = ...,
    timer: SchedulerBase | None = ...,
    ordered: bool = ...,
    recover: Callable[[Failure[A]], B] | None = ...,
    max_abandoned: int | None = ...,
) -> Callable[[Observable[A]], Observable[B]]: ...
@overload
def stage(
    fn: Callable[[A], Awaitable[B]],
    *,
    name: str | None = ...,
    concurrency: int | AdaptiveConcurrency | None = ...,
    queue_size: int | None = ...,
    timeout: float | None = ...,
    retry: Retry | None = ...,
    rate_limit: Limiter | None = ...,
    scheduler: ExecutionTarget | None = ...,
    timer: SchedulerBase | None = ...,
    ordered: bool = ...,
    recover: Callable[[Failure[A]], B] | None = ...,
    max_abandoned: int | None = ...,
) -> Callable[[Observable[A]], Observable[B]]: ...
@overload
def stage(
    fn: Callable[[A], B],
    *,
    name: str | None = ...,
    concurrency: int | AdaptiveConcurrency | None = ...,
    queue_size: int | None = ...,
    timeout: float | None = ...,
    retry: Retry | None = ...,
    rate_limit: Limiter | None = ...,
    scheduler: ExecutionTarget | None = ...,
    timer: SchedulerBase | None = ...,
    ordered: bool = ...,
    recover: Callable[[Failure[A]], B] | None = ...,
    max_abandoned: int | None = ...,
) -> Callable[[Observable[A]], Observable[B]]: ...
def stage(
    fn: Callable[[Any], Any],
    *,
    name: str | None = None,
    concurrency: int | AdaptiveConcurrency | None = 1,
    queue_size: int | None = 10,
    timeout: float | None = None,
    retry: Retry | None = None,
    rate_limit: Limiter | None = None,
    scheduler: ExecutionTarget | None = None,
    timer: SchedulerBase | None = None,
    ordered: bool = False,
    recover: Callable[[Failure[Any]], Any] | None = None,
    max_abandoned: int | None = None,
) -> Callable[[Observable[Any]], Observable[Any]]:
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
        name: For errors and reports; the function's own by default.
        concurrency: Calls that may run at once: a number, ``AdaptiveConcurrency`` for as many as the server takes,
            or ``None`` for no bound.
        queue_size: Items that may wait; ``None`` for no bound.
        timeout: Seconds that one call may take, from its start to its result (the completion of its Observable).
            A coroutine is cancelled and keeps its slot until it has ended. A thread cannot be stopped: it is
            abandoned, and its result discarded.
        retry: Whether and when to call again after a failure; the slot is free meanwhile.
        rate_limit: Taken by every call, retries included; may be shared.
        scheduler: Where a plain function runs: a reactivex scheduler, an executor, or one of
            ``rxpipe.executors``, which is opened for the subscription. Functions and values must pickle for a
            process pool.
        timer: The scheduler to wait on; else the one subscribed on, the running loop, or a timer thread.
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
        TypeError: A coroutine function was given an executor.
        RuntimeError: When subscribed to by ``run()`` on a running event loop, which that would block for ever.
    """
    settings = settings_of(
        fn,
        name=name,
        concurrency=concurrency,
        queue_size=queue_size,
        timeout=timeout,
        retry=retry,
        rate_limit=rate_limit,
        ordered=ordered,
        recover=recover,
        max_abandoned=max_abandoned,
    )
    return stage_with(settings, scheduler=scheduler, timer=timer)


def settings_of(
    fn: Callable[[Any], Any],
    *,
    name: str | None,
    concurrency: int | AdaptiveConcurrency | None,
    queue_size: int | None,
    timeout: float | None,
    retry: Retry | None,
    rate_limit: Limiter | None,
    recover: Callable[[Failure[Any]], Any] | None,
    max_abandoned: int | None,
    ordered: bool = False,
    envelope: Envelope | None = None,
) -> Settings[Any, Any]:
    """Check the options of a stage; see ``stage``.

    Raises:
        ValueError: A number is out of range.
    """
    adaptive = concurrency if isinstance(concurrency, AdaptiveConcurrency) else None
    most = concurrency.most if isinstance(concurrency, AdaptiveConcurrency) else concurrency
    counts = {"concurrency": most, "queue_size": queue_size, "max_abandoned": max_abandoned}
    for option, count in counts.items():
        least = 1 if option == "concurrency" else 0
        if count is not None and not (count >= least and count % 1 == 0):
            raise ValueError(f"{option} must be a whole number of at least {least}, not {count}")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout must be above 0, not {timeout}")
    slots = math.inf if most is None else most
    known_as: str = name or getattr(fn, "__name__", None) or type(fn).__name__
    return Settings(
        fn=fn,
        name=known_as,
        concurrency=slots,
        queue_size=math.inf if queue_size is None else queue_size,
        timeout=timeout,
        retry=retry,
        rate_limit=rate_limit,
        ordered=ordered,
        recover=recover,
        max_abandoned=slots if max_abandoned is None else max_abandoned,
        adaptive=adaptive,
        envelope=envelope,
        stats=StageStats(name=known_as, concurrency=slots),
    )


def stage_with(
    settings: Settings[A, B], *, scheduler: ExecutionTarget | None = None, timer: SchedulerBase | None = None
) -> Callable[[Observable[A]], Observable[B]]:
    """The operator of ready-made settings."""
    if isinstance(scheduler, ThreadPoolScheduler):
        # A scheduled action that was disposed while it waited in the pool would stay there and never report.
        scheduler = scheduler.executor
    if isinstance(scheduler, (Executor, Engine)) and is_coroutine_function(settings.fn):
        raise TypeError(f"stage {settings.name}: a coroutine function cannot run on an executor")

    def operator(source: Observable[A]) -> Observable[B]:
        def subscribe(observer: ObserverBase[B], subscribed_on: SchedulerBase | None = None) -> DisposableBase:
            refuse_to_block()  # before anything is begun
            runner = _runner_for(settings, scheduler, subscribed_on)
            machine = StageMachine(
                settings,
                observer,
                clock=clock_for(timer, subscribed_on),
                runner=runner,
                loop_runner=lambda: _loop_runner(settings.name),
                dispatcher=_dispatcher_of(runner, settings.name, timer or subscribed_on),
                scheduler=subscribed_on,
            )
            return machine.subscribe_to(source, subscribed_on)

        return reactivex.create(subscribe)

    return operator


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


def _dispatcher_of(runner: Runner, name: str, clock: SchedulerBase | None) -> Dispatcher | None:
    """Where a stage that was not subscribed to on an event loop handles what happens.

    Not on the subscriber's thread or the source's; except in virtual time, which must not run ahead of it.
    """
    if running_loop() is not None or isinstance(clock, VirtualTimeScheduler):
        return None
    if isinstance(runner, ThreadRunner):
        return runner
    if isinstance(runner, LoopRunner):
        return LoopDispatcher(runner.loop)
    return None if isinstance(runner, SchedulerRunner) and runner.inline else RelayDispatcher(name)


def _loop_runner(name: str) -> Runner:
    return LoopRunner(name, *use_loop())


def _nothing() -> None:
    pass


def is_coroutine_function(fn: Callable[..., Any]) -> bool:
    """Whether calling ``fn`` gives a coroutine; also for objects whose ``__call__`` is one."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)
