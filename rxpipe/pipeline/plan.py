"""What is run: a pipeline's description, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from rxpipe.operators.stage import ExecutionTarget
from rxpipe.operators.stages.settings import Settings, settings_of
from rxpipe.pipeline.listener import Listener, Listeners
from rxpipe.pipeline.ports import Sink, Store
from rxpipe.pipeline.run.envelope import ItemEnvelope
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.strategies import Stages, Strategy, compose
from rxpipe.pipeline.stage import Stage

Scheduler: TypeAlias = Literal["threads", "asyncio"]
ResolvedStages: TypeAlias = list[tuple[Settings[Item, Item], ExecutionTarget | None]]


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
    return bounds_of(plan)[0]


def bounds_of(plan: Plan) -> tuple[float, float]:
    """How many items its stages hold, and how many calls may run at once."""
    if plan.strategy == "per_item":
        return plan.concurrency, plan.concurrency
    stages = [settings for settings, _ in resolved_stages(plan)]
    slots = sum(stage.concurrency for stage in stages)
    return slots + sum(stage.queue_size for stage in stages), slots


def compose_stages(plan: Plan) -> Stages:
    """Its stages as one operator.

    Raises:
        TypeError: A stage's function cannot run where it should.
    """
    return compose(plan.strategy, resolved_stages(plan))


def resolved_stages(plan: Plan, listeners: Listeners | None = None, **options: Any) -> ResolvedStages:
    """Each stage's settings, and where its calls run; ``options`` are passed to ``ItemEnvelope``."""
    told = listeners or Listeners()
    result: ResolvedStages = []
    for index, stage in enumerate(plan.stages):
        envelope = ItemEnvelope(stage.name, index, last=stage is plan.stages[-1], listeners=told, **options)
        call = told.wrapped(stage, stage.call)
        result.append((_settings_of(plan, stage, call, envelope), stage.executor))
    return result


def _settings_of(plan: Plan, stage: Stage, call: Callable[[Any], Any], envelope: ItemEnvelope) -> Settings[Item, Item]:
    options, per_item = stage.call_options(), plan.strategy == "per_item"
    if per_item or options.get("concurrency") is None:
        options["concurrency"] = plan.concurrency
    queue_size = 0 if per_item else stage.queue_size
    return settings_of(
        call, name=stage.name, queue_size=queue_size, recover=envelope.fail, envelope=envelope, **options
    )
