"""Simulates the rest of a live run in virtual time: items go on from where they are, and new ones come."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from reactivex import Observer
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxpipe.foresight.calls.record import NOTHING, Draw
from rxpipe.foresight.live.live_calls import LiveDraws
from rxpipe.foresight.live.present import Present, claim_of
from rxpipe.foresight.virtual.copies import pipeline_of, simulated_stages
from rxpipe.foresight.virtual.server import Server
from rxpipe.foresight.virtual.to_the_end import let_happen
from rxpipe.operators.core.virtual_time import VirtualTime
from rxpipe.operators.core.worker import Function
from rxpipe.operators.stages.limiter import Limiter
from rxpipe.pipeline.claim import Claim
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.plan import Plan, until_written
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.stage import Stage
from rxpipe.pipeline.start import start

_AT_ONCE = 1e-6  # seconds: calls that begin within this time had begun before the simulation
_FILLED = 0.25  # share of the new items after which the rate is measured
_FLOWING = 0.9  # the end of that measurement if the number of rows is fixed, as less and less is in flight then
_FEW = 24  # new items: with fewer, no rate is measured
_ENDLESS = 2**40  # new items


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much to simulate.

    Attributes:
        new: The most new items; None for as many as are needed.
        missing: The number of rows to be written; None for no target.
        expected: About how many new items are taken.
    """

    new: int | None
    missing: int | None
    expected: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """The result of one simulation of the rest.

    Attributes:
        seconds: How long the rest took, in virtual seconds.
        fed: Seconds until the last new item was taken.
        new: The number of new items that were taken.
        rate: New items per second in the steady part; None if they are too few.
        calls: The number of calls of each stage.
        items: The number of simulated items, earlier items in flight and children included.
    """

    seconds: float
    fed: float
    new: int
    rate: float | None
    calls: tuple[int, ...]
    items: int


def simulated_rest(
    plan: Plan,
    present: Present,
    bounds: Bounds,
    *,
    scales: Sequence[float],
    seed: int,
    pause: Callable[[], object] = lambda: None,
) -> Rest | None:
    """Simulates the rest of a run once.

    Args:
        plan: The pipeline of the run. Its functions are not called.
        present: Where the run stands.
        bounds: How much to simulate.
        scales: A factor for the seconds of each stage's calls.
        seed: The seed of all random numbers.
        pause: Called now and then. If it raises, the simulation ends with that error.

    Returns:
        The result; None if the simulation has no end.

    Raises:
        TypeError: A limiter of your own class has no ``fresh()``, so it cannot be simulated.
        RuntimeError: The simulation stands still.
    """
    time = VirtualTime()
    numbers = Random(seed)
    items = _Items(present, bounds, numbers)
    draws = items.draws(scales)
    stages = _as_now(simulated_stages(plan, draws, time, Server(time), seed), plan, present, items, time)
    meter = _Meter(time, bounds, present.visits)
    run = start(
        until_written(pipeline_of(stages, strategy=plan.strategy, concurrency=plan.concurrency), bounds.missing),
        items,
        Observer[Outcome[Any]](),
        scheduler=time,
        admitted=meter.taken,
    )
    meter.run = run
    for stage in run.stages:
        stage.times.thin()
    if not let_happen(time, run, pause):
        return None
    if not run.finished.done():
        raise RuntimeError(f"the simulation stands still: {run.report()}")
    return meter.rest(run)


class _Items(Collection[Claim | int]):
    """The items of a simulation: first those in flight, from the last stage on backwards, then new ones."""

    def __init__(self, present: Present, bounds: Bounds, numbers: Random) -> None:
        self._present = present
        self._bounds = bounds
        self._numbers = numbers
        count = len(present.stages)
        self.begun: list[dict[int, Draw]] = [{} for _ in range(count)]
        self.running = [0] * count
        self.delayed: dict[int, float] = {}
        self.attempts: dict[int, int] = {}
        self._first: list[Claim] = []
        self._then: list[Claim] = []
        self._number = 0

    def draws(self, scales: Sequence[float]) -> dict[str, LiveDraws]:
        """Returns the draws of each stage's calls, by the stage's name."""
        present = self._present
        known = [one.seconds.mean for one in present.calls if one.seconds is not None]
        usual = sum(known) / len(known) if known else 1.0
        last = max(0, self._bounds.expected - present.in_flight) or -math.inf
        made = [
            LiveDraws(
                one,
                self.begun[place],
                usual=usual,
                scale=scales[place],
                numbers=self._numbers,
                place=place,
                last=last,
            )
            for place, one in enumerate(present.calls)
        ]
        for place in reversed(range(len(made))):
            self._place(place, made[place], scales[place])
        return {one.name: draws for one, draws in zip(present.calls, made, strict=True)}

    def _place(self, place: int, draws: LiveDraws, scale: float) -> None:
        standing, calls = self._present.stages[place], self._present.calls[place]
        early = self._present.ends_early.get(place, 0.0)
        self._first += [self._claim(place + 1) for _ in range(standing.held)]
        for delay, number in standing.delayed:
            self._first.append(self._at(place, draws))
            self.delayed[self._number] = delay
            self.attempts[self._number] = number
            draws.has_come_to(self._number, number)
        for age, number in standing.running:
            seconds = 0.0 if calls.seconds is None else calls.seconds.rest(age / scale, self._numbers) * scale
            self._first.append(self._at(place, draws))
            fails = draws.has_come_to(self._number, number)
            ended = "dropped" if self._numbers.random() < early else draws.ended(age + seconds, fails=fails)
            self.begun[place][self._number] = Draw(seconds, ended, calls.usage if calls.usage.tokens else NOTHING)
            if number > 1:
                self.attempts[self._number] = number
        for _ in range(standing.waiting):
            self._then.append(self._at(place, draws))
        self._then += [self._claim(place) for _ in range(standing.arriving)]
        self.running[place] = len(standing.running) + len(standing.delayed)

    def _claim(self, finished: int) -> Claim:
        self._number -= 1
        return claim_of(self._number, finished)

    def _at(self, place: int, draws: LiveDraws) -> Claim:
        claim = self._claim(place)
        draws.placed.add(self._number)
        return claim

    def __len__(self) -> int:
        return len(self._first) + len(self._then) + (_ENDLESS if self._bounds.new is None else self._bounds.new)

    def __iter__(self) -> Iterator[Claim | int]:
        yield from self._first
        yield from self._then
        yield from range(_ENDLESS if self._bounds.new is None else self._bounds.new)

    def __contains__(self, one: object) -> bool:
        return False


def _as_now(stages: Sequence[Stage], plan: Plan, present: Present, items: _Items, time: VirtualTime) -> list[Stage]:
    """Returns the simulated stages in their present state: with their present slots, and with calls that have begun."""
    limiters: dict[int, _Begun] = {}
    made: list[Stage] = []
    for place, stage in enumerate(stages):
        limiter = stage.rate_limit
        if limiter is not None:
            begun = limiters.setdefault(id(limiter), _Begun(limiter, time))
            begun.free += items.running[place]
            limiter = begun
        executor = _GoesOn(stage.executor, items)
        changed: dict[str, Any] = {"rate_limit": limiter, "timeout": None, "executor": executor}
        if plan.strategy != "per_item":
            changed["concurrency"] = present.slots[place] or stage.concurrency
        made.append(replace(stage, **changed))
    return made


class _NotDue(Exception):
    """A call whose time has not come yet."""

    uses_attempt = False

    def __init__(self, seconds: float) -> None:
        super().__init__("not due")
        self.retry_after = max(seconds, _AT_ONCE)


class _GoesOn:
    """An executor of simulated calls that continues with the attempts that items have made already."""

    queues = False
    width = math.inf

    def __init__(self, stage: Any, items: _Items) -> None:
        self._stage = stage
        self._delayed, self._attempts = items.delayed, items.attempts
        self.cancels = stage.cancels

    def runner(self) -> _GoesOn:
        """Returns the executor itself."""
        return self

    def close(self) -> None:
        """Does nothing, as there is nothing to free."""

    def start(self, fn: Function, value: Any, call: Any) -> DisposableBase:
        """Starts a call; see ``SimulatedStage``."""
        number = call.item.id if self._attempts else 0
        if number in self._attempts:
            if number in self._delayed:
                call.attempt = self._attempts[number]
                call.done(False, _NotDue(self._delayed.pop(number)))
                return Disposable()
            call.attempt = max(call.attempt, self._attempts.pop(number))
        started: DisposableBase = self._stage.start(fn, value, call)
        return started


class _Begun:
    """A limiter that does not delay calls that run already."""

    def __init__(self, limiter: Limiter, time: VirtualTime) -> None:
        self._limiter = limiter
        self._time = time
        self._call_ended = getattr(limiter, "call_ended", None)
        self.free = 0

    def reserve(self, now: float) -> float:
        """See ``Limiter``."""
        if self.free > 0 and now < _AT_ONCE:
            self.free -= 1
            return 0.0
        return self._limiter.reserve(now)

    def call_ended(self, call: object | None) -> None:
        """See ``CallLimiter``."""
        if self._call_ended is not None:
            self._call_ended(call)


class _Meter:
    """Measures a simulation."""

    def __init__(self, time: VirtualTime, bounds: Bounds, visits: Sequence[float]) -> None:
        self._time = time
        self._visits = visits
        self._from = int(bounds.expected * _FILLED)
        self._until = int(bounds.expected * (1 if bounds.missing is None else _FLOWING))
        self._taken = 0
        self._marks: list[tuple[float, list[int], list[float]]] = []
        self._fed = 0.0
        self.run: Run | None = None

    def taken(self, item: Item) -> None:
        """Counts a new item that is taken."""
        if item.claim is not None:
            return
        self._taken += 1
        self._fed = self._time.seconds
        if self._taken in (self._from + 1, self._until):
            self._mark()

    def _mark(self) -> None:
        run = self.run
        if run is not None:
            self._marks.append(
                (
                    self._time.seconds,
                    [stage.finished for stage in run.stages],
                    [stage.busy / max(1, min(stage.concurrency, 1e9)) for stage in run.stages],
                )
            )

    def rest(self, run: Run) -> Rest:
        """Returns the result of the simulation."""
        return Rest(
            seconds=run.seconds,
            fed=self._fed,
            new=self._taken,
            rate=self._rate(),
            calls=tuple(stage.started for stage in run.stages),
            items=run.taken + run.spawned,
        )

    def _rate(self) -> float | None:
        if len(self._marks) < 2 or self._until - self._from < _FEW:
            return None
        (began, before, busy_before), (until, after, busy_after) = self._marks[0], self._marks[-1]
        if until <= began:
            return None
        busy = [late - early for early, late in zip(busy_before, busy_after, strict=True)]
        place = max(range(len(busy)), key=busy.__getitem__)
        visits = self._visits[place]
        if visits <= 0:
            return None
        return (after[place] - before[place]) / visits / (until - began) or None
