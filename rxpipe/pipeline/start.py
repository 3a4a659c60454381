"""From what a pipeline describes to a run: what it needs is opened, its stages are composed, and items flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from reactivex.abc import ObserverBase, SchedulerBase

from rxpipe.errors import ItemCancelled, StopRun
from rxpipe.operators.core.clock import clock_for, running_loop
from rxpipe.operators.stage import Place, settings_of
from rxpipe.operators.stages.settings import Settings
from rxpipe.pipeline.listener import Listener, Listeners
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.ports import RunPorts, Sink, Store
from rxpipe.pipeline.prepare import prepare
from rxpipe.pipeline.run.budget import Budget
from rxpipe.pipeline.run.envelope import ItemEnvelope
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.run.strategies import Stages, Strategy, compose
from rxpipe.pipeline.source import Source, as_observable
from rxpipe.pipeline.stage import Stage

Scheduler: TypeAlias = Literal["threads", "asyncio"]
Placed: TypeAlias = list[tuple[Settings[Item, Item], Place | None]]


class Plan(Protocol):
    """What is run: a ``Pipeline``, where its attributes are described."""

    @property
    def name(self) -> str: ...  # noqa: D102 - as all below
    @property
    def stages(self) -> Sequence[Stage]: ...  # noqa: D102
    @property
    def sink(self) -> Sink | None: ...  # noqa: D102
    @property
    def store(self) -> Store | None: ...  # noqa: D102
    @property
    def strategy(self) -> Strategy: ...  # noqa: D102
    @property
    def scheduler(self) -> Scheduler: ...  # noqa: D102
    @property
    def concurrency(self) -> int: ...  # noqa: D102
    @property
    def max_cost(self) -> float | None: ...  # noqa: D102
    @property
    def listeners(self) -> Sequence[Listener]: ...  # noqa: D102


def window_of(plan: Plan) -> float:
    """How many items its stages hold."""
    if plan.strategy == "per_item":
        return plan.concurrency
    return sum(settings.concurrency + settings.queue_size for settings, _ in _placed(plan))


def _slots_of(plan: Plan) -> float:
    """How many calls may run at once."""
    if plan.strategy == "per_item":
        return plan.concurrency
    return sum(settings.concurrency for settings, _ in _placed(plan))


def ports_of(plan: Plan) -> RunPorts:
    """Make the executors, the sink and the store ready; may block.

    Returns:
        What ``start`` takes. It is closed by the run, or, if none is started with it, as a context manager.

    Raises:
        SinkError: One of them cannot be opened: also a ``StoreError``, ``StagesChanged`` or ``OtherPipeline``.
        ConfigError: The store cannot be in such a database, or an executor not be opened.
    """
    window, slots = window_of(plan), _slots_of(plan)
    return prepare(plan.name, plan.stages, plan.sink, plan.store, window=window, slots=slots)


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
        ports: What ``ports_of`` gave, where that was called before so as not to block here.
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
    with ports or ports_of(plan) as ports:
        told = Listeners((*plan.listeners, *listeners))
        budget = None if plan.max_cost is None else Budget(plan.max_cost, ports.usage_before.cost, ports.mean_costs)

        def cut_off(place: int, error: StopRun | ItemCancelled) -> None:
            run.cut_off(place, error)

        placed = _placed(plan, told, journal=ports.journal, budget=budget, cut_off=cut_off)
        stages = compose(plan.strategy, [(settings, ports.place(place)) for settings, place in placed])
        stats = [settings.stats for settings, _ in placed]
        if budget is not None:
            budget.watch(stats)
        run = Run(
            stats,
            clock_for(None, scheduler),
            limit=plan.concurrency if plan.strategy == "per_item" else math.inf,
            staged=plan.strategy == "staged",
            number=ports.number,
            before=ports.before,
            usage_before=ports.usage_before,
            is_finished=ports.is_finished,
            aborted=ports.hurry,
            listeners=told,
            admitted=admitted,
        )
        run.start(ports.take(ids), stages, ports.write, observer, scheduler, ahead=ports.ahead)
        ports.hand_over()
    return run


def compose_stages(plan: Plan) -> Stages:
    """Its stages as one operator.

    Raises:
        TypeError: A stage's function cannot run where it should.
    """
    return compose(plan.strategy, _placed(plan))


def _placed(plan: Plan, listeners: Listeners | None = None, **options: Any) -> Placed:
    """Each stage's settings, and where its calls run; with options of ``ItemEnvelope``."""
    told = listeners or Listeners()
    placed: Placed = []
    for place, stage in enumerate(plan.stages):
        envelope = ItemEnvelope(stage.name, place, last=stage is plan.stages[-1], listeners=told, **options)
        call = told.wrapped(stage, stage.call)
        placed.append((_settings_of(plan, stage, call, envelope), stage.executor))
    return placed


def _settings_of(plan: Plan, stage: Stage, call: Callable[[Any], Any], envelope: ItemEnvelope) -> Settings[Item, Item]:
    per_item = plan.strategy == "per_item"
    given = None if per_item else stage.concurrency
    return settings_of(
        call,
        name=stage.name,
        concurrency=plan.concurrency if given is None else given,
        queue_size=0 if per_item else stage.queue_size,
        timeout=stage.timeout,
        retry=stage.retry,
        rate_limit=stage.rate_limit,
        recover=envelope.fail,
        max_abandoned=stage.max_abandoned,
        envelope=envelope,
    )
