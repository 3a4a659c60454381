"""``rxpipe compare``."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

from rich.text import Text

from rxpipe.cli.commands.html_option import check_writable, write_page
from rxpipe.cli.commands.overrides import latencies
from rxpipe.cli.messages import ExitCode, configure_logs
from rxpipe.config import Config, load_config
from rxpipe.devtools.compare import Comparison, compare_simulated
from rxpipe.devtools.compare import compare as compare_all
from rxpipe.devtools.compare.html import page
from rxpipe.errors import ConfigError, RxPipeError
from rxpipe.foresight import RecordedRun, recorded
from rxpipe.screen.tables import Column, print_table
from rxpipe.screen.terminal import SafeConsole, say

_RANKS = {"at once": 4, "first row": 3, "held": 5, "of bound": 2, "an item": 2}


def compare(
    path: Path, *, latency: str, count: int, html: Path | None, simulated: bool = False, as_json: bool = False
) -> ExitCode:
    """Compare the strategies on a config's stages, and show the figures.

    Args:
        path: The config.
        latency: Seconds of calls, by stage.
        count: How many IDs to take.
        html: The file of the page; None for no page.
        simulated: Simulate the runs only.
        as_json: Write JSON instead of the table.

    Returns:
        The exit code of the program.

    Raises:
        ConfigError: The config or an option cannot be used. Nothing was run.
    """
    configure_logs()
    config = load_config(path)
    waits = latencies(latency, [stage.name for stage in config.stages])
    if html is not None:
        check_writable(html)
    with redirect_stdout(sys.stderr):
        if simulated:
            comparison = _simulated(config, waits, count)
        else:
            comparison = compare_all(config, latency=waits, count=count, progress=_progress)
    if as_json:
        print(json.dumps(comparison.as_json()))
    else:
        print_comparison(comparison)
    if html is not None:
        write_page(html, page(comparison))
        say(f"\ntimelines: {html}", err=as_json)
    return ExitCode.OK if all(row.is_complete for row in comparison.rows) else ExitCode.FAILED


def _simulated(config: Config, waits: dict[str, float], count: int) -> Comparison:
    try:
        return compare_simulated(config, latency=waits, count=count, record=lambda: _record(config))
    except TypeError as error:
        raise ConfigError(f"--simulated: {error}") from None


def _record(config: Config) -> RecordedRun:
    """Returns the calls of the latest run in the config's store."""
    try:
        return recorded(config.database.url)
    except RxPipeError as error:
        raise ConfigError(f"--simulated: give --latency, or a config with a recorded run: {error}") from None


def print_comparison(comparison: Comparison) -> None:
    """Write the table, and the notes that explain it, to standard output."""
    console = SafeConsole()
    columns = comparison_columns(comparison)
    if comparison.simulated:
        console.print(Text("simulated: nothing was called", style="bold"))
    print_table(console, columns, least=columns[0].width)
    for note in comparison.notes:
        console.print()
        console.print(Text(note, style="dim"))


def comparison_columns(comparison: Comparison) -> list[Column]:
    """Returns the table with a row for each run. The fastest run stands out."""
    rows = [comparison.cells(row) for row in comparison.rows]
    whole = [row for row in comparison.rows if row.is_complete]
    fastest = min(whole, key=lambda row: row.report.seconds, default=None)
    return [
        Column(
            title=title,
            cells=[cells[index] for cells in rows],
            styles=["bold green" if row is fastest else "" for row in comparison.rows],
            rank=_RANKS.get(title, 0),
            justify="right" if index else "left",
        )
        for index, title in enumerate(comparison.columns)
    ]


def _progress(line: str) -> None:
    say(line, err=True)
