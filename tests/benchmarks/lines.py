"""Random lines of stages whose capacities are nearly equal, and what rxpipe does with them in virtual time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from reactivex import Observer

from rxpipe import Outcome, Pipeline, RateLimiter, Retry, Stage
from rxpipe.insight.snapshot import Snapshot
from rxpipe.operators.core.virtual_time import VirtualTime

from .virtual import DrawnCalls

_SPREADS = (0.1, 0.3, 0.6, 1.0)  # coefficients of variation of a call's seconds
_NEAR = 1.5  # the largest capacity of a line may be so many times the least
_COUNTED = (0.15, 0.95)  # a rate is measured between these shares of the items


class Refused(Exception):
    """A drawn failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineStage:
    """A stage of a line: its slots, and the seconds of its calls, which follow a gamma distribution."""

    name: str
    slots: int
    mean: float
    spread: float
    failing: float

    def draw(self, numbers: random.Random) -> tuple[float, BaseException | None]:
        """Seconds of a call, and its error."""
        shape = 1 / self.spread**2
        seconds = numbers.gammavariate(shape, self.mean / shape)
        return seconds, Refused() if numbers.random() < self.failing else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineLimit:
    """A rate limit, which the stages of these numbers share."""

    rate: float
    stages: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Stages and their limits."""

    stages: tuple[LineStage, ...]
    limits: tuple[LineLimit, ...]

    @property
    def names(self) -> list[str]:
        """What can be relaxed, as a snapshot names it."""
        limits = [" and ".join(self.stages[each].name for each in limit.stages) + " calls" for limit in self.limits]
        return [stage.name for stage in self.stages] + limits

    def relaxed(self, name: str, by: Callable[[float], float]) -> Line:
        """The same with more slots, or a higher rate."""
        place = self.names.index(name)
        if place < len(self.stages):
            stage = self.stages[place]
            slots = math.ceil(by(stage.slots) - 1e-9)
            changed = replace(stage, slots=slots)
            return replace(self, stages=(*self.stages[:place], changed, *self.stages[place + 1 :]))
        limits = list(self.limits)
        place -= len(self.stages)
        limits[place] = replace(limits[place], rate=by(limits[place].rate))
        return replace(self, limits=tuple(limits))


def draw_line(seed: int, *, limited: bool) -> Line:
    """A line of two to five stages; with one or two limits, if it is to have any."""
    numbers = random.Random(f"{seed} {limited}")
    stages: list[LineStage] = []
    for place in range(numbers.randint(2, 5)):
        slots, failing = 2 * numbers.randint(1, 12), numbers.choice((0, 0, 0.1))  # even: half as many again is whole
        mean = slots * (1 - failing) / numbers.uniform(1, _NEAR)
        spread = numbers.choice(_SPREADS)
        stages.append(LineStage(name=f"s{place}", slots=slots, mean=mean, spread=spread, failing=failing))
    limits: list[LineLimit] = []
    free = list(range(len(stages)))
    for _ in range(numbers.choice((1, 1, 2)) if limited else 0):
        sharing = sorted(numbers.sample(free, min(len(free), numbers.randint(1, 2))))
        if sharing:
            calls = sum(1 / (1 - stages[place].failing) for place in sharing)
            limits.append(LineLimit(rate=numbers.uniform(1, _NEAR) * calls, stages=tuple(sharing)))
            free = [place for place in free if place not in sharing]
    return Line(stages=tuple(stages), limits=tuple(limits))


def rate_of(line: Line, seed: object, items: int) -> float:
    """Items in a second, in the steady part of a run."""
    time, ends = VirtualTime(), list[float]()
    _start(line, seed, items, time, ends)
    time.run()
    first, last = (int(items * share) for share in _COUNTED)
    return (last - first) / (ends[last] - ends[first])


def watch(line: Line, seed: object, items: int, *, looks: int = 60) -> list[Snapshot]:
    """Snapshots of a run, evenly spaced, up to its end."""
    time, ends = VirtualTime(), list[float]()
    run = _start(line, seed, items, time, ends)
    snapshots: list[Snapshot] = []
    while time.run(until=time.seconds + items / looks):
        snapshots.append(run.snapshot())
    return snapshots


def _start(line: Line, seed: object, items: int, time: VirtualTime, ends: list[float]) -> Any:
    limiters = {place: limiter for limit in line.limits for limiter in [_limiter(limit)] for place in limit.stages}
    retry = Retry(max_attempts=1_000, initial=0.0, jitter=0.0, retry_on=(Refused,))
    stages = [
        Stage(
            stage.name,
            _same,
            executor=DrawnCalls(time, partial(stage.draw, random.Random(f"{seed} {place}"))),
            concurrency=stage.slots,
            rate_limit=limiters.get(place),
            retry=retry,
        )
        for place, stage in enumerate(line.stages)
    ]
    observer = Observer[Outcome[Any]](lambda _: ends.append(time.seconds))
    return Pipeline(*stages).start(range(items), observer, scheduler=time)


def _limiter(limit: LineLimit) -> RateLimiter:
    return RateLimiter(1, 1 / limit.rate)


def _same(value: Any) -> Any:
    return value
