"""The output of a forecast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from rich.console import Console
from rich.text import Text

from rxpipe.foresight.forecast import Forecast, LimitForecast, StageForecast
from rxpipe.insight.interval import Interval
from rxpipe.screen.tables import Column, print_table
from rxpipe.screen.terminal import SafeConsole, hanging
from rxpipe.screen.texts import clock, cost, duration, number, per_second, plural, tokens

_Row: TypeAlias = tuple[str, Interval, Callable[[float], str]]

IN_NINE = "in 9 of 10 cases"
_LONG = 100.0  # seconds; a longer time is easier to read as a clock


def print_forecast(forecast: Forecast, title: str) -> None:
    """Write a forecast to standard output: its numbers, stages and limits, the bottleneck, and the assumptions."""
    console = SafeConsole()
    console.print(hanging(console, Text(), title, "bold"), soft_wrap=True)
    console.print()
    print_table(console, _numbers(forecast))
    console.print()
    bottleneck = None if forecast.advice.other is not None else forecast.advice.name
    print_table(console, _stages(forecast.stages, bottleneck))
    if forecast.limits:
        console.print()
        print_table(console, _limits(forecast.limits))
    console.print()
    console.print(hanging(console, Text(), forecast.advice.sentence, "cyan"), soft_wrap=True)
    print_assumptions(console, forecast)


def print_assumptions(console: Console, forecast: Forecast) -> None:
    """Write the assumptions of a forecast."""
    console.print(Text("\ntaken for granted:", style="bold"))
    told = (*forecast.assumptions, f"{plural(forecast.simulations, 'simulation')} with seed {forecast.seed}")
    for one in told:
        console.print(hanging(console, Text("- "), one), soft_wrap=True)


def time_text(seconds: float) -> str:
    """Returns a time for people: ``42 ms``, ``12.1 s``, ``12:34``."""
    return duration(seconds) if seconds < _LONG else clock(seconds)


def _count(value: float) -> str:
    return number(round(value))


def _percent(share: float) -> str:
    return f"{share:.0%}"


def figure(forecast: Forecast, title: str) -> str:
    """Returns a number with its interval: ``12.1 s (11.5 s to 13.0 s)``; ``0`` for a number that is left out."""
    for name, one, text in _rows(forecast):
        if name == title:
            interval = _interval(one, text)
            return f"{text(one.middle)} ({interval})" if interval else text(one.middle)
    return "0"


def _rows(forecast: Forecast) -> list[_Row]:
    return [
        _time("wall time", forecast.seconds),
        *([_time("first row after", forecast.first_seconds)] if forecast.written.high else []),
        ("items/s", forecast.rate, per_second),
        _time("an item, p50", forecast.item_p50),
        _time("an item, p95", forecast.item_p95),
        ("rows", forecast.written, _count),
        ("failed", forecast.failed, _count),
        *_rare("dropped", forecast.dropped, _count),
        ("calls", forecast.calls, _count),
        ("retried", forecast.retried, _count),
        *_rare("429s", forecast.pushed_back, _count),
        *_rare("prompt tokens", forecast.prompt_tokens, tokens),
        *_rare("completion tokens", forecast.completion_tokens, tokens),
        *_rare("cost", forecast.cost, cost),
        ("items in memory", forecast.in_flight, _count),
    ]


def _numbers(forecast: Forecast) -> list[Column]:
    rows = _rows(forecast)
    return [
        Column(title="", cells=[title for title, _, _ in rows], justify="left"),
        Column(title="likely", cells=[text(one.middle) for _, one, text in rows]),
        Column(title=IN_NINE, cells=[_interval(one, text) for _, one, text in rows]),
    ]


def _time(title: str, one: Interval) -> _Row:
    return title, one, duration if one.high < _LONG else clock


def _rare(title: str, one: Interval, text: Callable[[float], str]) -> list[_Row]:
    return [(title, one, text)] if one.high > 0 else []


def _interval(one: Interval, text: Callable[[float], str]) -> str:
    """Returns ``12 to 15``; an empty text if the ends are the same."""
    low, high = text(one.low), text(one.high)
    return "" if low == high else f"{low} to {high}"


def _stages(stages: Sequence[StageForecast], bottleneck: str | None) -> list[Column]:
    is_bottleneck = [stage.name == bottleneck for stage in stages]
    columns = [
        Column(
            title="stage",
            cells=[stage.name for stage in stages],
            styles=["bold" if one else "" for one in is_bottleneck],
            justify="left",
        ),
        Column(title="slots", cells=["-" if stage.slots is None else number(stage.slots) for stage in stages]),
        Column(title="busy", cells=[_percent(stage.busy.middle) for stage in stages]),
        Column(title=IN_NINE, cells=[_interval(stage.busy, _percent) for stage in stages], rank=1),
        Column(title="calls", cells=[_count(stage.calls.middle) for stage in stages], rank=2),
        Column(title="failed", cells=[_count(stage.failed.middle) for stage in stages], rank=3),
    ]
    if any(stage.dropped.middle for stage in stages):
        columns.append(Column(title="dropped", cells=[_count(stage.dropped.middle) for stage in stages], rank=3))
    if any(is_bottleneck):
        marks = ["◀ bottleneck" if one else "" for one in is_bottleneck]
        columns.append(Column(title="", cells=marks, styles=["yellow"] * len(stages), rank=2, justify="left"))
    return columns


def _limits(limits: Sequence[LimitForecast]) -> list[Column]:
    return [
        Column(title="limit", cells=[limit.name for limit in limits], justify="left"),
        Column(title="used", cells=[_percent(limit.used.middle) for limit in limits]),
        Column(title=IN_NINE, cells=[_interval(limit.used, _percent) for limit in limits]),
    ]
