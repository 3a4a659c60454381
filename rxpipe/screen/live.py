"""Progress on a terminal: a table that is drawn anew a few times a second, below all other output."""

from __future__ import annotations

import math
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rxpipe.screen.figures import Figures, Meter, StageFigures
from rxpipe.screen.lines import WAITS, interrupt_line, left_text, rare_texts, refusal_text, spent_text
from rxpipe.screen.output_capture import OutputCapture
from rxpipe.screen.tables import Column, fitted
from rxpipe.screen.terminal import SafeConsole, hanging
from rxpipe.screen.texts import clock, duration, number, per_second, tokens

_SEPARATOR = " · "
_SECONDS = 0.2  # seconds from one drawing to the next
_OTHER_LINES = 11  # lines of the screen that are no stages


class Screen:
    """The drawing: the stages, the whole run, and the effect of Ctrl-C.

    Attributes:
        interrupts: How many signals came.
    """

    def __init__(self, title: str, meter: Meter, grace: float | None) -> None:
        self.interrupts = 0
        self._grace = grace
        self._title = title
        self._meter = meter

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        figures = self._meter.read()
        width = options.max_width
        yield Text()
        yield Text(self._title, style="dim", no_wrap=True, overflow="ellipsis")
        yield stages_table(figures.stages, width, rows=max(1, console.size.height - _OTHER_LINES - figures.waits))
        yield Text()
        if figures.fraction is not None:
            yield _bar(figures, width)
        yield joined(total_parts(figures, stopping=self.interrupts > 0), width)
        if figures.waits and not self.interrupts:
            yield Text(WAITS, style="green")
        if figures.advice:
            yield hanging(console, Text(), figures.advice, "cyan")
        if refusal := refusal_text(figures.stages):
            yield hanging(console, Text(), refusal, "yellow")
        for stall in (*figures.stalls, *filter(None, [figures.failing])):
            yield hanging(console, Text(), stall, "bold red")
        if self.interrupts:
            yield hanging(
                console, Text(), interrupt_line(self.interrupts, figures.in_flight, self._grace), "bold yellow"
            )


def stages_table(stages: tuple[StageFigures, ...], width: int, *, rows: int) -> Table:
    """Returns a row for each stage. If there are too many stages for the screen, the others are only counted."""
    shown = stages if len(stages) <= rows else stages[: max(0, rows - 1)]
    columns = [
        Column(title="stage", cells=[stage.name for stage in shown], justify="left"),
        Column(title="waiting", cells=[number(stage.waiting) for stage in shown], rank=3),
        Column(
            title="running",
            cells=[f"{stage.running}" if stage.slots is None else f"{stage.running}/{stage.slots}" for stage in shown],
            styles=["bold" if stage.running >= (stage.slots or math.inf) else "" for stage in shown],
        ),
        Column(title="done", cells=[number(stage.done) for stage in shown], styles=["green"] * len(shown)),
        Column(
            title="failed",
            cells=[number(stage.failed) for stage in shown],
            styles=["bold red" if stage.failed else "dim" for stage in shown],
            rank=1,
        ),
        Column(
            title="retried",
            cells=[number(stage.retried) for stage in shown],
            styles=["yellow" if stage.retried else "dim" for stage in shown],
            rank=4,
        ),
        *_columns_that_matter(shown),
        Column(title="items/s", cells=[per_second(stage.rate) for stage in shown], rank=2),
        Column(title="mean", cells=[duration(stage.latency) for stage in shown], rank=5),
    ]
    table = fitted(columns, width)
    if len(shown) < len(stages):
        table.add_row(Text(f"+ {len(stages) - len(shown)} more", style="dim"))
    return table


def _columns_that_matter(stages: Sequence[StageFigures]) -> list[Column]:
    """Returns the columns that are shown only if they have a count."""
    columns = [
        Column(title=title, cells=[number(count) for count in counts], rank=1)
        for title, counts in (
            ("dropped", [stage.dropped for stage in stages]),
            ("sent back", [stage.sent_back for stage in stages]),
            ("cached", [stage.cached for stage in stages]),
        )
        if any(counts)
    ]
    if any(stage.pushed_back for stage in stages):
        cells = [number(stage.pushed_back) for stage in stages]
        styles = ["yellow" if stage.pushed_back else "dim" for stage in stages]
        columns.append(Column(title="429s", cells=cells, styles=styles, rank=2))
    if any(stage.usage.tokens for stage in stages):
        columns.append(Column(title="tokens", cells=[tokens(stage.usage.tokens) for stage in stages], rank=3))
    return columns


def total_parts(figures: Figures, *, stopping: bool) -> list[Text]:
    """Returns the texts about the whole run."""
    parts = [
        Text(f"{clock(figures.seconds)} elapsed"),
        *([Text(f"{number(figures.taken)} taken + {number(figures.spawned)} spawned")] if figures.expands else ()),
        Text(f"{number(figures.in_flight)} in flight"),
        Text(f"{number(figures.written)} written", style="green"),
        Text(f"{number(figures.failed)} failed", style="bold red" if figures.failed else ""),
        *map(Text, rare_texts(figures)),
        Text(f"{per_second(figures.rate)}/s"),
    ]
    if spent := spent_text(figures):
        parts.append(Text(spent))
    if (left := left_text(figures)) and not stopping:
        parts.append(Text(left))
    return parts


def joined(parts: Sequence[Text], width: int) -> Text:
    """Returns the parts on as many lines as they need. Lines break only between parts."""
    lines: list[list[Text]] = [[]]
    for part in parts:
        if lines[-1] and len(_SEPARATOR) * len(lines[-1]) + sum(map(len, lines[-1])) + len(part) > width:
            lines.append([])
        lines[-1].append(part)
    return Text("\n").join(Text(_SEPARATOR).join(line) for line in lines)


def _bar(figures: Figures, width: int) -> Table:
    # In staged runs only the calls show progress: items end at the very end.
    ended, total = figures.before + figures.written + figures.failed + figures.dropped, figures.total or 0
    if figures.expands:
        of_total = f"{number(figures.taken)} of {number(total)} taken  "
    else:
        of_total = f"{number(ended)} of {number(total)}  " if figures.fraction == ended / max(1, total) else ""
    text = f"{of_total}{figures.fraction or 0:.0%}"
    bar = ProgressBar(total=1.0, completed=figures.fraction or 0.0, width=max(4, min(60, width - len(text) - 2)))
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_row(bar, Text(text, no_wrap=True))
    return row


class LiveScreen:
    """Draws the screen on standard error from the beginning of a run until the object is left."""

    def __init__(self, title: str, grace: float | None) -> None:
        self._title = title
        self._grace = grace
        self._interrupts = 0
        self._screen: Screen | None = None
        self._console = SafeConsole(file=sys.stderr)
        self._above = OutputCapture(sys.stderr)
        self._live = Live(
            console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False, transient=True
        )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._draw, name="rxpipe-progress", daemon=True)

    def begin(self, meter: Meter) -> None:
        """Begin to draw: the run has started."""
        self._screen = Screen(self._title, meter, self._grace)
        self._screen.interrupts = self._interrupts
        self._above.install()
        self._live.update(self._screen)
        self._live.start()
        self._thread.start()

    def interrupted(self, number: signal.Signals, count: int) -> None:
        """Show the effect of a signal, the first or the second."""
        self._interrupts = count
        if self._screen is not None:
            self._screen.interrupts = count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._screen is None:
            return
        self._above.remove()
        self._over.set()
        self._thread.join()
        self._show(self._above.take(all_of_it=True))
        self._live.stop()

    def _draw(self) -> None:
        while not self._over.wait(_SECONDS):
            self._show(self._above.take())

    def _show(self, lines: Sequence[str]) -> None:
        """Draw the screen anew, below the output since the last drawing."""
        if lines:
            self._console.print(*map(Text.from_ansi, lines), sep="\n", soft_wrap=True)
        else:
            self._live.refresh()
