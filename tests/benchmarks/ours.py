"""rxpipe as plain Rx: a chain of ``ops.stage``. Its functions decide where it runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from reactivex import Observable

from rxpipe import Retry, from_iterable
from rxpipe import operators as ops

from .workload import ATTEMPTS, CONCURRENCY, QUEUE_SIZE, TIMEOUT, AsyncFn, Job, Sink, SyncFn

A = TypeVar("A")
Step = Callable[[Observable[int]], Observable[int]]

RETRY = Retry(max_attempts=ATTEMPTS)


def chain_asyncio(job: Job, sink: Sink) -> None:
    """Coroutine functions, subscribed to inside a running event loop."""

    def stage(fn: AsyncFn) -> Step:
        return ops.stage(fn, concurrency=CONCURRENCY, queue_size=QUEUE_SIZE, timeout=TIMEOUT, retry=RETRY)

    asyncio.run(drain_on_loop(lambda: _chain(job, map(stage, job.coroutines())), sink))


def chain_threads(job: Job, sink: Sink) -> None:
    """Plain functions, subscribed to outside any event loop."""

    def stage(fn: SyncFn) -> Step:
        return ops.stage(fn, concurrency=CONCURRENCY, queue_size=QUEUE_SIZE, timeout=TIMEOUT, retry=RETRY)

    drain(_chain(job, map(stage, job.functions())), sink)


def _chain(job: Job, steps: Iterable[Step]) -> Observable[int]:
    chain = from_iterable(range(job.items))
    for step in steps:
        chain = step(chain)
    return chain


async def drain_on_loop(make: Callable[[], Observable[A]], sink: Callable[[A], None]) -> None:
    """Subscribe inside the running loop, and wait for the end."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    make().subscribe(sink, done.set_exception, lambda: done.set_result(None))
    await done


def drain(values: Observable[A], sink: Callable[[A], None]) -> None:
    """Subscribe, and wait for the end."""
    done = threading.Event()
    errors: list[Exception] = []

    def on_error(error: Exception) -> None:
        errors.append(error)
        done.set()

    values.subscribe(sink, on_error, done.set)
    done.wait()
    if errors:
        raise errors[0]
