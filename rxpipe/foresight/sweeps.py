"""``sweep`` shows how a run changes with one or two settings.

Each point is one simulation, and all points have the same seed. Each call of each item is drawn alike in all of them
(common random numbers, see ``chance.py``), so two points differ by their settings and not by chance.
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

With two settings, the knee is the pair with the smallest sum of places in their sorted values. Of pairs with the same
sum, the one with the best rate is the knee.
"""

_MOST_SETTINGS = 2
_MOST_OF_ONE = 12  # the most values of a range that are simulated first; with those around the knee there are about 16
_MOST_OF_TWO = 8  # the same for each of two settings

Variant = Callable[[Mapping[str, Any]], Pipeline[Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A simulation with one value of each setting.

    Attributes:
        settings: The values by path.
        rate: Rows per second.
        seconds: Wall time in seconds.
        first_seconds: Seconds until the first row.
        item_p50: Half of the items take at most this many seconds.
        item_p95: 95% of the items take at most this many seconds.
        failed: The number of items that fail.
        cost: The cost of all calls, in the currency of the prices.
        in_flight: The highest number of items in memory at once.
        held_up_by: The stage or limit that holds the run up; None if there is none, or if two are too close to call.
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
        """Makes the point of a simulation that has ended."""
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

    ``print(sweep)`` shows a table.

    Attributes:
        settings: The values of each setting, by path.
        points: A simulation for each value, or for each pair of values. The last setting changes first.
        best: The point with the highest rate.
        knee: The point with the smallest settings whose rate is at least 95% of the best; None if a value is no number.
        count: The number of items that the source gives; None for as many as the run needs.
        assumptions: What the simulations assume, one sentence each.
        seed: The seed of all random numbers.
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
        """True if the knee is at the end of a setting's values, so that larger values may give more."""
        knee = self.knee
        return knee is not None and any(knee.settings[path] == max(values) for path, values in self.settings.items())

    @property
    def sentence(self) -> str:
        """The settings to take, and why, as one sentence."""
        if self.knee is None:
            return f"{_text(self.best)} gives most: {self.best.rate:.4g} rows/s"
        share = self.knee.rate / self.best.rate if self.best.rate else 1.0
        verb = "is the smallest that reaches" if len(self.settings) == 1 else "are the smallest that reach"
        rates = f"{self.knee.rate:.4g} rows/s, {share:.0%} of {self.best.rate:.4g}"
        told = f"{_text(self.knee)} {verb} {NEARLY:.0%} of the best rate: {rates}"
        return f"{told}; the rate still rises at the end of the values" if self.is_rising else told

    def as_json(self) -> dict[str, Any]:
        """Returns the sweep as plain data, for JSON."""
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
    """Simulates a run with each value of a setting, or with each pair of values of two settings.

    ::

        found = sweep(pipeline, {"stages.answering.concurrency": range(4, 65)}, count=1_000, record=record)
        found.knee.settings  # {"stages.answering.concurrency": 20}

    A long ``range`` is not simulated in full. The simulated numbers have about the same ratio from one to the next. If
    the range is the only setting, further numbers around the knee are simulated.

    Args:
        pipeline: The pipeline of the run.
        settings: The values of one or two settings by path: ``concurrency`` or ``strategy`` of the pipeline, or
            ``stages.NAME.OPTION`` of a stage.
        count: See ``simulate``.
        until: See ``simulate``.
        record: See ``simulate``.
        latency: See ``simulate``.
        server_slots: See ``simulate``.
        server_rate: See ``simulate``.
        seed: See ``simulate``.

    Returns:
        One point for each simulation, with the best point and the knee.

    Raises:
        ConfigError: A setting does not exist, or does not allow a value. Also raised for the reasons that ``simulate``
            has.
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
    """Does the same as ``sweep`` for a scenario that exists already.

    Args:
        scenario: The scenario that all points share.
        settings: As for ``sweep``.
        variant: Returns the scenario's pipeline with the given settings.
        seed: The seed of all random numbers.
    """
    settings = {path: _ascending(values) for path, values in settings.items()}
    if not 1 <= len(settings) <= _MOST_SETTINGS:
        raise ConfigError(f"a sweep is over one setting or two, not {len(settings)}")
    most = _MOST_OF_ONE if len(settings) == 1 else _MOST_OF_TWO
    given = {path: _values(values, most) for path, values in settings.items()}
    if empty := [path for path, values in given.items() if not values]:
        raise ConfigError(f"{empty[0]}: a sweep needs values")
    chosen = [dict(zip(given, values, strict=True)) for values in itertools.product(*given.values())]
    variants = [variant(one) for one in chosen]  # raises before anything is simulated
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
    """Returns the values to simulate: all, or a selection of a long range with about equal ratios."""
    if isinstance(values, range) and len(values) > most:
        return tuple(_spread(values, most))
    return tuple(dict.fromkeys(values))


def _spread(numbers: range, most: int) -> list[int]:
    low = max(1, abs(numbers[0]) // numbers.step)
    ratio = (low + len(numbers) - 1) / low
    places = [round(low * ratio ** (place / (most - 1)) - low) for place in range(most)]
    return [numbers[place] for place in dict.fromkeys(places)]


def _between(points: Sequence[Point], path: str, values: range) -> Mapping[str, Any] | None:
    """Returns a value halfway between the knee and the point before it; None if the two are neighbours."""
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
