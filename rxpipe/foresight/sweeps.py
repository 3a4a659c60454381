"""``sweep``: how a run changes with one setting, or with two.

Each point is one simulation with the same seed. As each call of each item is drawn alike in all of them (common random
numbers, see ``chance.py``), two points differ by their settings and not by chance.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rxpipe.errors import ConfigError
from rxpipe.foresight.calls.draws import Distribution
from rxpipe.foresight.calls.record import RecordedRun
from rxpipe.foresight.simulation import Ran, Scenario
from rxpipe.foresight.variants import with_settings
from rxpipe.pipeline.pipeline import Pipeline

NEARLY = 0.95
"""The knee is the smallest setting that reaches this share of the best rate.

Of two settings, it is the pair that stands earliest in their values: the least sum of places, then the best rate.
"""

_MOST_SETTINGS = 2
_MOST_OF_ONE = 12  # values of a range that are simulated; with those around the knee, there are 16 or so
_MOST_OF_TWO = 8  # of each of two

Variant = Callable[[Mapping[str, Any]], Pipeline[Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A simulation with one value of each setting.

    Attributes:
        settings: The values, by the settings' paths.
        rate: Rows in a second.
        seconds: Wall time in seconds.
        first_seconds: Seconds until the first row.
        item_p50: Seconds that half of the items take at most.
        item_p95: The same of 95 in a hundred.
        failed: Items that fail.
        cost: What the calls cost.
        in_flight: The most items that are held in memory at once.
        held_up_by: The stage or limit that holds the others up; None if there is none, or it is too close to call.
    """

    settings: Mapping[str, Any]
    rate: float
    seconds: float
    first_seconds: float
    item_p50: float
    item_p95: float
    failed: int
    cost: float
    in_flight: int
    held_up_by: str | None

    @classmethod
    def of(cls, settings: Mapping[str, Any], ran: Ran) -> Point:
        """The point of a simulation that has ended."""
        numbers = ran.simulated.numbers
        names = ("seconds", "first_seconds", "item_p50", "item_p95", "cost")
        return cls(
            settings=settings,
            rate=numbers["written"] / max(numbers["seconds"], 1e-9),
            **{name: numbers[name] for name in names},
            failed=round(numbers["failed"]),
            in_flight=round(numbers["in_flight"]),
            held_up_by=None if ran.advice.other is not None else ran.advice.name,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """How a run changes with its settings.

    ``print(sweep)`` is a table.

    Attributes:
        settings: The values of each setting, by its path.
        points: A simulation for each value, or for each pair of values; the last setting changes first.
        best: The point with the highest rate.
        knee: The smallest settings that come near to that, see ``NEARLY``; None unless all values are numbers.
        count: Items of the source; None for as many as are needed.
        assumptions: What is taken for granted, a sentence each.
        seed: What all chance follows from.
    """

    settings: Mapping[str, tuple[Any, ...]]
    points: tuple[Point, ...]
    best: Point
    knee: Point | None
    count: int | None
    assumptions: tuple[str, ...]
    seed: int

    @property
    def is_rising(self) -> bool:
        """Whether the knee is at the end of a setting's values, so that still larger ones may give more."""
        knee = self.knee
        return knee is not None and any(knee.settings[path] == max(values) for path, values in self.settings.items())

    @property
    def sentence(self) -> str:
        """Which settings to take, and why."""
        if self.knee is None:
            return f"{_text(self.best)} gives most: {self.best.rate:.4g} rows/s"
        share = self.knee.rate / self.best.rate if self.best.rate else 1.0
        verb = "is the smallest that reaches" if len(self.settings) == 1 else "are the smallest that reach"
        rates = f"{self.knee.rate:.4g} rows/s, {share:.0%} of {self.best.rate:.4g}"
        told = f"{_text(self.knee)} {verb} {NEARLY:.0%} of the best rate: {rates}"
        return f"{told}; the rate still rises at the end of the values" if self.is_rising else told

    def as_json(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {
            "settings": {path: list(values) for path, values in self.settings.items()},
            "points": [asdict(point) for point in self.points],
            "best": asdict(self.best),
            "knee": None if self.knee is None else asdict(self.knee),
            "count": self.count,
            "assumptions": list(self.assumptions),
            "seed": self.seed,
        }

    def __str__(self) -> str:
        lines = [
            f"{_text(one)}: {one.rate:.4g} rows/s, {one.seconds:.4g} s, held up by {one.held_up_by or 'no single part'}"
            for one in self.points
        ]
        return "\n".join([*lines, self.sentence, *self.assumptions])


def sweep(
    pipeline: Pipeline[Any, Any],
    settings: Mapping[str, Iterable[Any]],
    *,
    count: int | None = None,
    until: int | None = None,
    record: RecordedRun | None = None,
    latency: Mapping[str, Distribution] | None = None,
    server_slots: int | None = None,
    server_rate: float | None = None,
    seed: int = 0,
) -> Sweep:
    """Simulate a run with each value of a setting, or with each pair of values of two.

    ::

        found = sweep(pipeline, {"stages.answering.concurrency": range(4, 65)}, count=1_000, record=record)
        found.knee.settings  # {"stages.answering.concurrency": 20}

    Args:
        pipeline: What is to be run.
        settings: One or two settings with their values: ``concurrency`` or ``strategy`` of the pipeline, or
            ``stages.NAME.OPTION`` of a stage. Of a long ``range`` some numbers are simulated, with about the same ratio
            from one to the next; and, if it is the only setting, those around the knee.
        count: See ``simulate``, as for all that follows.
        until: As there.
        record: As there.
        latency: As there.
        server_slots: As there.
        server_rate: As there.
        seed: As there.

    Raises:
        ConfigError: There is no such setting, or a value is not allowed there; or what ``simulate`` raises.
    """
    scenario = Scenario.of(
        pipeline,
        count=count,
        until=until,
        record=record,
        latency=latency,
        slots=server_slots,
        rate=server_rate,
    )
    return sweep_of(scenario, settings, lambda chosen: with_settings(pipeline, chosen), seed=seed)


def sweep_of(scenario: Scenario, settings: Mapping[str, Iterable[Any]], variant: Variant, *, seed: int) -> Sweep:
    """The same for a scenario that is prepared.

    Args:
        scenario: What is common to all points.
        settings: As for ``sweep``.
        variant: Gives the scenario's pipeline with some settings instead of its own.
        seed: What all chance follows from.
    """
    settings = {path: _ascending(values) for path, values in settings.items()}
    if not 1 <= len(settings) <= _MOST_SETTINGS:
        raise ConfigError(f"a sweep is over one setting or two, not {len(settings)}")
    most = _MOST_OF_ONE if len(settings) == 1 else _MOST_OF_TWO
    given = {path: _values(values, most) for path, values in settings.items()}
    if empty := [path for path, values in given.items() if not values]:
        raise ConfigError(f"{empty[0]}: a sweep needs values")
    chosen = [dict(zip(given, values, strict=True)) for values in itertools.product(*given.values())]
    variants = [variant(one) for one in chosen]  # what is wrong is told before anything is simulated
    names = [stage.name for stage in scenario.pipeline.stages]
    if any([stage.name for stage in one.stages] != names for one in variants):
        raise ConfigError(f"{' and '.join(given)}: stages keep their names in a simulation")

    def point(one: Mapping[str, Any], pipeline: Pipeline[Any, Any]) -> Point:
        return Point.of(one, scenario.with_pipeline(pipeline).run(seed, as_recorded=True))

    points = list(map(point, chosen, variants))
    ((path, values), *others) = settings.items()
    if isinstance(values, range) and not others:
        while (between := _between(points, path, values)) is not None:
            points.append(point(between, variant(between)))
        points.sort(key=lambda one: values.index(one.settings[path]))
        given = {path: tuple(one.settings[path] for one in points)}
    return Sweep(
        settings=given,
        points=tuple(points),
        best=max(points, key=lambda point: point.rate),
        knee=_knee(given, points),
        count=scenario.count,
        assumptions=scenario.told(min(point.seconds for point in points)),
        seed=seed,
    )


def _ascending(values: Iterable[Any]) -> Iterable[Any]:
    return values[::-1] if isinstance(values, range) and values.step < 0 else values


def _values(values: Iterable[Any], most: int) -> tuple[Any, ...]:
    """The values to simulate: all, but of a long range some with about the same ratio from one to the next."""
    if isinstance(values, range) and len(values) > most:
        return tuple(_spread(values, most))
    return tuple(dict.fromkeys(values))


def _spread(numbers: range, most: int) -> list[int]:
    low = max(1, abs(numbers[0]) // numbers.step)
    ratio = (low + len(numbers) - 1) / low
    places = [round(low * ratio ** (place / (most - 1)) - low) for place in range(most)]
    return [numbers[place] for place in dict.fromkeys(places)]


def _between(points: Sequence[Point], path: str, values: range) -> Mapping[str, Any] | None:
    """A value halfway between the knee and the one before it; None if these are neighbours."""
    knee = _knee({path: [one.settings[path] for one in points]}, points)
    if knee is None:
        return None
    place = values.index(knee.settings[path])
    before = max((each for one in points if (each := values.index(one.settings[path])) < place), default=place)
    return None if place - before < 2 else {path: values[(place + before) // 2]}


def _knee(settings: Mapping[str, Sequence[Any]], points: Sequence[Point]) -> Point | None:
    if not all(_is_number(value) for values in settings.values() for value in values):
        return None
    order = {path: sorted(values) for path, values in settings.items()}
    enough = NEARLY * max(point.rate for point in points)
    near = [point for point in points if point.rate >= enough]
    return min(
        near, key=lambda point: (sum(order[path].index(one) for path, one in point.settings.items()), -point.rate)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(point: Point) -> str:
    return " and ".join(f"{path}={value}" for path, value in point.settings.items())
