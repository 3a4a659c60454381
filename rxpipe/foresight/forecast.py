"""What a simulation says: a ``Forecast``, each number with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rxpipe.insight.advice import Advice
from rxpipe.insight.interval import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class StageForecast:
    """A stage.

    Attributes:
        name: Its name.
        slots: How many calls may run at once.
        busy: The share of the time in which its slots have calls, 0 to 1.
        calls: Calls, further attempts included.
        failed: Items that fail there.
        dropped: Items that it drops.
    """

    name: str
    slots: int | None
    busy: Interval
    calls: Interval
    failed: Interval
    dropped: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitForecast:
    """A rate limit.

    Attributes:
        name: Its name.
        used: How much of it is used, 0 to 1.
    """

    name: str
    used: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run is going to take.

    ``print(forecast)`` is a readable summary. Each ``Interval`` holds in nine of ten cases.

    Attributes:
        count: Items of the source; None for as many as are needed.
        seconds: Wall time in seconds.
        first_seconds: Seconds until the first row.
        rate: Items that end in a second.
        item_p50: Seconds that half of the items take at most, from being taken to their end.
        item_p95: The same of 95 in a hundred.
        written: Rows.
        failed: Items that fail.
        dropped: Items that are dropped.
        calls: Calls, further attempts included.
        retried: Calls that fail and are made again.
        pushed_back: Calls that the server refuses for now.
        prompt_tokens: Tokens that are sent to language models.
        completion_tokens: Tokens that language models return.
        cost: What the calls cost.
        in_flight: The most items that are held in memory at once.
        stages: Each stage.
        limits: Each rate limit.
        advice: What holds the run up, and what a change would gain.
        assumptions: What is taken for granted, a sentence each.
        simulations: How many simulations this is made of.
        seed: What they follow from.
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
        """As plain data, for JSON."""
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
    """The numbers of one simulation; see ``Forecast`` for what they are."""

    numbers: Mapping[str, float]
    stages: Sequence[Mapping[str, float]]
    limits: Sequence[float]


def _text(one: Interval, *, percent: bool = False) -> str:
    """An interval as people read it: one number where it is known exactly."""
    form = ".0%" if percent else ",.4g"
    low, high = format(one.low, form), format(one.high, form)
    middle = format(one.middle, form)
    return middle if low == high else f"{middle} ({low} to {high})"


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]  # pyright: ignore[reportUnknownVariableType] - of anything
    return value
