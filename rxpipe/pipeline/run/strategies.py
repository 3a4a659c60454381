"""The strategies: three ways to compose the stages from the same operators.

- ``per_stage``: a chain of ``stage`` operators. Every stage has slots of its own, and a queue before it.
- ``per_item``: a fixed number of items at once, each with a slot in the stage that it has reached. A bounded flat-map
  of the whole chain does the same, but builds the chain again for each item.
- ``staged``: each stage finishes all items before the next one starts, and the sink comes last. This is the baseline
  for comparisons.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, TypeVar

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxpipe.operators.core.machine import Machine
from rxpipe.operators.stage import ExecutionTarget, stage_with
from rxpipe.operators.stages.settings import Settings
from rxpipe.pipeline.run.cache_lookup import CacheStage
from rxpipe.pipeline.run.item import Item

Strategy = Literal["per_stage", "per_item", "staged"]
Stages = Callable[[Observable[Item]], Observable[Item]]

A = TypeVar("A")


def compose(
    strategy: Strategy,
    stages: Sequence[tuple[Settings[Item, Item], ExecutionTarget | None]],
    lookups: Mapping[int, CacheStage] = MappingProxyType({}),
) -> Stages:
    """Returns the operator that takes items through all stages.

    Args:
        strategy: The way to compose the stages. With ``per_item``, the caller limits the number of items inside. With
            ``staged``, the caller holds all items back until the last one has passed.
        stages: Each stage's settings, and where its calls run.
        lookups: The cache lookups that run before stages, by the stage's index.

    Raises:
        TypeError: A stage's function cannot run where it should.
    """
    operators: list[Stages] = []
    for index, (settings, target) in enumerate(stages):
        if index in lookups:
            operators.append(lookups[index])
        if operators and strategy == "staged":
            operators.append(collected)
        operators.append(stage_with(settings, scheduler=target))
    return lambda items: items.pipe(*operators)


def collected(source: Observable[A]) -> Observable[A]:
    """Hold all items until the source has completed. Then pass them on, as there is room."""

    def subscribe(observer: ObserverBase[A], scheduler: SchedulerBase | None = None) -> DisposableBase:
        return _Collected(observer).subscribe_to(source, scheduler)

    return reactivex.create(subscribe)


class _Collected(Machine[A, A]):
    def __init__(self, observer: ObserverBase[A]) -> None:
        super().__init__(observer, math.inf)
        self._values: deque[A] = deque()

    def arrive(self, value: A) -> None:
        self._values.append(value)

    def advance(self) -> None:
        while self.source_done and self._values and not self.over and self.may_emit():
            self.emit(self._values.popleft())
        if self.source_done and not self._values:
            self.end()

    def free(self) -> None:
        self._values.clear()
