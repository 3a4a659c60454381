"""rxpipe's `Pipeline` without a sink, in each strategy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

from reactivex import Observable

from rxpipe import Outcome, Pipeline, Stage

from .ours import RETRY, drain, drain_on_loop
from .workload import CONCURRENCY, QUEUE_SIZE, TIMEOUT, AsyncFn, Job, Sink, SyncFn

Strategy = Literal["per_stage", "per_item", "staged"]


def per_stage_asyncio(job: Job, sink: Sink) -> None:
    """Queues between stages, coroutines."""
    _on_loop(job, sink, "per_stage")


def per_stage_threads(job: Job, sink: Sink) -> None:
    """Queues between stages, threads."""
    _on_threads(job, sink, "per_stage")


def per_item_asyncio(job: Job, sink: Sink) -> None:
    """One item a worker, through all stages; coroutines."""
    _on_loop(job, sink, "per_item")


def per_item_threads(job: Job, sink: Sink) -> None:
    """One item a worker, through all stages; threads."""
    _on_threads(job, sink, "per_item")


def staged_asyncio(job: Job, sink: Sink) -> None:
    """All items through a stage before the next begins; coroutines."""
    _on_loop(job, sink, "staged")


def staged_threads(job: Job, sink: Sink) -> None:
    """All items through a stage before the next begins; threads."""
    _on_threads(job, sink, "staged")


def _on_loop(job: Job, sink: Sink, strategy: Strategy) -> None:
    asyncio.run(drain_on_loop(lambda: _outcomes(job, job.coroutines(), strategy), _values(sink)))


def _on_threads(job: Job, sink: Sink, strategy: Strategy) -> None:
    drain(_outcomes(job, job.functions(), strategy), _values(sink))


def _outcomes(job: Job, functions: list[AsyncFn] | list[SyncFn], strategy: Strategy) -> Observable[Outcome[Any]]:
    stages = [
        Stage(f"stage{number}", fn, concurrency=CONCURRENCY, queue_size=QUEUE_SIZE, timeout=TIMEOUT, retry=RETRY)
        for number, fn in enumerate(functions)
    ]
    return Pipeline(*stages, strategy=strategy, concurrency=CONCURRENCY).outcomes(range(job.items))


def _values(sink: Sink) -> Callable[[Outcome[Any]], None]:
    def take(outcome: Outcome[Any]) -> None:
        if outcome.error is not None:
            raise outcome.error
        sink(outcome.value)

    return take
