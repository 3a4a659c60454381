"""``rxpipe compare --runs``."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

from rxpipe.cli.commands.html_option import check_writable, write_page
from rxpipe.cli.commands.store_location import StoreLocation, store_at
from rxpipe.cli.messages import configure_logs
from rxpipe.cli.views.past_run import PastRun, held_up_by, idle_seconds, with_most_slots
from rxpipe.cli.views.runs_compared import print_runs
from rxpipe.cli.views.runs_page import runs_page
from rxpipe.config.error_texts import given
from rxpipe.errors import ConfigError
from rxpipe.operators.core.running_call import Usage
from rxpipe.screen.terminal import say
from rxpipe.store.reading.reader import StoreRunsReader

_PARTS = 440  # of a picture: one for two pixels
_SEEN = 120  # snapshots; for a run that has not recorded its bottleneck
_MOST = 6  # runs


def compare_runs(path: Path, runs: str, *, html: Path | None, simulates: bool, as_json: bool) -> None:
    """Show runs of a config's store side by side. Nothing is run.

    Args:
        path: The config.
        runs: The numbers of the runs, with commas between.
        html: The file of the page; None for no page.
        simulates: True if options for new runs were given.
        as_json: Write JSON instead of the table.

    Raises:
        ConfigError: There is no such run or no store, or an option cannot be used.
    """
    configure_logs()
    if simulates:
        raise ConfigError("--runs: these were made before; leave out --simulated and --latency")
    numbers = _numbers(runs)
    if html is not None:
        check_writable(html)
    with store_at(StoreLocation(config=path), as_json=True) as engine, StoreRunsReader(engine) as reader:
        found = [_run(reader, number) for number in numbers]
    if as_json:
        print(json.dumps({"runs": [_as_json(run) for run in found]}))
    else:
        print_runs(found)
    if html is not None:
        write_page(html, runs_page(found))
        say(f"\npage: {html}", err=as_json)


def _numbers(text: str) -> list[int]:
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})+", text.replace(" ", "")):
        raise ConfigError(f"--runs: {given(text, 'numbers of runs, like 1,2')}")
    numbers = [int(part) for part in text.split(",")]
    if len(numbers) > _MOST:
        raise ConfigError(f"--runs: given {len(numbers)}; allowed: {_MOST} at most")
    return numbers


def _run(reader: StoreRunsReader, number: int) -> PastRun:
    row = reader.run(number)
    if row is None:
        raise ConfigError(f"--runs: there is no run {number}; rxpipe runs lists them")
    snapshots = reader.snapshots(number, most=_SEEN)
    workers = reader.workers(number)
    seconds = max(1e-3, (row.ended_at or row.active_at) - row.began_at)
    timeline = reader.timeline(number, since=0.0, seconds=seconds, most=0, parts=_PARTS)
    return PastRun(
        row=row,
        snapshot=with_most_slots(snapshots),
        sentence=held_up_by(row, snapshots, workers),
        timeline=timeline,
        idle=idle_seconds(row, workers, timeline),
        usage=reader.usage(number),
    )


def _as_json(run: PastRun) -> dict[str, object]:
    stages = () if run.snapshot is None else run.snapshot.stages
    return {
        **asdict(run.row),
        "seconds": run.seconds,
        "idle_seconds": run.idle,
        "held_up_by": run.sentence,
        "stages": [
            {
                "name": stage.name,
                "slots": stage.concurrency,
                "busy": stage.busy / stage.slot_seconds if stage.slot_seconds else None,
                "p50": stage.seconds.quantile(0.5),
                "p95": stage.seconds.quantile(0.95),
                "retried": stage.retried,
                "pushed_back": stage.pushed_back,
                "usage": asdict(run.usage.get(stage.name, Usage())),
            }
            for stage in stages
        ],
    }
