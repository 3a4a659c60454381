"""Starts a run of a pipeline: opens what it needs, composes its stages, subscribes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from reactivex.abc import ObserverBase, SchedulerBase

from rxpipe.errors import StopRun
from rxpipe.operators.core.clock import clock_for, running_loop
from rxpipe.pipeline.listener import Listener, Listeners
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.plan import Plan, ResolvedStages, lookups_of, resolved_stages
from rxpipe.pipeline.ports import RunPorts
from rxpipe.pipeline.prepare import prepare
from rxpipe.pipeline.run.budget import Budget
from rxpipe.pipeline.run.flow import Flow
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.run.snapshots import RunFacts, limiters_of
from rxpipe.pipeline.run.strategies import compose
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
        observer: Notified of each outcome; it slows the run down while it does not return.
        ports: What ``prepare`` gave, where that was called before so as not to block here.
        scheduler: Whose time the run goes by: a virtual one, in tests.
        listeners: Told of its items and calls, beside the pipeline's own.
        admitted: Told of each item that is taken, before all listeners.

    Raises:
        SinkError: The sink cannot be opened.
        RuntimeError: The scheduler is ``asyncio``, and no event loop is running here.
    """
    if plan.scheduler == "asyncio" and running_loop() is None:
        raise RuntimeError('a pipeline with scheduler="asyncio" starts on a running event loop; run() makes one')
    ids = as_observable(source)
    with ports or prepare(plan) as ports:
        told = Listeners((*plan.listeners, *listeners))
        budget = None if plan.max_cost is None else Budget(plan.max_cost, ports.usage_before.cost, ports.mean_costs)
        quota = ports.quota
        if quota is not None:
            quota.written = ports.before[0]
        is_staged = plan.strategy == "staged"
        flow = Flow([stage.name for stage in plan.stages], is_staged=is_staged, quota=quota)
        clock = clock_for(None, scheduler)

        def stop(error: StopRun) -> None:
            run.stop_with(error)

        options = {"journal": ports.journal, "budget": budget, "flow": flow, "stop": stop, "now": clock.now}
        stages = resolved_stages(plan, told, **options)
        targeted = [(settings, ports.target_of(executor)) for settings, executor in stages]
        operator = compose(plan.strategy, targeted, lookups_of(plan, ports.journal))
        stats = [settings.stats for settings, _ in stages]
        if budget is not None:
            budget.watch(stats)
        run = Run(
            stats,
            clock,
            limit=plan.concurrency if plan.strategy == "per_item" else math.inf,
            staged=is_staged,
            number=ports.number,
            before=ports.before,
            usage_before=ports.usage_before,
            is_finished=ports.is_finished,
            aborted=ports.aborted,
            listeners=told,
            admitted=admitted,
            flow=flow,
            quota=quota,
            facts=_facts_of(plan, source, stages, ports),
        )
        ports.watch(run.snapshot)
        ports.stops(lambda aborts: run.abort() if aborts else run.stop())
        run.start(ports.take(ids), operator, ports.write, observer, scheduler, ahead=ports.ahead)
        ports.hand_over()
    return run


def _facts_of(plan: Plan, source: Source, stages: ResolvedStages, ports: RunPorts) -> RunFacts:
    return RunFacts(
        pipeline=plan.name,
        strategy=plan.strategy,
        length=length(source),
        limiters=[limiters_of(settings) for settings, _ in stages],
        most=[settings.concurrency for settings, _ in stages],
        counts=ports.counts,
    )
