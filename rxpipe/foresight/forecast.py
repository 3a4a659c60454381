"""The result of a simulation: a ``Forecast``, each number with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rxpipe.insight.advice import Advice
from rxpipe.insight.interval import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class StageForecast:
    """The forecast for one stage.

    Attributes:
        name: The stage's name.
        slots: How many calls may run at once; None for no bound.
        busy: The share of slot time in which calls run, 0 to 1.
        calls: The number of calls, further attempts included.
        failed: The number of items that fail in this stage.
        dropped: The number of items that this stage drops.
    """

    name: str
    slots: int | None
    busy: Interval
    calls: Interval
    failed: Interval
    dropped: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitForecast:
    """The forecast for one rate limit.

    Attributes:
        name: The limit's name.
        used: The share of the limit that is used, 0 to 1.
    """

    name: str
    used: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The forecast of a run: how long it takes, what it costs, and what holds it up.

    ``print(forecast)`` shows a readable summary. The true number is within its ``Interval`` in nine of ten cases.

    Attributes:
        count: The number of items that the source gives; None for as many as the run needs.
        seconds: Wall time in seconds.
        first_seconds: Seconds until the first row.
        rate: Items that end per second.
        item_p50: Half of the items take at most this many seconds, from being taken to their end.
        item_p95: 95% of the items take at most this many seconds, from being taken to their end.
        written: The number of rows.
        failed: The number of items that fail.
        dropped: The number of items that stages drop.
        calls: The number of calls, further attempts included.
        retried: The number of calls that fail and are made again.
        pushed_back: The number of calls that the server refuses for now.
        prompt_tokens: The number of tokens sent to language models.
        completion_tokens: The number of tokens that language models return.
        cost: The cost of all calls, in the currency of the prices.
        in_flight: The highest number of items in memory at once.
        stages: The forecast for each stage, in order.
        limits: The forecast for each rate limit.
        advice: What holds the run up, and what a change would gain.
        assumptions: What the forecast assumes, one sentence each.
        simulations: How many simulations the forecast is made of.
        seed: The seed of all random numbers.
    """

    count: int | None
    seconds: Interval
    first_seconds: Interval
    rate: Interval
    item_p50: Interval
    item_p95: Interval
    written: Interval
    failed: Interval
    dropped: Interval
    calls: Interval
    retried: Interval
    pushed_back: Interval
    prompt_tokens: Interval
    completion_tokens: Interval
    cost: Interval
    in_flight: Interval
    stages: tuple[StageForecast, ...]
    limits: tuple[LimitForecast, ...]
    advice: Advice
    assumptions: tuple[str, ...]
    simulations: int
    seed: int

    def as_json(self) -> dict[str, Any]:
        """Returns the forecast as plain data, for JSON."""
        plain: dict[str, Any] = _plain(self)
        return plain

    def __str__(self) -> str:
        lines = [
            f"{_text(self.seconds)} s, {_text(self.rate)} items/s, the first row after {_text(self.first_seconds)} s",
            f"{_text(self.written)} written, {_text(self.failed)} failed, {_text(self.dropped)} dropped, "
            f"{_text(self.calls)} calls, {_text(self.pushed_back)} refused",
        ]
        if self.cost.high > 0 or self.prompt_tokens.high > 0:
            tokens = f"{_text(self.prompt_tokens)} + {_text(self.completion_tokens)} tokens"
            lines.append(f"{tokens}, cost {_text(self.cost)}")
        lines += [f"{stage.name}: {_text(stage.busy, percent=True)} busy" for stage in self.stages]
        lines += [f"{limit.name}: {_text(limit.used, percent=True)} used" for limit in self.limits]
        return "\n".join([*lines, self.advice.sentence, *self.assumptions])


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """The numbers of one simulation. ``Forecast`` describes them."""

    numbers: Mapping[str, float]
    stages: Sequence[Mapping[str, float]]
    limits: Sequence[float]


def _text(one: Interval, *, percent: bool = False) -> str:
    """Formats an interval for people; an exact number has no range."""
    form = ".0%" if percent else ",.4g"
    low, high = format(one.low, form), format(one.high, form)
    middle = format(one.middle, form)
    return middle if low == high else f"{middle} ({low} to {high})"


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]  # pyright: ignore[reportUnknownVariableType] - values of any type
    return value
