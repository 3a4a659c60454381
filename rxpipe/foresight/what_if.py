"""Simulates a run with other settings, from its numbers and some of its calls. The pipeline itself is not needed.

A stand-in for the pipeline is made from the numbers: stages with their slots, limits, attempts and children. Queues
have their default length, and retry delays are those that were observed. All settings are simulated with the same
random numbers, and results are ratios to the present rate. So an error of the stand-in affects both sides of a ratio
alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rxpipe.errors import ConfigError
from rxpipe.foresight.calls.record import RecordedCall
from rxpipe.foresight.simulation import Scenario
from rxpipe.foresight.stand_in import AT_ONCE, QUEUE, StandIn
from rxpipe.foresight.virtual.copies import simulated_pipeline
from rxpipe.foresight.virtual.server import Server
from rxpipe.foresight.virtual.to_the_end import endless, let_happen
from rxpipe.insight.interval import Interval
from rxpipe.insight.snapshot import Snapshot
from rxpipe.operators.core.virtual_time import VirtualTime
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.start import start

MOST_ITEMS = 12_000  # the most items that one curve simulates
Kind = Literal["slots", "items", "limit"]
_SHARES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)  # times the present value: the points of a curve
_SEEDS = 5  # with fewer an interval says little: with three it goes from a third of a rate to three times as much
_LEAST, _MOST = 200, 1_000  # items of a simulation
_ROUNDS = 3  # times as many items as the stages hold
_TINY = 1e-9  # seconds
_FILLED = 0.3  # share of the items after which the rate is measured
_APART = 1_009  # distance between the seeds of two simulations


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting that can be changed in simulations.

    Attributes:
        name: The name of the stage or of the limit.
        kind: ``slots`` of a stage; ``items`` at once, for a run with strategy ``per_item``; or the ``limit`` of a rate.
        unit: What the value counts; for a limit, units per second.
        now: The present value.
        least: The smallest value of a curve.
        most: The largest value of a curve.
    """

    name: str
    kind: Kind
    unit: str
    now: float
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The effect of one value of a setting.

    Attributes:
        value: The value.
        times: The rate of the run with this value, as a multiple of the present rate.
    """

    value: float
    times: Interval


class WhatIf:
    """Simulates a run with other settings. Not thread-safe."""

    def __init__(self, snapshot: Snapshot, calls: Sequence[RecordedCall]) -> None:
        """Prepares simulations of a run.

        Args:
            snapshot: The run's numbers.
            calls: Some of the run's calls: all calls of a time without gaps.

        Raises:
            ConfigError: A stage has no calls, or the numbers make no pipeline.
        """
        self._snapshot = snapshot
        self._stand_in = StandIn(snapshot, calls)
        self.settings = _settings(snapshot)
        self._now: dict[int, list[float]] = {}  # items per second as it is, by the number of simulated items
        self._scenario = Scenario.of(
            self._stand_in.pipeline({}),
            count=_LEAST,
            until=None,
            record=self._stand_in.record,
            latency=None,
            slots=None,
        )

    def curve(self, name: str, changed: Mapping[str, float] | None = None) -> list[Point]:
        """Returns how fast the run would go at several values of a setting.

        Args:
            name: The name of the setting.
            changed: Other changed settings, by name.

        Raises:
            ConfigError: The setting does not exist, a value is out of range, or the simulated run has no end.
        """
        known = {one.name: one for one in self.settings}
        for given, value in {name: 1.0, **(changed or {})}.items():
            if given not in known:
                raise ConfigError(f"there is no setting {given!r}")
            if given != name and not known[given].least <= value <= known[given].most:
                raise ConfigError(f"{given} must be from {known[given].least:g} to {known[given].most:g}")
        others = {given: value for given, value in (changed or {}).items() if given != name}
        values = _values(known[name])
        items = self._items(len(values))
        now = self._now.get(items) or [self._rate({}, items, seed) for seed in range(_SEEDS)]
        self._now[items] = now
        return [
            Point(
                value=value,
                times=_times([self._rate({**others, name: value}, items, seed) for seed in range(_SEEDS)], now),
            )
            for value in values
        ]

    def _items(self, points: int) -> int:
        held = sum((stage.concurrency or 0) + QUEUE for stage in self._snapshot.stages)
        return max(_LEAST, min(_MOST, MOST_ITEMS // ((points + 1) * _SEEDS), _ROUNDS * held))

    def _rate(self, settings: Mapping[str, float], count: int, seed: int) -> float:
        """Returns items per second in the steady part of a simulation."""
        scenario, time = self._scenario, VirtualTime()
        load = scenario.load.load
        draws = scenario.draws(load)
        if seed:
            draws = {name: one.resampled(seed * _APART + place) for place, (name, one) in enumerate(draws.items())}
        server = Server(time, load, slots=math.inf, rate=scenario.rate)
        pipeline = simulated_pipeline(self._stand_in.pipeline(settings), draws, time, server, seed)
        meter = _Meter(time, count)
        run = meter.run = start(pipeline, range(count), scheduler=time, admitted=meter.admitted)
        if not let_happen(time, run):
            raise ConfigError(endless(run))
        return meter.rate or count / max(run.seconds, _TINY)


class _Meter:
    """Marks the progress of a simulation after 30% of the items are taken, and after the last one is."""

    def __init__(self, time: VirtualTime, count: int) -> None:
        self._time = time
        self._looks = int(count * _FILLED), count
        self._marks: list[tuple[float, int]] = []
        self.run: Run | None = None

    def admitted(self, item: Item) -> None:
        """Marks the progress when an item is taken."""
        run = self.run
        if run is not None and run.taken in self._looks:
            ended = run.written + run.failed + run.dropped + run.expanded + run.collected
            self._marks.append((self._time.seconds, run.taken + run.spawned + ended))

    @property
    def rate(self) -> float | None:
        """Items that came or ended per second; None if that cannot be measured."""
        if len(self._marks) < len(self._looks) or self._marks[1][0] <= self._marks[0][0]:
            return None
        return (self._marks[1][1] - self._marks[0][1]) / (self._marks[1][0] - self._marks[0][0])


def _times(rates: Sequence[float], now: Sequence[float]) -> Interval:
    ratios = [one / base if base > 0 else 1.0 for one, base in zip(rates, now, strict=True)]
    return Interval.of(ratios[1:], ratios[0])


def _settings(snapshot: Snapshot) -> tuple[Setting, ...]:
    found: list[Setting] = []
    if snapshot.strategy == "per_item":
        at_once = max((stage.concurrency or 0 for stage in snapshot.stages), default=0)
        if at_once:
            found.append(_setting(AT_ONCE, "items", "items", at_once))
    else:
        found += [
            _setting(stage.name, "slots", "slots", stage.concurrency) for stage in snapshot.stages if stage.concurrency
        ]
    found += [_setting(one.name, "limit", one.unit, one.rate) for one in snapshot.limiters if one.rate > 0]
    return tuple(found)


def _setting(name: str, kind: Kind, unit: str, now: float) -> Setting:
    least, most = now * _SHARES[0], now * _SHARES[-1]
    if kind != "limit":
        least = max(1, round(least))
    return Setting(name=name, kind=kind, unit=unit, now=now, least=least, most=most)


def _values(setting: Setting) -> list[float]:
    values = [setting.now * share for share in _SHARES]
    if setting.kind == "limit":
        return values
    return [float(value) for value in sorted({max(1, round(value)) for value in values})]
