"""``rxpipe requeue``, ``export`` and ``prune``."""

from __future__ import annotations

import shlex
import signal
import sys
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from rxpipe.cli.commands.failures import check_stage
from rxpipe.cli.commands.store_location import StoreLocation
from rxpipe.cli.messages import ExitCode
from rxpipe.cli.views.terminal import say
from rxpipe.cli.views.texts import cell_text, number, plural
from rxpipe.database.engine import database_option
from rxpipe.database.rows import key_text
from rxpipe.errors import ConfigError, RxPipeError, StoreError
from rxpipe.store.maintenance.export import export, has_integer_ids
from rxpipe.store.maintenance.export_cells import fields_of_run
from rxpipe.store.maintenance.export_files import check_file, records_file
from rxpipe.store.maintenance.prune import Pruned, chosen, extent, prune
from rxpipe.store.maintenance.requeue import requeue, requeue_rows
from rxpipe.store.queries.existing_store import change, snapshot
from rxpipe.store.queries.history import RunInfo, run, runs
from rxpipe.store.queries.usage import has_usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The runs that are to be deleted: those that all of it applies to.

    Attributes:
        name: Of this name; None for all.
        numbers: These; None is the latest.
        finished: Those that are finished.
        older_than: Those without a sign of life for so many days.
        keep: All but the latest of each name, so many.
    """

    name: str | None = None
    numbers: Sequence[int | None] = ()
    finished: bool = False
    older_than: float | None = None
    keep: int | None = None


def requeue_failed(
    engine: Engine, wanted: int | None, *, stage: str | None, ids: Sequence[str], place: StoreLocation
) -> None:
    """Make failed items ready again.

    Args:
        engine: The store's.
        wanted: The run's number; None for the latest.
        stage: Only what failed there.
        ids: Only these.
        place: How the database was found.

    Raises:
        ConfigError: There is no such stage, or an ID can be none.
        StoreError: An ID is not that of a failed item.
    """
    keys = [_key(one) for one in ids] or None
    with change(engine) as connection:
        found = run(connection, wanted)
        check_stage(found, stage)
        count = requeue(connection, found, stage=stage, ids=keys)
    if not count:
        say(f"run {found.id} has no failed items{'' if stage is None else f' in {cell_text(stage)}'}")
        return
    taker = _taker(place)
    who = f"its workers, or {taker}, take" if found.workers else f"{taker} takes"
    verb, them = ("is", "it") if count == 1 else ("are", "them")
    say(f"{plural(count, 'item')} of run {found.id} {verb} ready again: {who} {them} up")


def requeue_written(engine: Engine, wanted: int | None, *, ids: Sequence[str], place: StoreLocation) -> None:
    """Have rows written again; arguments as above.

    Raises:
        ConfigError: An ID can be none.
        StoreError: An ID is not that of a written item.
    """
    keys = [_key(one) for one in ids] or None
    with change(engine) as connection:
        found = run(connection, wanted)
        count = requeue_rows(connection, found, ids=keys)
    if not count:
        say(f"run {found.id} has no written items")
        return
    rows = "row is" if count == 1 else "rows are"
    say(f"{number(count)} {rows} to be written again in run {found.id}: {_taker(place)} does, without a call")


def _taker(place: StoreLocation) -> str:
    """What goes on with the run: which pipeline it is of, only its config tells."""
    if place.config is None:
        return "the next run of its pipeline"
    other = f" {database_option(place.database)}" if place.database else ""
    return f"`rxpipe run {shlex.quote(str(place.config))}{other}`"


def export_run(engine: Engine, wanted: int | None, file: Path, *, stages: bool = False, formulas: bool = False) -> None:
    """Write a run into a file.

    Args:
        engine: The store's.
        wanted: The run's number; None for the latest.
        file: The file.
        stages: In CSV, have what each stage returned, instead of the fields of the newest output.
        formulas: In CSV, leave text that a spreadsheet takes for a formula as it is.

    Raises:
        ConfigError: It cannot be written.
    """
    check_file(file)
    with _terminated_tidily(), snapshot(engine) as connection:
        found = run(connection, wanted)
        with records_file(
            file,
            [stage.name for stage in found.stages],
            integer_ids=has_integer_ids(connection, found),
            usage=has_usage(connection, found.id),
            value_fields=None if stages or file.suffix.lower() != ".csv" else fields_of_run(connection, found),
            formulas=formulas,
        ) as records:
            counts = export(connection, found, records)
    say(f"{file}: {_counted(counts)} of run {found.id}")


def prune_runs(engine: Engine, selection: Selection, *, dry_run: bool) -> None:
    """Delete runs.

    Raises:
        StoreError: There is no such run, or one that was named is running; then nothing is deleted.
    """
    with snapshot(engine) as connection:
        named = [run(connection, one) for one in selection.numbers]
        picked = chosen(
            connection,
            [one for one in runs(connection) if selection.name in (None, one.name)],
            numbers={one.id for one in named},
            finished=selection.finished,
            older_than=selection.older_than,
            keep=selection.keep,
        )
        idle = [one for one in picked if one.state != "running"]
        extents = {one.id: extent(connection, one) for one in idle} if dry_run else {}
    for one in picked:
        if one.state == "running":
            text = f"{plural(one.workers, 'worker')} {'is' if one.workers == 1 else 'are'} at work on run {one.id}"
            if named:
                raise StoreError(f"{text}: stop them first; nothing was deleted")
            say(f"{text}: it stays")
    if not idle:
        say("no runs to delete")
    for one in idle:
        say(_pruned_line(one, extents[one.id] if dry_run else prune(engine, one.id), dry_run=dry_run))


def _pruned_line(one: RunInfo, gone: Pruned, *, dry_run: bool) -> str:
    parts = [
        plural(gone.items, "item"),
        plural(gone.checkpoints, "checkpoint"),
        plural(gone.failures, "failed call"),
        plural(gone.workers, "worker"),
    ]
    if gone.usage:
        parts.append(f"what {plural(gone.usage, 'call')} used")
    verb = "would delete" if dry_run else "deleted"
    return f"{verb} run {one.id} of {cell_text(one.name)}, {one.state}: {', '.join(parts)}"


def _counted(counts: Counter[str]) -> str:
    statuses = [f"{number(counts[status])} {status}" for status in ("written", "failed", "unfinished")]
    return f"{plural(counts.total(), 'item')} = {' + '.join(statuses)}"


def _key(item_id: str) -> str:
    try:
        return key_text(item_id)
    except RxPipeError as error:
        raise ConfigError(f"--id: {error}") from None


@contextmanager
def _terminated_tidily() -> Generator[None]:
    """SIGTERM ends what is inside by an exception, so that nothing half-written is left."""

    def end(number: int, frame: object) -> None:
        sys.exit(ExitCode.TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
