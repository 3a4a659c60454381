"""RxPY as it comes: ``map`` to an inner observable, then ``merge(max_concurrent=...)``.

It has no backpressure: ``merge`` takes the whole source into a list, so there is no queue to bound.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops
from reactivex.scheduler import EventLoopScheduler, ThreadPoolScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler

from .handwritten import patient, persistent
from .workload import ATTEMPTS, CONCURRENCY, TIMEOUT, AsyncFn, Job, Sink, SyncFn

Step = Callable[[Observable[int]], Observable[int]]


def _flat(inner: Callable[[int], Observable[int]]) -> Step:
    def step(source: Observable[int]) -> Observable[int]:
        return source.pipe(ops.map(inner), ops.merge(max_concurrent=CONCURRENCY))

    return step


def _cold(loop: asyncio.AbstractEventLoop, fn: AsyncFn, value: int) -> Observable[int]:
    return rx.defer(lambda _: rx.from_future(asyncio.ensure_future(fn(value), loop=loop)))


def run_asyncio(job: Job, sink: Sink) -> None:
    """Time limit and attempts inside the coroutine: Rx only does the fan-out."""

    def step(loop: asyncio.AbstractEventLoop, fn: AsyncFn) -> Step:
        call = patient(fn)
        return _flat(lambda value: _cold(loop, call, value))

    asyncio.run(_asyncio(job, sink, step))


def run_asyncio_operators(job: Job, sink: Sink) -> None:
    """Time limit and attempts with Rx's own ``timeout`` and ``retry``, timers on the event loop."""

    def step(loop: asyncio.AbstractEventLoop, fn: AsyncFn) -> Step:
        timers = AsyncIOScheduler(loop)

        def inner(value: int) -> Observable[int]:
            return _cold(loop, fn, value).pipe(ops.timeout(TIMEOUT, scheduler=timers), ops.retry(ATTEMPTS))

        return _flat(inner)

    asyncio.run(_asyncio(job, sink, step))


async def _asyncio(job: Job, sink: Sink, step: Callable[[asyncio.AbstractEventLoop, AsyncFn], Step]) -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    chain = rx.from_iterable(range(job.items))
    for fn in job.coroutines():
        chain = step(loop, fn)(chain)
    chain.subscribe(sink, done.set_exception, lambda: done.set_result(None))
    await done


def run_pools(job: Job, sink: Sink) -> None:
    """A thread pool per stage; attempts inside the function, and no time limit."""

    def step(fn: SyncFn, pool: ThreadPoolScheduler) -> Step:
        call = persistent(fn)
        return _flat(lambda value: rx.from_callable(lambda: call(value), scheduler=pool))

    _pools(job, sink, step)


def run_pools_retry(job: Job, sink: Sink) -> None:
    """A thread pool per stage; Rx's own ``retry``, and no time limit."""

    def step(fn: SyncFn, pool: ThreadPoolScheduler) -> Step:
        return _flat(lambda value: rx.from_callable(lambda: fn(value), scheduler=pool).pipe(ops.retry(ATTEMPTS)))

    _pools(job, sink, step)


def run_pools_operators(job: Job, sink: Sink) -> None:
    """A thread pool per stage; Rx's own ``timeout`` and ``retry``, with one thread for all timers."""
    timers = EventLoopScheduler()

    def step(fn: SyncFn, pool: ThreadPoolScheduler) -> Step:
        return _flat(
            lambda value: rx.from_callable(lambda: fn(value), scheduler=pool).pipe(
                ops.timeout(TIMEOUT, scheduler=timers), ops.retry(ATTEMPTS)
            )
        )

    try:
        _pools(job, sink, step)
    finally:
        timers.dispose()


def _pools(job: Job, sink: Sink, step: Callable[[SyncFn, ThreadPoolScheduler], Step]) -> None:
    pools = [ThreadPoolScheduler(CONCURRENCY) for _ in job.latencies]
    done = threading.Event()
    errors: list[Exception] = []

    def on_error(error: Exception) -> None:
        errors.append(error)
        done.set()

    chain = rx.from_iterable(range(job.items))
    for fn, pool in zip(job.functions(), pools, strict=True):
        chain = step(fn, pool)(chain)
    chain.subscribe(sink, on_error, done.set)
    done.wait()
    for pool in pools:
        pool.executor.shutdown()
    if errors:
        raise errors[0]
