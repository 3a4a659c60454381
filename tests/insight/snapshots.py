"""Snapshots of made-up runs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from rxpipe.insight.snapshot import LimiterSnapshot, SinkSnapshot, Snapshot, SourceSnapshot, StageSnapshot
from rxpipe.operators.stages.durations import Durations


def durations(count: int, mean: float, spread: float = 0.3) -> Durations:
    """So many, drawn at random but always the same."""
    found = _drawn(min(count, 1_000), mean, spread)
    factor = count / max(1, found.count)
    buckets = {bucket: max(1, round(many * factor)) for bucket, many in found.buckets.items()}
    return Durations(buckets, count, count * mean, found.longest)


@cache
def _drawn(count: int, mean: float, spread: float) -> Durations:
    numbers, found = random.Random(1), Durations()
    shape = 1 / spread**2
    for _ in range(count):
        found.add(numbers.gammavariate(shape, mean / shape))
    return found


Other = tuple[str, Callable[[float, float], Any] | float]
"""The name of a stage's figure, and what it is: always the same, or a function of items and seconds."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A stage: its slots, the mean of its calls' seconds, and calls an item."""

    name: str
    slots: int | None = 10
    seconds: float = 1.0
    calls: float = 1.0
    limiters: tuple[str, ...] = ()
    other: tuple[Other, ...] = ()

    def at(self, items: float, elapsed: float) -> StageSnapshot:
        """What it has done when so many items have gone through."""
        calls = round(items * self.calls)
        snapshot = StageSnapshot(
            name=self.name,
            concurrency=self.slots,
            most=self.slots,
            calls=calls,
            done=round(items),
            retried=max(0, calls - round(items)),
            busy=calls * self.seconds,
            slot_seconds=None if self.slots is None else self.slots * elapsed,
            seconds=durations(calls, self.seconds),
            limiters=self.limiters,
        )
        scaled: dict[str, Any] = {
            name: value(items, elapsed) if callable(value) else value for name, value in self.other
        }
        return replace(snapshot, **scaled)


def made(
    *stages: Made,
    rate: float,
    looks: int = 12,
    every: float = 20.0,
    limiters: Sequence[tuple[str, float]] = (),
    sink: tuple[int, float] | None = None,
    source_waited: float = 0.0,
    **other: Any,
) -> list[Snapshot]:
    """Snapshots of a run at a steady rate.

    Args:
        stages: Its stages.
        rate: Items in a second.
        looks: How many snapshots there are.
        every: Seconds between two.
        limiters: Names and rates of limits, of which each call of a stage that names it takes one.
        sink: Outcomes of a commit, and the share of the time that commits take.
        source_waited: The share of the time in which the source gave nothing though there was room.
        other: More of what each snapshot has.
    """
    found: list[Snapshot] = []
    for look in range(1, looks + 1):
        elapsed = look * every
        items = round(rate * elapsed)
        limits = tuple(
            LimiterSnapshot(
                name=name,
                unit="calls",
                rate=most,
                taken=sum(items * each.calls for each in stages if name in each.limiters),
            )
            for name, most in limiters
        )
        writes = None
        if sink is not None:
            size, share = sink
            writes = SinkSnapshot(
                name="database", outcomes=items // size * size, commits=items // size, busy=share * elapsed
            )
        snapshot = Snapshot(
            at=1e9 + elapsed,
            elapsed=elapsed,
            stages=tuple(stage.at(items, elapsed) for stage in stages),
            taken=items,
            written=items,
            limiters=limits,
            sink=writes,
            source=_waited_for(source_waited * elapsed, items),
        )
        found.append(replace(snapshot, **other))
    return found


def _waited_for(seconds: float, items: int) -> SourceSnapshot:
    """A source that each item was waited for."""
    return SourceSnapshot(waited=seconds, waits=durations(items, seconds / items) if items and seconds else Durations())
