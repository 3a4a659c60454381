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

from rxpipe.cli.dead_letters import check_stage
from rxpipe.cli.history import cell_text
from rxpipe.cli.messages import ExitCode
from rxpipe.cli.texts import number, plural
from rxpipe.database.rows import key_text
from rxpipe.errors import ConfigError, RxPipeError, StoreError
from rxpipe.store.export import export, has_integer_ids
from rxpipe.store.export_files import check_file, records_file
from rxpipe.store.history import RunInfo, run, runs
from rxpipe.store.opening import change, snapshot
from rxpipe.store.prune import Pruned, chosen, extent, prune
from rxpipe.store.requeue import requeue
from rxpipe.store.usage import has_usage


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


def requeue_dead(
    engine: Engine, wanted: int | None, *, stage: str | None, ids: Sequence[str], config: Path | None
) -> None:
    """Make dead items ready again.

    Args:
        engine: The store's.
        wanted: The run's number; None for the latest.
        stage: Only what failed there.
        ids: Only these.
        config: Whose database it is, as far as is known.

    Raises:
        ConfigError: There is no such stage, or an ID can be none.
        StoreError: An ID is not that of a dead item.
    """
    keys = [_key(one) for one in ids] or None
    with change(engine) as connection:
        found = run(connection, wanted)
        check_stage(found, stage)
        count = requeue(connection, found, stage=stage, ids=keys)
    if not count:
        print(f"run {found.id} has no dead items{'' if stage is None else f' in {cell_text(stage)}'}")
        return
    taker = f"`rxpipe run {'CONFIG' if config is None else shlex.quote(str(config))}`"
    who = f"its workers, or {taker}, take" if found.workers else f"{taker} takes"
    verb, them = ("is", "it") if count == 1 else ("are", "them")
    print(f"{plural(count, 'item')} of run {found.id} {verb} ready again: {who} {them} up")


def export_run(engine: Engine, wanted: int | None, file: Path) -> None:
    """Write a run into a file.

    Raises:
        ConfigError: It cannot be written.
    """
    check_file(file)
    with _terminated_tidily(), snapshot(engine) as connection:
        found = run(connection, wanted)
        stages = [stage.name for stage in found.stages]
        fields = {"integer_ids": has_integer_ids(connection, found), "usage": has_usage(connection, found.id)}
        with records_file(file, stages, **fields) as records:
            counts = export(connection, found, records)
    print(f"{file}: {_counted(counts)} of run {found.id}")


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
            print(f"{text}: it stays")
    if not idle:
        print("no runs to delete")
    for one in idle:
        print(_pruned_line(one, extents[one.id] if dry_run else prune(engine, one.id), dry_run=dry_run), flush=True)


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
