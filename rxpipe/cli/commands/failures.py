"""``rxpipe failures``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from sqlalchemy import Engine

from rxpipe.cli.commands.history import local_time, utc_time
from rxpipe.cli.commands.store_location import StoreLocation, attempts_at, option_of
from rxpipe.config.error_texts import unknown
from rxpipe.errors import ConfigError
from rxpipe.screen.terminal import SafeConsole, hanging
from rxpipe.screen.texts import cell_text, number, plural, screen_text
from rxpipe.store.queries.existing_store import snapshot
from rxpipe.store.queries.failures import FailureInfo, count_failed, count_failed_calls, dead_letters, failed_calls
from rxpipe.store.queries.history import DATABASE, RunInfo, run

_MOST = 20  # shown by default
_LONGEST_ID = 40
_LONGEST_TEXT = 300


def list_failures(
    engine: Engine,
    wanted: int | None,
    place: StoreLocation,
    *,
    stage: str | None,
    limit: int | None,
    every: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Show why items failed.

    Args:
        engine: The store's engine.
        wanted: The run's number; None for the latest run.
        place: How the store was found.
        stage: Show only failures in this stage.
        limit: The most failures to show; None for 20 on a screen, and all in JSON.
        every: Show all failed calls instead of the errors of dead letters.
        verbose: Show tracebacks and inputs, too.
        as_json: Print one JSON document.

    Raises:
        ConfigError: There is no such stage.
    """
    with snapshot(engine) as connection:
        found = run(connection, wanted)
        check_stage(found, stage)
        most = limit if as_json or limit is not None else _MOST
        read, count = (failed_calls, count_failed_calls) if every else (dead_letters, count_failed)
        failures = read(connection, found, stage=stage, limit=most, verbose=verbose)
        if as_json:
            with closing(failures):  # also when the reader of the output has gone
                _print_json(failures, verbose=verbose)
            return
        total = count(connection, found, stage)
        shown = list(failures)  # read before they are printed: a user may read page by page, and slowly
    attempts = attempts_at(place)
    console = SafeConsole()
    console.print(_title(found, total, stage, every=every), soft_wrap=True)
    if verbose:
        for failure in shown:
            _print_block(console, failure, attempts, every=every)
    elif total:
        _print_lines(console, shown, attempts, every=every)
    if shown and not verbose:
        item = f"--id {shlex.quote(str(shown[0].id))}{option_of(place)}"
        hint = f"rxpipe show {found.id} {item} shows all calls of an item"
        console.print(Text(f"\n{screen_text(hint)}", style="dim"), soft_wrap=True)
    if found.dropped and not every:
        console.print(
            Text(f"\n{plural(found.dropped, 'item')} dropped, which is no failure: see rxpipe show", style="dim")
        )
    if total > len(shown):
        console.print(Text(f"\nthe latest {number(len(shown))} of {number(total)}; --limit shows more", style="dim"))


def check_stage(found: RunInfo, stage: str | None) -> None:
    """Check that a run has a stage.

    Raises:
        ConfigError: The run has no such stage. The text names its stages.
    """
    names = [*(one.name for one in found.stages), DATABASE]
    if stage is not None and stage not in names:
        raise ConfigError(f"--stage: {unknown(f'run {found.id} has no stage {stage!r}', stage, names)}")


def _title(found: RunInfo, total: int, stage: str | None, *, every: bool) -> str:
    kind = "failed call" if every else "failed item"
    place = "" if stage is None else f", stage {cell_text(stage)}"
    return f"{plural(total, kind) if total else f'no {kind}s'} in run {found.id}{place}"


def _print_json(failures: Iterable[FailureInfo], *, verbose: bool) -> None:
    """Print a JSON list, one failure after the other: there may be many."""
    separator = "["
    for failure in failures:
        print(separator + json.dumps(_failure_json(failure, verbose=verbose)), end="")
        separator = ",\n"
    print("[]" if separator == "[" else "]")


def _failure_json(failure: FailureInfo, *, verbose: bool) -> dict[str, Any]:
    names = ("id", "state", "stage", "attempt", "calls", "final", "type", "text")
    more = {"traceback": failure.traceback, "input": failure.input} if verbose else {}
    return {**{name: getattr(failure, name) for name in names}, "at": utc_time(failure.at), **more}


def _attempts(failure: FailureInfo, attempts: Mapping[str, int]) -> str:
    """Returns ``3 of 3``, or ``3``; ``-`` if no call of a function failed."""
    if failure.stage == DATABASE or not failure.attempt:
        return "-"
    most = attempts.get(failure.stage or "")
    return str(failure.attempt) if most is None else f"{failure.attempt} of {most}"


def _cells(failure: FailureInfo, attempts: Mapping[str, int], *, every: bool) -> list[str]:
    tried = _attempts(failure, attempts)
    cells = [cell_text(failure.id, _LONGEST_ID), cell_text(failure.stage or "-"), tried, local_time(failure.at)]
    return [*cells[:3], "failed" if failure.final else "retried", *cells[3:]] if every else cells


def _print_lines(
    console: Console, failures: Sequence[FailureInfo], attempts: Mapping[str, int], *, every: bool
) -> None:
    """Print a line for each failure. Lines are not cut to the screen, as the end of an error may say most."""
    titles = ["ID", "stage", "attempt", "then", "at"] if every else ["ID", "stage", "attempts", "at"]
    rows = [_cells(failure, attempts, every=every) for failure in failures]
    widths = [max(map(cell_len, column)) for column in zip(titles, *rows, strict=True)]
    console.print()
    console.print(Text(f"{_aligned(titles, widths)}error", style="bold"), soft_wrap=True)
    for failure, row in zip(failures, rows, strict=True):
        text = cell_text(failure.text, _LONGEST_TEXT)
        console.print(hanging(console, Text(_aligned(row, widths)), text), soft_wrap=True)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell + " " * (width - cell_len(cell) + 2) for cell, width in zip(cells, widths, strict=True)]
    return "".join(padded)


def _print_block(console: Console, failure: FailureInfo, attempts: Mapping[str, int], *, every: bool) -> None:
    stage = f" in {cell_text(failure.stage)}" if failure.stage else ""
    tried = _attempts(failure, attempts)
    told = "" if tried == "-" else f", attempt {tried}"
    told += f", {'failed' if failure.final else 'retried'}" if every else ""
    head = Text.assemble((cell_text(failure.id), "bold"), f"{stage}{told}, {local_time(failure.at)}")
    console.print()
    console.print(head, soft_wrap=True)
    console.print(hanging(console, Text(), cell_text(failure.text), "red"), soft_wrap=True)
    if failure.input is not None:
        console.print(Text(f"input: {cell_text(failure.input)}"), soft_wrap=True)
    for line in screen_text(failure.traceback or "").splitlines():
        console.print(Text(f"  {line}", style="dim"), soft_wrap=True)
