"""Runs of a store side by side. The figures are those of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text

from rxpipe.cli.views.forecast import time_text
from rxpipe.cli.views.past_run import PastRun
from rxpipe.cli.views.runs_headline import LEAST
from rxpipe.insight.snapshot import StageSnapshot
from rxpipe.operators.core.running_call import Usage
from rxpipe.screen.tables import Column, fitted
from rxpipe.screen.terminal import SafeConsole, hanging
from rxpipe.screen.texts import cost, duration, number, per_second

TWO_SHARES = (
    "busy in these sentences: while the run was full; in the table: of the whole run, beginning and end included"
)

_FEW = 20  # counts below are too small for a percentage

Figure = tuple[str, Callable[[PastRun], float | None], Callable[[float], str]]
Line = tuple[str, tuple[str, ...], str]
"""A line of the table: the figure's name, its value in each run, and the change from the first to the last."""


def lines(runs: Sequence[PastRun]) -> list[Line]:
    """Returns all figures that are not 0 in every run: those of the whole run first, then those of each stage."""
    states: Line = ("state", tuple(run.row.state for run in runs), "")
    names = dict.fromkeys(name for run in runs for name in run.row.stages)
    figures = (*_WHOLE, *(figure for name in names for figure in _of_stage(name)))
    told = [_line(figure, runs) for figure in figures]
    return [states, *(line for line in told if set(line[1]) != {"0"})]


def print_runs(runs: Sequence[PastRun]) -> None:
    """Write the table, and what held each run up, to standard output."""
    console = SafeConsole()
    told = lines(runs)
    columns = [Column(title="", cells=[title for title, _, _ in told], justify="left")]
    columns += [
        Column(title=f"run {run.row.number}", cells=[cells[place] for _, cells, _ in told])
        for place, run in enumerate(runs)
    ]
    columns.append(Column(title="change", cells=[change for _, _, change in told]))
    console.print(fitted(columns, console.width))
    for run in runs:
        console.print(hanging(console, Text(f"run {run.row.number}: "), run.sentence, "cyan"), soft_wrap=True)
        if run.note:
            console.print(hanging(console, Text(f"run {run.row.number}: "), f"took {run.note}", "dim"), soft_wrap=True)
    if says_busy(runs):
        console.print(hanging(console, Text(), TWO_SHARES, "dim"), soft_wrap=True)


def says_busy(runs: Sequence[PastRun]) -> bool:
    """Returns True if a sentence about a run has a share that may differ from that in the table."""
    return any("% busy" in run.sentence for run in runs)


def _line(figure: Figure, runs: Sequence[PastRun]) -> Line:
    title, of, text = figure
    values = [of(run) for run in runs]
    change = _change(values[0], values[-1], is_count=text is _whole)
    return title, tuple("-" if value is None else text(value) for value in values), change


def _change(first: float | None, last: float | None, *, is_count: bool) -> str:
    if first is None or last is None:
        return ""
    if is_count and min(first, last) < _FEW:
        return f"{last - first:+,.0f}" if last != first else ""
    return f"{last / first - 1:+.0%}" if first and abs(last / first - 1) >= LEAST else ""


def _count(name: str) -> Callable[[PastRun], float]:
    return lambda run: run.row.counts.get(name, 0)


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _whole(value: float) -> str:
    return number(round(value))


_WHOLE: tuple[Figure, ...] = (
    ("written", _count("written"), _whole),
    ("failed", _count("failed"), _whole),
    ("dropped", _count("dropped"), _whole),
    ("duration", lambda run: run.seconds, time_text),
    ("rows/s", lambda run: run.rate, per_second),
    ("tokens", lambda run: run.row.usage.tokens, _whole),
    ("cost", lambda run: run.row.usage.cost, cost),
    ("cost of 1,000 rows", lambda run: 1_000 * run.row.usage.cost / max(1, run.written), cost),
)


def _of_stage(name: str) -> tuple[Figure, ...]:
    def of(value: Callable[[StageSnapshot], float | None]) -> Callable[[PastRun], float | None]:
        return lambda run: None if (stage := run.stage(name)) is None else value(stage)

    def used(value: Callable[[Usage], float]) -> Callable[[PastRun], float]:
        return lambda run: value(run.usage.get(name, Usage()))

    return (
        (f"{name}: slots", of(lambda stage: stage.concurrency), _whole),
        (f"{name}: busy", of(lambda stage: stage.busy / stage.slot_seconds if stage.slot_seconds else None), _percent),
        (f"{name}: call p50", of(lambda stage: stage.seconds.quantile(0.5)), duration),
        (f"{name}: call p95", of(lambda stage: stage.seconds.quantile(0.95)), duration),
        (f"{name}: retried", of(lambda stage: stage.retried), _whole),
        (f"{name}: 429s", of(lambda stage: stage.pushed_back), _whole),
        (f"{name}: tokens", used(lambda usage: usage.tokens), _whole),
        (f"{name}: cost", used(lambda usage: usage.cost), cost),
    )
