"""Makes a simulated copy of a pipeline: with the same options, and with drawn calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any, cast

from rxpipe.foresight.calls.draws import CallDraws
from rxpipe.foresight.virtual.server import Server
from rxpipe.foresight.virtual.simulated_stage import SimulatedRetry, SimulatedStage
from rxpipe.operators.core.virtual_time import VirtualTime
from rxpipe.operators.errors import StageTimeout
from rxpipe.operators.stage import is_coroutine_function
from rxpipe.operators.stages.limiter import AllOf, FreshLimiter, Limiter, RateLimiter, SpendingLimiter
from rxpipe.operators.stages.options import Batch
from rxpipe.operators.stages.retry_policy import Retry
from rxpipe.pipeline.pipeline import Pipeline
from rxpipe.pipeline.plan import Plan
from rxpipe.pipeline.stage import Stage

_LARGE = 1_000_003  # distance between the seeds of two stages


@dataclass(slots=True)
class _Limiters:
    """Fresh limiters for a copy of a pipeline. Stages that share a limiter also share the fresh one."""

    found: dict[int, Limiter]

    def fresh(self, limiter: Limiter) -> Limiter:
        """Returns the fresh limiter that replaces this one."""
        if id(limiter) not in self.found:
            self.found[id(limiter)] = self._made(limiter)
        return self.found[id(limiter)]

    def _made(self, limiter: Limiter) -> Limiter:
        if isinstance(limiter, AllOf):
            return AllOf(*map(self.fresh, limiter.limiters))
        if isinstance(limiter, FreshLimiter):
            return limiter.fresh()
        raise TypeError(f"a limiter that has no fresh() cannot be simulated: {limiter!r}")


def simulated_pipeline(
    pipeline: Plan, draws: Mapping[str, CallDraws], time: VirtualTime, server: Server, seed: int
) -> Pipeline[Any, Any]:
    """Returns a copy of a pipeline with drawn calls, and without sink, store and listeners.

    Args:
        pipeline: The pipeline to copy. Its functions are not called.
        draws: The draws of each stage's calls, by the stage's name.
        time: The virtual time of the simulation.
        server: The server that runs the calls.
        seed: The seed of all random numbers.

    Raises:
        TypeError: A limiter of your own class has no ``fresh()``, so it cannot be simulated.
    """
    return pipeline_of(
        simulated_stages(pipeline, draws, time, server, seed),
        strategy=pipeline.strategy,
        concurrency=pipeline.concurrency,
        max_cost=pipeline.max_cost,
    )


def simulated_stages(
    pipeline: Plan, draws: Mapping[str, CallDraws], time: VirtualTime, server: Server, seed: int
) -> list[Stage]:
    """Returns the stages of the simulated copy; see ``simulated_pipeline``."""
    limiters = _Limiters({})
    return [
        _simulated_stage(stage, draws[stage.name], time, server, limiters, seed * _LARGE + index)
        for index, stage in enumerate(pipeline.stages)
    ]


def pipeline_of(stages: Iterable[Stage], **options: Any) -> Pipeline[Any, Any]:
    """Returns a pipeline of stages with unknown types."""
    make: Callable[..., Pipeline[Any, Any]] = Pipeline
    return make(*stages, name="simulation", **options)


def stage_of(name: str, **options: Any) -> Stage:
    """Returns a stage whose function must not be called."""
    make: Callable[..., Stage[Any, Any]] = cast("Any", Stage)
    return make(name, _not_called, **options)


def _simulated_stage(
    stage: Stage, draws: CallDraws, time: VirtualTime, server: Server, limiters: _Limiters, seed: int
) -> Stage:
    limiter = None if stage.rate_limit is None else limiters.fresh(stage.rate_limit)
    executor = SimulatedStage(
        time,
        server,
        draws,
        seed=seed,
        cancels=is_coroutine_function(stage.call) or inspect.isasyncgenfunction(stage.call),
        expands=stage.expand,
        generates=inspect.isgeneratorfunction(stage.call) or inspect.isasyncgenfunction(stage.call),
        limiter=_spending(limiter),
    )
    return stage_of(
        stage.name,
        concurrency=stage.concurrency,
        queue_size=stage.queue_size,
        timeout=stage.timeout,
        retry=None if stage.retry is None else _simulated_retry(stage.retry, seed),
        rate_limit=limiter,
        executor=executor,
        max_abandoned=stage.max_abandoned,
        when=None if draws.called >= 1 else partial(draws.is_called, seed=seed),
        expand=stage.expand,
        collect=stage.collect,
        batch=None if stage.batch is None else _simulated_batch(stage.batch, limiters),
        max_rounds=stage.max_rounds,
    )


def _simulated_batch(batch: Batch, limiters: _Limiters) -> Batch:
    rate = None if batch.item_rate is None else limiters.fresh(batch.item_rate)
    assert rate is None or isinstance(rate, RateLimiter)
    return replace(batch, item_rate=rate)


def _simulated_retry(retry: Retry, seed: int) -> SimulatedRetry:
    is_function = callable(retry.retry_on) and not isinstance(retry.retry_on, type)
    return SimulatedRetry(
        max_attempts=retry.max_attempts,
        backoff_factor=retry.backoff_factor,
        initial=retry.initial,
        max_delay=retry.max_delay,
        jitter=retry.jitter,
        numbers=Random(seed),
        takes_timeouts=is_function or replace(retry, max_attempts=2).applies(StageTimeout("", 1.0), 1),
    )


def _spending(limiter: Limiter | None) -> SpendingLimiter | None:
    several = limiter.limiters if isinstance(limiter, AllOf) else (limiter,)
    return next((one for one in several if isinstance(one, SpendingLimiter)), None)


def _not_called(value: Any) -> Any:
    raise AssertionError("a simulation calls nothing")
