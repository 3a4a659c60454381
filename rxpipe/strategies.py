"""The ways of running a pipeline's stages: the same operators, composed differently.

- ``per_stage``: a chain of ``stage`` operators; every stage has its own slots and a queue before it.
- ``per_item``: so many items at once, each with a slot in whichever stage it has reached: what a bounded flat-map
  of the whole chain does, without building the chain anew for each item.
- ``staged``: each stage finishes all items before the next one starts; the baseline to compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import SerialDisposable

from rxpipe.item import Item
from rxpipe.operators.gate import announced_gate, announcing
from rxpipe.operators.sources import from_iterable
from rxpipe.operators.stage import Place, stage_with
from rxpipe.operators.stage_settings import Settings

Strategy = Literal["per_stage", "per_item", "staged"]
Stages = Callable[[Observable[Item]], Observable[Item]]

A = TypeVar("A")


def compose(strategy: Strategy, stages: Sequence[tuple[Settings[Item, Item], Place | None]]) -> Stages:
    """The operator that takes items through all stages.

    Args:
        strategy: How. For ``per_item``, whoever feeds the items sees to it that no more than so many are inside.
        stages: Each stage's settings, and where its calls run.
    """

    def through(items: Observable[Item]) -> Observable[Item]:
        for settings, place in stages:
            items = items.pipe(stage_with(settings, scheduler=place))
            if strategy == "staged":
                items = items.pipe(collected)
        return items

    return through


def collected(source: Observable[A]) -> Observable[A]:
    """Let nothing pass before the source has completed, then everything, as there is room."""

    def subscribe(observer: ObserverBase[A], scheduler: SchedulerBase | None = None) -> DisposableBase:
        gate = announced_gate()
        values: list[A] = []
        subscription = SerialDisposable()

        def release() -> None:
            with announcing(gate):
                subscription.disposable = from_iterable(values).subscribe(observer, scheduler=scheduler)

        with announcing(None):
            subscription.disposable = source.subscribe(values.append, observer.on_error, release, scheduler=scheduler)
        return subscription

    return reactivex.create(subscribe)
