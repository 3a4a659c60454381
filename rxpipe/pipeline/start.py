"""Starts a run of a pipeline: opens its resources, composes its stages, subscribes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from reactivex.abc import ObserverBase, SchedulerBase

from rxpipe.errors import StopRun
from rxpipe.operators.core.clock import Clock, clock_for, running_loop
from rxpipe.operators.core.virtual_time import VirtualClock
from rxpipe.pipeline.listener import Listener, Listeners
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.plan import Plan, lookups_of, resolved_stages
from rxpipe.pipeline.ports import RunPorts
from rxpipe.pipeline.prepare import prepare
from rxpipe.pipeline.run.budget import Budget
from rxpipe.pipeline.run.flow import Flow
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.run.snapshots import RunFacts, limiters_of
from rxpipe.pipeline.run.strategies import Stages, compose
from rxpipe.pipeline.source import Source, as_observable, length


def start(
    plan: Plan,
    source: Source,
    observer: ObserverBase[Outcome[Any]] | None = None,
    *,
    ports: RunPorts | None = None,
    scheduler: SchedulerBase | None = None,
    listeners: Sequence[Listener] = (),
    admitted: Callable[[Item], object] | None = None,
) -> Run:
    """Start a run and return it.

    Args:
        plan: The pipeline.
        source: IDs, as for ``Pipeline.run``.
        observer: Receives each outcome. The run waits while the observer handles an outcome.
        ports: The result of ``prepare``, if that was called before so that this call does not block.
        scheduler: A virtual scheduler for the time of the run, in tests.
        listeners: Receive the events of items and calls, besides the pipeline's own listeners.
        admitted: Called with each item that is taken, before all listeners.

    Raises:
        SinkError: The sink cannot be opened.
        RuntimeError: The scheduler is ``asyncio``, and no event loop is running on this thread.
    """
    if plan.scheduler == "asyncio" and running_loop() is None:
        raise RuntimeError('a pipeline with scheduler="asyncio" starts on a running event loop; run() makes one')
    ids = as_observable(source)
    clock, told = clock_for(None, scheduler), Listeners((*plan.listeners, *listeners))
    with ports or prepare(plan) as ports:
        run, stages = _run_of(plan, length(source), ports, clock, told, admitted)
        ports.watch(run.snapshot, run.conclude)
        ports.stops(partial(_end, run))
        run.start(ids, stages, observer, scheduler)
        ports.hand_over()
    return run


def _end(run: Run, aborts: bool, error: Exception | None) -> None:
    if error is not None:
        run.fail(error)
    run.abort() if aborts else run.stop()


def _run_of(
    plan: Plan,
    length: int | None,
    ports: RunPorts,
    clock: Clock,
    told: Listeners,
    admitted: Callable[[Item], object] | None,
) -> tuple[Run, Stages]:
    """Returns a run that has not started, and its stages as one operator."""
    budget = None if plan.max_cost is None else Budget(plan.max_cost, ports.usage_before.cost, ports.mean_costs)
    if ports.quota is not None:
        ports.quota.written = ports.before[0]
    is_staged = plan.strategy == "staged"
    flow = Flow([stage.name for stage in plan.stages], is_staged=is_staged, quota=ports.quota)

    def stop(error: StopRun) -> None:
        run.stop_with(error)

    options = {"journal": ports.journal, "budget": budget, "flow": flow, "stop": stop, "now": clock.now}
    resolved = resolved_stages(plan, told, **options)
    targeted = [(settings, ports.target_of(executor)) for settings, executor in resolved]
    lookups = lookups_of(plan, ports.journal)
    stages = compose(plan.strategy, targeted, lookups)
    stats = [settings.stats for settings, _ in resolved]
    if budget is not None:
        budget.watch(stats)
    is_simulated = isinstance(clock, VirtualClock)
    facts = RunFacts(
        pipeline=plan.name,
        strategy=plan.strategy,
        length=length,
        limiters=[limiters_of(settings) for settings, _ in resolved],
        most=[settings.concurrency for settings, _ in resolved],
        lookups=lookups,
        counts=ports.counts,
        wall_time=clock.now if is_simulated else time.time,
        is_simulated=is_simulated,
    )
    limit = plan.concurrency if plan.strategy == "per_item" else math.inf
    run = Run(stats, clock, ports, flow, limit=limit, staged=is_staged, listeners=told, admitted=admitted, facts=facts)
    return run, stages
