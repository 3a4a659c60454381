"""The plan of a run: the pipeline's description, and the stages composed of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, cast

from rxpipe.operators.stage import ExecutionTarget
from rxpipe.operators.stages.options import is_count
from rxpipe.operators.stages.settings import Settings, settings_of
from rxpipe.pipeline.claim import Journal
from rxpipe.pipeline.listener import Listener, Listeners
from rxpipe.pipeline.ports import Sink, Store
from rxpipe.pipeline.run.cache_lookup import CacheStage
from rxpipe.pipeline.run.envelope import ItemEnvelope
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.stage_role import StageRole
from rxpipe.pipeline.run.strategies import Stages, Strategy, compose
from rxpipe.pipeline.stage import Stage

Scheduler: TypeAlias = Literal["threads", "asyncio"]
ResolvedStages: TypeAlias = list[tuple[Settings[Item, Item], ExecutionTarget | None]]


class Plan(Protocol):
    """The description of a run. ``Pipeline`` is one, and describes the attributes."""

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
    def until(self) -> int | None: ...  # noqa: D102
    @property
    def listeners(self) -> Sequence[Listener]: ...  # noqa: D102


P = TypeVar("P", bound=Plan)


def until_written(plan: P, until: int | None) -> P:
    """Returns the plan for a run that ends when ``until`` items are written; None for all items.

    Raises:
        TypeError: ``until`` is no whole number.
        ValueError: ``until`` is below 1, or the strategy is ``staged``, which takes all items first.
    """
    if until is None:
        return plan
    if not is_count(until):
        raise TypeError(f"until must be a whole number of at least 1, not {until!r}; leave it out to take all items")
    if not until >= 1:
        raise ValueError(f"until must be a whole number of at least 1, not {until}; leave it out to take all items")
    if plan.strategy == "staged":
        raise ValueError(
            "strategy staged takes all items before it writes one: it has no until; use per_stage or per_item"
        )
    limited: Any = copy(plan)
    limited.until = until
    return cast("P", limited)


def window_of(plan: Plan) -> float:
    """Returns the number of items that the stages hold."""
    return bounds_of(plan)[0]


def bounds_of(plan: Plan) -> tuple[float, float]:
    """Returns the number of items that the stages hold, and the number of calls that may run at once."""
    if plan.strategy == "per_item":
        return plan.concurrency, plan.concurrency
    stages = [settings for settings, _ in resolved_stages(plan)]
    slots = sum(stage.concurrency for stage in stages)
    return slots + sum(stage.queue_size for stage in stages), slots


def compose_stages(plan: Plan) -> Stages:
    """Returns all stages as one operator.

    Raises:
        TypeError: A stage's function cannot run where it should.
    """
    return compose(plan.strategy, resolved_stages(plan))


def resolved_stages(plan: Plan, listeners: Listeners | None = None, **options: Any) -> ResolvedStages:
    """Returns each stage's settings, and where its calls run. ``options`` are passed to ``ItemEnvelope``.

    Raises:
        ValueError: The stages do not fit together.
    """
    told = listeners or Listeners()
    result: ResolvedStages = []
    for stage, role in zip(plan.stages, roles_of(plan), strict=True):
        envelope = ItemEnvelope(role, listeners=told, **options)
        settings = _settings_of(plan, stage, told.wrapped(stage, stage.call), envelope)
        envelope.count_in(settings.stats)
        settings.stats.times.is_exact = options.get("journal") is not None
        result.append((settings, stage.executor))
    return result


def roles_of(plan: Plan) -> list[StageRole]:
    """Returns the role of each stage, such as the stage whose children it collects.

    Raises:
        ValueError: A stage collects children that no stage makes; or the strategy is ``staged``, which cannot expand.
    """
    stages, open_ones, pairs = plan.stages, list[int](), dict[int, int]()
    collects: dict[int, int] = {}
    for index, stage in enumerate(stages):
        if (stage.expand or stage.collect) and plan.strategy == "staged":
            raise ValueError(f"stage {stage.name}: strategy staged has no expand and no collect")
        if stage.collect:
            if not open_ones:
                raise ValueError(
                    f"stage {stage.name}: there is no stage with expand before it whose children it could collect; "
                    "an earlier stage needs expand=True, and each one is collected once"
                )
            collects[index] = open_ones.pop()
            pairs[collects[index]] = index
        if stage.expand:
            open_ones.append(index)
    return [
        StageRole(
            name=stage.name,
            index=index,
            is_last=index == len(stages) - 1,
            when=stage.when,
            collected_by=pairs.get(index),
            collects=collects.get(index),
            max_rounds=stage.max_rounds,
            cache=stage.cache,
        )
        for index, stage in enumerate(stages)
    ]


def lookups_of(plan: Plan, journal: Journal | None) -> dict[int, CacheStage]:
    """Returns the cache lookups that run before stages with ``cache``, by the index of the stage."""
    return {} if journal is None else {role.index: CacheStage(role, journal) for role in roles_of(plan) if role.cache}


def gate_of(plan: Plan) -> int | None:
    """Returns the index of the last stage whose children become rows; None if the source's items do."""
    roles = roles_of(plan)
    gates = [
        role.index for role, stage in zip(roles, plan.stages, strict=True) if stage.expand and role.collected_by is None
    ]
    return max(gates, default=None)


def _settings_of(plan: Plan, stage: Stage, call: Callable[[Any], Any], envelope: ItemEnvelope) -> Settings[Item, Item]:
    options, per_item = stage.call_options(), plan.strategy == "per_item"
    if (key := stage.key) is not None:
        options["key"] = lambda item: key(item.value)
    if per_item or options.get("concurrency") is None:
        options["concurrency"] = plan.concurrency
    queue_size = 0 if per_item else stage.queue_size
    return settings_of(
        call, name=stage.name, queue_size=queue_size, recover=envelope.fail, envelope=envelope, **options
    )
