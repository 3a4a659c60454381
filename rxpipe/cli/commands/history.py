"""``rxpipe runs``, ``show`` and ``workers``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text
from sqlalchemy import Engine

from rxpipe.cli.views.summary import print_drops, print_reasons, print_saved, rare_column
from rxpipe.identity.signature import given_version
from rxpipe.operators.core.running_call import Usage
from rxpipe.pipeline.outcome import CommonError
from rxpipe.screen.tables import GAP, Column, print_table, usage_columns
from rxpipe.screen.terminal import SafeConsole, say
from rxpipe.screen.texts import cell_text, cost_unit, duration, number, plural, used
from rxpipe.store.queries.details import Percentiles, RunDetails, StageInfo, details
from rxpipe.store.queries.existing_store import snapshot
from rxpipe.store.queries.history import RunInfo, WorkerInfo, run, runs, workers

_STYLES = {"running": "green", "unfinished": "yellow", "alive": "green", "late": "yellow", "lost": "red"}
_STATES = ("ready", "running", "waiting", "written", "failed", "dropped", "expanded", "collected")
_UNKNOWN = "(unknown)"
_LEAST = 16  # of the name of a function


def list_runs(engine: Engine, *, as_json: bool) -> None:
    """Show all runs of a store."""
    with snapshot(engine) as connection:
        found = runs(connection)
    if as_json:
        print(json.dumps([run_json(one) for one in found]))
    elif not found:
        say("no runs")
    else:
        console = SafeConsole()
        print_table(console, _run_columns(found))


def show_run(engine: Engine, wanted: int | None, *, as_json: bool) -> None:
    """Show one run in full; the latest run by default."""
    with snapshot(engine) as connection:
        found = details(connection, run(connection, wanted))
    if as_json:
        print(json.dumps(_details_json(found)))
    else:
        _print_details(SafeConsole(), found)


def list_workers(engine: Engine, wanted: int | None, *, of_all_runs: bool, ended: bool, as_json: bool) -> None:
    """Show the workers of all runs or of one run.

    Args:
        engine: The store's engine.
        wanted: The run's number, or None for the latest run.
        of_all_runs: Show the workers of all runs instead.
        ended: Show also workers that have ended.
        as_json: Print one JSON document.
    """
    with snapshot(engine) as connection:
        run_id = None if of_all_runs else run(connection, wanted).id
        found = workers(connection, run_id, ended=ended)
    if as_json:
        print(json.dumps([_worker_json(one) for one in found]))
    elif not found:
        say(f"no workers{'' if ended else ' now'}{'' if run_id is None else f' on run {run_id}'}")
    else:
        console = SafeConsole()
        print_table(console, _worker_columns(found))


def local_time(seconds: float | None) -> str:
    """Returns a time for people, to the second; ``-`` if the time is not known."""
    return "-" if seconds is None else datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def utc_time(seconds: float | None) -> str | None:
    """Returns a time for programs."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def run_json(one: RunInfo) -> dict[str, Any]:
    """Returns a run for programs."""
    fields = ("name", "generation", "state", "workers", "items", *_STATES, "calls")
    times = {name: utc_time(getattr(one, name)) for name in ("created_at", "finished_at", "active_at")}
    return {"run": one.id, **{name: getattr(one, name) for name in fields}, **times, "usage": asdict(one.usage)}


def _worker_json(one: WorkerInfo) -> dict[str, Any]:
    times = {name: utc_time(getattr(one, name)) for name in ("started_at", "heartbeat_at", "ended_at")}
    plain = {"id": one.id, "run": one.run_id, "host": one.host, "pid": one.pid, "state": one.state, "held": one.held}
    return {**plain, **times}


def _details_json(found: RunDetails) -> dict[str, Any]:
    return {
        **run_json(found.run),
        "stages": [asdict(stage) for stage in found.stages],
        "causes": [asdict(cause) for cause in found.causes],
        "drops": [asdict(drop) for drop in found.drops],
        "waiting_parents": [asdict(parent) for parent in found.parents],
        "live_workers": [_worker_json(worker) for worker in found.workers],
    }


def _run_columns(found: Sequence[RunInfo]) -> list[Column]:
    def rare(name: str, *, rank: int) -> list[Column]:
        return rare_column(name, [getattr(one, name) for one in found], rank=rank)

    def counts(name: str, *, rank: int = 0, style: str = "") -> Column:
        values: list[int] = [getattr(one, name) for one in found]
        styles = [style if value else "" for value in values]
        return Column(title=name, cells=[number(value) for value in values], styles=styles, rank=rank)

    return [
        Column(title="run", cells=[str(one.id) for one in found]),
        Column(title="name", cells=[cell_text(one.name, 30) for one in found], justify="left"),
        Column(
            title="state",
            cells=[one.state for one in found],
            styles=[_STYLES.get(one.state, "") for one in found],
            justify="left",
        ),
        counts("workers", rank=6),
        counts("written"),
        counts("failed", style="bold red"),
        *rare("dropped", rank=2),
        *rare("expanded", rank=5),
        *rare("collected", rank=5),
        counts("ready"),
        counts("running", rank=2),
        *rare("waiting", rank=2),
        *usage_columns([one.usage for one in found], rank=1, tokens_rank=4),
        Column(title="created", cells=[local_time(one.created_at) for one in found], rank=3),
        Column(title="finished", cells=[local_time(one.finished_at) for one in found], rank=7),
    ]


def _worker_columns(found: Sequence[WorkerInfo]) -> list[Column]:
    return [
        Column(title="host", cells=[one.host for one in found], justify="left"),
        Column(title="pid", cells=[str(one.pid) for one in found]),
        Column(title="run", cells=[str(one.run_id) for one in found], rank=1),
        Column(title="since", cells=[local_time(one.started_at) for one in found], rank=2),
        Column(title="last heartbeat", cells=[local_time(one.heartbeat_at) for one in found]),
        Column(title="items held", cells=[number(one.held) for one in found]),
        Column(
            title="state",
            cells=[one.state for one in found],
            styles=[_STYLES.get(one.state, "") for one in found],
            justify="left",
        ),
    ]


def _stage_columns(stages: Sequence[StageInfo], width: int) -> list[Column]:
    columns = [
        Column(title="stage", cells=[one.name or _UNKNOWN for one in stages], justify="left"),
        Column(title="checkpoints", cells=[number(one.checkpoints) for one in stages]),
        Column(title="failed calls", cells=[number(one.failed_calls) for one in stages]),
        Column(
            title="failed",
            cells=[number(one.failed) for one in stages],
            styles=["bold red" if one.failed else "" for one in stages],
        ),
        *rare_column("dropped", [one.dropped for one in stages], rank=2),
        *rare_column("cached", [one.cached for one in stages], rank=2),
        *usage_columns([one.usage for one in stages], rank=1, tokens_rank=3),
    ]
    versions = [given_version(one.version) for one in stages]  # without hashes, which say nothing to people
    if any(versions):
        cells = [cell_text(one or "-", 20) for one in versions]
        columns.append(Column(title="version", cells=cells, rank=5, justify="left"))
    room = width - sum(column.width + GAP for column in columns)
    if room < _LEAST:  # perhaps there is room without the version
        room = max(_LEAST, width - sum(column.width + GAP for column in columns if column.title != "version"))
    calls = [_end_of(cell_text(one.call or "-"), room) for one in stages]
    return [*columns, Column(title="call", cells=calls, rank=4, justify="left")]


def _print_times(console: Console, stages: Sequence[StageInfo]) -> None:
    timed = [one for one in stages if one.seconds is not None]
    if not timed:
        return
    columns = [Column(title="stage", cells=[one.name or _UNKNOWN for one in timed], justify="left")]
    columns += _percentile_columns("call", [one.seconds for one in timed])
    columns += _percentile_columns("wait", [one.waits for one in timed], rank=1)
    console.print(Text("\nhow long calls took, and items waited for them:", style="bold"))
    print_table(console, columns)


def _percentile_columns(what: str, found: Sequence[Percentiles | None], *, rank: int = 0) -> list[Column]:
    return [
        Column(
            title=f"{what} {name}",
            cells=[duration(None if one is None else getattr(one, name)) for one in found],
            rank=rank,
        )
        for name in ("p50", "p95", "p99")
    ]


def _end_of(text: str, most: int) -> str:
    """Returns the end of a text, where a function's name is."""
    return text if len(text) <= most else "…" + text[len(text) - most + 1 :]


def _print_details(console: Console, found: RunDetails) -> None:
    one = found.run
    state = f"running, {plural(one.workers, 'worker')}" if one.workers else one.state
    title = Text.assemble(
        (f"run {one.id}", "bold"), f" of {cell_text(one.name)}, ", (state, _STYLES.get(one.state, ""))
    )
    console.print(title, soft_wrap=True)
    finished = "" if one.finished_at is None else f", finished {local_time(one.finished_at)}"
    console.print(f"created {local_time(one.created_at)}{finished}")
    console.print(_counts_line(one))
    failed = sum(stage.failed_calls for stage in found.stages)
    console.print(f"{plural(one.calls, 'call')} in all, {number(failed)} failed")
    if one.usage != Usage():
        console.print(f"{used(one.usage)}{cost_unit(one.usage)}, all workers together")
    saved = sum((stage.saved for stage in found.stages), Usage())
    print_saved(console, sum(stage.cached for stage in found.stages), saved)
    console.print()
    print_table(console, _stage_columns(found.stages, console.width))
    _print_times(console, found.stages)
    causes = [CommonError(stage=one.stage or "", text=one.text, count=one.count, same=one.same) for one in found.causes]
    print_reasons(console, "failed calls, the commonest first:", causes, failed)
    print_drops(console, found.drops, one.dropped)
    _print_parents(console, found)
    if found.workers:
        console.print()
        print_table(console, _worker_columns(found.workers))


def _print_parents(console: Console, found: RunDetails) -> None:
    if not found.parents:
        return
    console.print(Text("\nitems that wait for their children:", style="bold"))
    for parent in found.parents:
        collector = "" if parent.stage is None else f", then for {cell_text(parent.stage)}"
        told = f"{number(parent.unfinished)} of {plural(parent.children, 'child', 'children')} unfinished{collector}"
        console.print(Text.assemble("  ", (cell_text(parent.id), "bold"), f"  {told}"), soft_wrap=True)
    if (more := found.run.waiting - len(found.parents)) > 0:
        console.print(Text(f"  and {number(more)} more", style="dim"))


def _counts_line(one: RunInfo) -> Text:
    rare = {"dropped": one.dropped, "expanded": one.expanded, "collected": one.collected}
    waiting = f" + {number(one.waiting)} waiting" if one.waiting else ""
    return Text.assemble(
        (plural(one.items, "item"), "bold"),
        " = ",
        (f"{number(one.written)} written", "green"),
        " + ",
        (f"{number(one.failed)} failed", "bold red" if one.failed else ""),
        *(f" + {number(count)} {name}" for name, count in rare.items() if count),
        f" + {number(one.ready)} ready + {number(one.running)} running{waiting}",
    )
