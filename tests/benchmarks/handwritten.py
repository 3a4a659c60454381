"""What a capable engineer writes without a framework: a bounded queue and ten workers per stage."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable

from .workload import ATTEMPTS, BACKOFF, CONCURRENCY, QUEUE_SIZE, TIMEOUT, AsyncFn, Job, Sink, SyncFn

Inbox = asyncio.Queue[int | None]
ThreadInbox = queue.Queue[int | None]


def patient(fn: AsyncFn) -> AsyncFn:
    """A coroutine function with a time limit for each call, and several attempts."""

    async def call(value: int) -> int:
        attempt = 1
        while True:
            try:
                async with asyncio.timeout(TIMEOUT):
                    return await fn(value)
            except Exception:
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(BACKOFF * 2**attempt)
                attempt += 1

    return call


def persistent(fn: SyncFn) -> SyncFn:
    """A plain function with several attempts. A thread cannot be stopped, so there is no time limit."""

    def call(value: int) -> int:
        attempt = 1
        while True:
            try:
                return fn(value)
            except Exception:
                if attempt == ATTEMPTS:
                    raise
                time.sleep(BACKOFF * 2**attempt)
                attempt += 1

    return call


def run_asyncio(job: Job, sink: Sink) -> None:
    """Worker tasks with an ``asyncio.Queue`` in front of every stage."""
    asyncio.run(_asyncio(job, sink))


async def _asyncio(job: Job, sink: Sink) -> None:
    stages = [patient(fn) for fn in job.coroutines()]
    queues = [Inbox(QUEUE_SIZE) for _ in stages]

    async def feed() -> None:
        for item in range(job.items):
            await queues[0].put(item)
        await stop(queues[0])

    async def stop(inbox: Inbox) -> None:
        for _ in range(CONCURRENCY):
            await inbox.put(None)

    async def work(call: AsyncFn, inbox: Inbox, outbox: Inbox) -> None:
        while (value := await inbox.get()) is not None:
            await outbox.put(await call(value))

    async def finish(call: AsyncFn, inbox: Inbox) -> None:
        while (value := await inbox.get()) is not None:
            sink(await call(value))

    async def stage(call: AsyncFn, inbox: Inbox, outbox: Inbox) -> None:
        async with asyncio.TaskGroup() as workers:
            for _ in range(CONCURRENCY):
                workers.create_task(work(call, inbox, outbox))
        await stop(outbox)

    async with asyncio.TaskGroup() as group:
        group.create_task(feed())
        for call, inbox, outbox in zip(stages, queues, queues[1:], strict=False):
            group.create_task(stage(call, inbox, outbox))
        for _ in range(CONCURRENCY):
            group.create_task(finish(stages[-1], queues[-1]))


def run_threads(job: Job, sink: Sink) -> None:
    """Worker threads with a ``queue.Queue`` in front of every stage."""
    stages = [persistent(fn) for fn in job.functions()]
    queues = [ThreadInbox(QUEUE_SIZE) for _ in stages]

    def work(call: SyncFn, inbox: ThreadInbox, put: Callable[[int], None]) -> None:
        while (value := inbox.get()) is not None:
            put(call(value))

    puts = [*(inbox.put for inbox in queues[1:]), sink]
    crews = [
        [threading.Thread(target=work, args=ends, daemon=True) for _ in range(CONCURRENCY)]
        for ends in zip(stages, queues, puts, strict=True)
    ]
    for crew in crews:
        for thread in crew:
            thread.start()
    for item in range(job.items):
        queues[0].put(item)
    for crew, inbox in zip(crews, queues, strict=True):
        for _ in crew:
            inbox.put(None)
        for thread in crew:
            thread.join()
