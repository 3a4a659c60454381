"""Other libraries for concurrent stages: aiostream (asyncio, pulled) and pypeln (queues and workers).

They are imported by name, so that type checkers ask for neither the packages nor stubs that pypeln lacks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from .handwritten import patient, persistent
from .workload import CONCURRENCY, QUEUE_SIZE, TIMEOUT, Job, Sink


def run_aiostream(job: Job, sink: Sink) -> None:
    """``pipe.map`` with a task limit. It has no queues: each stage runs at most so many calls ahead."""
    stream: Any = import_module("aiostream.stream")
    pipe: Any = import_module("aiostream.pipe")

    async def main() -> None:
        chain = stream.iterate(range(job.items))
        for fn in job.coroutines():
            chain |= pipe.map(patient(fn), ordered=False, task_limit=CONCURRENCY)
        async with chain.stream() as results:
            async for value in results:
                sink(value)

    asyncio.run(main())


def run_pypeln_threads(job: Job, sink: Sink) -> None:
    """``pl.thread.map`` with its own ``timeout`` (it kills the worker); attempts inside the function."""
    pl: Any = import_module("pypeln")
    chain: Any = range(job.items)
    for fn in job.functions():
        chain = pl.thread.map(persistent(fn), chain, workers=CONCURRENCY, maxsize=QUEUE_SIZE, timeout=TIMEOUT)
    for value in chain:
        sink(value)


def run_pypeln_tasks(job: Job, sink: Sink) -> None:
    """``pl.task.map`` on the running loop; time limit and attempts inside the coroutine.

    Its source is an async iterable: pypeln 0.4.9 reads a plain one on a thread, and at times loses items.
    """
    pl: Any = import_module("pypeln")

    async def source() -> AsyncIterator[int]:
        for item in range(job.items):
            yield item

    async def main() -> None:
        chain: Any = source()
        for fn in job.coroutines():
            chain = pl.task.map(patient(fn), chain, workers=CONCURRENCY, maxsize=QUEUE_SIZE)
        async for value in chain:
            sink(value)

    asyncio.run(main())
