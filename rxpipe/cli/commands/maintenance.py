"""``rxpipe requeue``, ``export`` and ``prune``."""

from __future__ import annotations

import shlex
import signal
import sys
from collections import Counter
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from rxpipe.cli.commands.failures import check_stage
from rxpipe.cli.commands.store_location import StoreLocation
from rxpipe.cli.messages import ExitCode
from rxpipe.config.error_texts import unknown
from rxpipe.database.engine import database_option
from rxpipe.database.rows import key_text
from rxpipe.errors import ConfigError, RxPipeError, StoreError
from rxpipe.screen.terminal import say
from rxpipe.screen.texts import cell_text, number, plural
from rxpipe.store.maintenance.export import STATUSES, Status, export, has_children, has_integer_ids, is_among
from rxpipe.store.maintenance.export_cells import Fields, fields_of_run, nowhere, with_kinds
from rxpipe.store.maintenance.export_files import check_file, records_file
from rxpipe.store.maintenance.prune import Pruned, chosen, extent, prune
from rxpipe.store.maintenance.requeue import Family, family, requeue, requeue_rows
from rxpipe.store.queries.existing_store import change, snapshot
from rxpipe.store.queries.history import RunInfo, run, runs
from rxpipe.store.queries.usage import has_usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The runs to delete: those that meet all conditions.

    Attributes:
        name: Only runs of this name; None for all.
        numbers: Only these runs; None means the latest.
        finished: Only finished runs.
        older_than: Only runs without activity for this number of days.
        keep: Keep the latest runs of each name, this many.
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
        engine: The store's engine.
        wanted: The run's number; None for the latest run.
        stage: Only items that failed in this stage.
        ids: Only these items.
        place: How the database was found.

    Raises:
        ConfigError: There is no such stage, or a text cannot be an ID.
        StoreError: An ID does not belong to a failed item.
    """
    keys = [_key(one) for one in ids] or None
    with change(engine) as connection:
        found = run(connection, wanted)
        check_stage(found, stage)
        relatives = family(connection, found, stage=stage, ids=keys)
        count = requeue(connection, found, stage=stage, ids=keys)
    if not count:
        say(f"run {found.id} has no failed items{'' if stage is None else f' in {cell_text(stage)}'}")
        return
    taker = _taker(place)
    who = f"its workers, or {taker}, take" if found.workers else f"{taker} takes"
    verb, them = ("is", "it") if count == 1 else ("are", "them")
    say(f"{plural(count, 'item')} of run {found.id} {verb} ready again: {who} {them} up")
    for line in _family_lines(relatives):
        say(line)


def _family_lines(relatives: Family) -> list[str]:
    """Say what becomes of parents and children, if that is not obvious."""
    lines: list[str] = []
    if count := relatives.expanding:
        have, calls = ("has", "its call is") if count == 1 else ("have", "their calls are")
        lines.append(f"{number(count)} of them {have} children, which stay: {calls} made again")
    if count := relatives.collecting:
        wait, its = ("waits", "its") if count == 1 else ("wait", "their")
        lines.append(f"{number(count)} of them {wait} for {its} children that are ready again, too")
    if count := relatives.collected:
        what = "is a child whose parent was" if count == 1 else "are children whose parents were"
        again = "it is" if count == 1 else "these are"
        lines.append(f"{number(count)} of them {what} collected already: {again} not collected again")
    return lines


def requeue_written(engine: Engine, wanted: int | None, *, ids: Sequence[str], place: StoreLocation) -> None:
    """Make the rows of written items due again. The arguments are those of ``requeue_failed``.

    Raises:
        ConfigError: A text cannot be an ID.
        StoreError: An ID does not belong to a written item.
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
    """Returns the command that continues the run. Only a config tells which pipeline the run belongs to."""
    if place.config is None:
        return "the next run of its pipeline"
    other = f" {database_option(place.database)}" if place.database else ""
    return f"`rxpipe run {shlex.quote(str(place.config))}{other}`"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """The content of an exported file.

    Attributes:
        columns: Paths into the values, with commas between them; None for all fields.
        statuses: The statuses of the wanted items, with commas between them; None for all items.
        stages: In CSV and Parquet, write what each stage returned, instead of the fields of the newest output.
        formulas: In CSV, do not change text that a spreadsheet takes for a formula.
        bom: In CSV, begin with a byte order mark.
    """

    columns: str | None = None
    statuses: str | None = None
    stages: bool = False
    formulas: bool = False
    bom: bool = False


def export_run(engine: Engine, wanted: int | None, file: Path, options: ExportOptions) -> None:
    """Write a run into a file.

    Args:
        engine: The store's engine.
        wanted: The run's number; None for the latest run.
        file: The file.
        options: The content of the file.

    Raises:
        ConfigError: The file cannot be written, or the options do not fit together.
    """
    if options.columns is not None and options.stages:
        raise ConfigError("--columns picks from the value, --stages has what each stage returned: give one of them")
    chosen = None if options.columns is None else Fields(names=_listed("--columns", options.columns), chosen=True)
    statuses = STATUSES if options.statuses is None else _statuses(options.statuses)
    check_file(file)
    kind = file.suffix.lower()
    with _terminated_tidily(), snapshot(engine) as connection:
        found = run(connection, wanted)
        fields, which = chosen, is_among(statuses)
        if fields is not None and (missing := nowhere(fields, connection, found, which)):
            there = fields_of_run(connection, found, which).names
            what = f"no value has {', '.join(map(repr, missing))}"
            raise ConfigError(f"--columns: {unknown(what, missing[0], there)}")
        if fields is None and kind != ".jsonl" and not options.stages:
            fields = fields_of_run(connection, found, which)
        if fields is not None and kind == ".parquet":
            fields = with_kinds(fields, connection, found, which)
        with records_file(
            file,
            [stage.name for stage in found.stages],
            integer_ids=has_integer_ids(connection, found),
            usage=has_usage(connection, found.id),
            parents=has_children(connection, found),
            fields=fields,
            formulas=options.formulas,
            bom=options.bom,
        ) as records:
            counts = export(connection, found, records, statuses=statuses)
    say(f"{file}: {_counted(counts, statuses)} of run {found.id}")


def _listed(option: str, text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name for each in text.split(",") if (name := each.strip())))
    if not names:
        raise ConfigError(f"{option}: {text!r} names nothing")
    return names


def _statuses(text: str) -> list[Status]:
    names = _listed("--status", text)
    for name in names:
        if name not in STATUSES:
            raise ConfigError(f"--status: {unknown(f'no item is {name!r}', name, STATUSES)}")
    return [status for status in STATUSES if status in names]


def prune_runs(engine: Engine, selection: Selection, *, dry_run: bool) -> None:
    """Delete runs.

    Raises:
        StoreError: There is no such run, or a named run is running. Nothing was deleted.
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


def _counted(counts: Counter[str], statuses: Collection[Status]) -> str:
    """Describe the count of each status. If all are wanted, common statuses are shown also with 0."""
    common = ("written", "failed", "unfinished")
    shown = [status for status in statuses if counts[status] or len(statuses) < len(STATUSES) or status in common]
    told = [f"{number(counts[status])} {status}" for status in shown]
    return f"{plural(counts.total(), 'item')} = {' + '.join(told)}"


def _key(item_id: str) -> str:
    try:
        return key_text(item_id)
    except RxPipeError as error:
        raise ConfigError(f"--id: {error}") from None


@contextmanager
def _terminated_tidily() -> Generator[None]:
    """Let SIGTERM raise an exception inside, so that no half-written file is left."""

    def end(number: int, frame: object) -> None:
        sys.exit(ExitCode.TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
