"""The output of recommended settings."""

from __future__ import annotations

import shlex

from rich.text import Text

from rxpipe.cli.views.forecast import figure, print_assumptions
from rxpipe.cli.views.sweep import rate_text, short
from rxpipe.foresight.adviser import Recommendation
from rxpipe.foresight.forecast import Forecast
from rxpipe.screen.tables import Column, print_table
from rxpipe.screen.terminal import SafeConsole, hanging
from rxpipe.screen.texts import clock, number, plural


def print_recommendation(found: Recommendation, path: str, title: str, yaml: str) -> None:
    """Write recommended settings to standard output: the gain of each change, the run now and then, and the YAML.

    Args:
        found: The settings.
        path: The config's path.
        title: The goal of the search.
        yaml: The YAML to put into the config.
    """
    console = SafeConsole()
    console.print(hanging(console, Text(), title, "bold"), soft_wrap=True)
    console.print()
    if found.changes:
        print_table(console, _changes(found))
    else:
        console.print("no change gains 1%, and no fewer slots would do")
    console.print()
    print_table(console, _runs(found))
    console.print()
    if found.deadline is not None and found.meets_deadline:
        console.print(Text(f"meets the deadline of {clock(found.deadline)} in 19 of 20 cases", style="green"))
    for note in found.notes:
        console.print(hanging(console, Text(), note, "yellow"), soft_wrap=True)
    console.print(hanging(console, Text(), f"then {found.after.advice.sentence}", "cyan"), soft_wrap=True)
    if yaml:
        console.print(Text(f"\nin {path}:", style="bold"), soft_wrap=True)
        console.print(Text(f"\n{yaml}\n"), soft_wrap=True)
        console.print(Text(f"{_command(found, path)} shows more of it", style="dim"), soft_wrap=True)
    print_assumptions(console, found.after)
    told = f"{plural(found.trials, 'setting')} tried"
    console.print(hanging(console, Text("- "), told), soft_wrap=True)


def _changes(found: Recommendation) -> list[Column]:
    changes = found.changes
    names = [short(change.setting).removesuffix(".concurrency") for change in changes]
    return [
        Column(title="change", cells=[name.replace("concurrency", "items at once") for name in names], justify="left"),
        Column(title="slots", cells=[f"{number(change.before)} → {number(change.after)}" for change in changes]),
        Column(title="rows/s", cells=[rate_text(change.rate) for change in changes]),
        Column(title="gain", cells=[f"{change.gain:+.0%}" for change in changes]),
    ]


def _runs(found: Recommendation) -> list[Column]:
    """Returns the run as it is beside the run with the new settings."""
    runs = (found.before, found.after) if found.changes else (found.before,)
    figures = [_figures(run) for run in runs]
    titles = [title for title in figures[0] if any(one[title] != "0" for one in figures)]
    columns = [Column(title="", cells=titles, justify="left")]
    for title, one in zip(("now", "then"), figures, strict=False):
        columns.append(Column(title=title, cells=[one[row] for row in titles]))
    return columns


def _figures(run: Forecast) -> dict[str, str]:
    wanted = ("wall time", "items/s", "an item, p95", "failed", "cost", "items in memory")
    slots = sum(stage.slots or 0 for stage in run.stages)
    return {**{name: figure(run, name) for name in wanted}, "slots": number(slots)}


def _command(found: Recommendation, path: str) -> str:
    """Returns the command that simulates the new settings."""
    keys = {change.setting: change.after for change in found.changes}
    paths = {"concurrency": "pipeline_config.parallel_pipelines"}
    options = " ".join(shlex.quote(f"--set={paths.get(key, key)}={value}") for key, value in keys.items())
    return f"rxpipe simulate {shlex.quote(path)} {options}"
