"""Runs of a store side by side. The figures are those of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text

from rxpipe.cli.views.forecast import time_text
from rxpipe.insight.reading import RunRow, Timeline
from rxpipe.insight.snapshot import Snapshot, StageSnapshot
from rxpipe.screen.tables import Column, fitted
from rxpipe.screen.terminal import SafeConsole, hanging
from rxpipe.screen.texts import cost, duration, number, per_second


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """The facts about a run.

    Attributes:
        row: The run as in the list of runs.
        snapshot: The run's last numbers; None if none were kept.
        sentence: The sentence about what held the run up.
        timeline: How many calls ran at each time.
    """

    row: RunRow
    snapshot: Snapshot | None
    sentence: str
    timeline: Timeline

    @property
    def title(self) -> str:
        """The run's number and name."""
        return f"run {self.row.number}, {self.row.name}"

    @property
    def seconds(self) -> float:
        """How long the run took, in seconds."""
        return (self.row.ended_at or self.row.active_at) - self.row.began_at

    def stage(self, name: str) -> StageSnapshot | None:
        """Returns the numbers of a stage; None if there is no stage of this name."""
        stages = () if self.snapshot is None else self.snapshot.stages
        return next((stage for stage in stages if stage.name == name), None)


_LEAST = 0.005  # the least change of a figure that is shown

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


def _line(figure: Figure, runs: Sequence[PastRun]) -> Line:
    title, of, text = figure
    values = [of(run) for run in runs]
    first, last = values[0], values[-1]
    change = "" if not first or last is None or abs(last / first - 1) < _LEAST else f"{last / first - 1:+.0%}"
    return title, tuple("-" if value is None else text(value) for value in values), change


def _count(name: str) -> Callable[[PastRun], float]:
    return lambda run: run.row.counts.get(name, 0)


def _written(run: PastRun) -> int:
    return run.row.counts.get("written", 0)


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _whole(value: float) -> str:
    return number(round(value))


_WHOLE: tuple[Figure, ...] = (
    ("written", _count("written"), _whole),
    ("failed", _count("failed"), _whole),
    ("dropped", _count("dropped"), _whole),
    ("duration", lambda run: run.seconds, time_text),
    ("rows/s", lambda run: _written(run) / run.seconds if run.seconds > 0 else None, per_second),
    ("tokens", lambda run: run.row.usage.tokens, _whole),
    ("cost", lambda run: run.row.usage.cost, cost),
    ("cost of 1,000 rows", lambda run: 1_000 * run.row.usage.cost / max(1, _written(run)), cost),
)


def _of_stage(name: str) -> tuple[Figure, ...]:
    def of(value: Callable[[StageSnapshot], float | None]) -> Callable[[PastRun], float | None]:
        return lambda run: None if (stage := run.stage(name)) is None else value(stage)

    return (
        (f"{name}: slots", of(lambda stage: stage.concurrency), _whole),
        (f"{name}: busy", of(lambda stage: stage.busy / stage.slot_seconds if stage.slot_seconds else None), _percent),
        (f"{name}: call p50", of(lambda stage: stage.seconds.quantile(0.5)), duration),
        (f"{name}: call p95", of(lambda stage: stage.seconds.quantile(0.95)), duration),
        (f"{name}: retried", of(lambda stage: stage.retried), _whole),
        (f"{name}: 429s", of(lambda stage: stage.pushed_back), _whole),
    )
