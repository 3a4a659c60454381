"""The output of a sweep: a curve over one setting, or a map over two."""

from __future__ import annotations

from rich.text import Text

from rxpipe.cli.views.forecast import time_text
from rxpipe.foresight.sweeps import Point, Sweep
from rxpipe.screen.tables import Column, print_table
from rxpipe.screen.terminal import SafeConsole, hanging
from rxpipe.screen.texts import cost, number

_BAR = 10
_EIGHTHS = " ▏▎▍▌▋▊▉"


def print_sweep(sweep: Sweep, title: str) -> None:
    """Write a sweep to standard output: a table, the recommended settings, and the assumptions."""
    console = SafeConsole()
    console.print(hanging(console, Text(), title, "bold"), soft_wrap=True)
    console.print()
    columns = curve_columns(sweep) if len(sweep.settings) == 1 else map_columns(sweep)
    if len(sweep.settings) > 1:
        down, across = sweep.settings
        console.print(hanging(console, Text("rows/s: "), f"{short(down)} down, {short(across)} to the right"))
        console.print()
    print_table(console, columns, least=columns[0].width)
    console.print()
    console.print(hanging(console, Text(), sweep.sentence, "cyan"), soft_wrap=True)
    console.print(Text("\ntaken for granted:", style="bold"))
    for one in (*sweep.assumptions, f"one simulation each, all with seed {sweep.seed}"):
        console.print(hanging(console, Text("- "), one), soft_wrap=True)


def short(path: str) -> str:
    """Returns a short form of a setting's name: ``answering.concurrency``."""
    return path.removeprefix("stages.").removeprefix("pipeline_config.")


def rate_text(rate: float) -> str:
    """Returns a rate in three figures: ``1.20``, ``12.3``, ``1,234``; ``0``."""
    return f"{rate:#.3g}" if 0 < rate < 99.95 else number(round(rate))


def curve_columns(sweep: Sweep) -> list[Column]:
    """Returns a row for each value, with its rate as a bar. The knee stands out."""
    (path,) = sweep.settings
    points = sweep.points
    marked = sweep.knee or sweep.best
    styles = ["bold green" if one is marked else "" for one in points]
    columns = [
        Column(title=short(path), cells=[str(one.settings[path]) for one in points], styles=styles),
        Column(title="rows/s", cells=[rate_text(one.rate) for one in points], styles=styles),
        Column(title="", cells=[_bar(one.rate / (sweep.best.rate or 1)) for one in points], justify="left", rank=4),
        Column(title="time", cells=[time_text(one.seconds) for one in points]),
        Column(title="item p95", cells=[time_text(one.item_p95) for one in points], rank=3),
        Column(title="in memory", cells=[number(one.in_flight) for one in points], rank=6),
    ]
    if any(one.failed for one in points):
        columns.append(Column(title="failed", cells=[number(one.failed) for one in points], rank=2))
    if len({cost(one.cost) for one in points}) > 1:
        columns.append(Column(title="cost", cells=[cost(one.cost) for one in points], rank=3))
    columns.append(Column(title="held up by", cells=[one.held_up_by or "" for one in points], justify="left", rank=5))
    mark = "◀ knee" if sweep.knee else "◀ best"
    marks = [mark if one is marked else "" for one in points]
    columns.append(Column(title="", cells=marks, styles=["yellow"] * len(points), rank=1, justify="left"))
    return columns


def map_columns(sweep: Sweep) -> list[Column]:
    """Returns a row for each value of the first setting, and a column for each of the second, with rows a second."""
    (down, rows), (across, titles) = sweep.settings.items()
    marked = sweep.knee or sweep.best
    points = {(one.settings[down], one.settings[across]): one for one in sweep.points}
    columns = [
        Column(title="", cells=[str(row) for row in rows], styles=["bold"] * len(rows)),
    ]
    for place, title in enumerate(titles):
        here = [points[row, title] for row in rows]
        columns.append(
            Column(
                title=str(title),
                cells=[f"{rate_text(one.rate)}{'◀' if one is marked else ''}" for one in here],
                styles=[_style(one, marked, sweep.best) for one in here],
                rank=0 if title == marked.settings[across] else place + 1,
            )
        )
    return columns


def _style(one: Point, marked: Point, best: Point) -> str:
    if one is marked:
        return "bold green"
    share = one.rate / (best.rate or 1)
    return "" if share >= 0.95 else "dim" if share < 0.5 else "yellow"


def _bar(share: float) -> str:
    eighths = round(max(0.0, min(1.0, share)) * _BAR * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
