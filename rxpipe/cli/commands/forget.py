"""``rxpipe forget``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import typer
from sqlalchemy import Table

from rxpipe.cli.commands.store_location import StoreLocation, name_at, store_at
from rxpipe.config import Config, load_config
from rxpipe.config.build import pipeline_of
from rxpipe.config.sources.flaws import reading
from rxpipe.database.column_paths import columns_table
from rxpipe.database.rows import key_text
from rxpipe.database.table import default_table
from rxpipe.errors import ConfigError, RxPipeError
from rxpipe.screen.terminal import say
from rxpipe.screen.texts import plural
from rxpipe.store.maintenance.forget import Forgotten, forget


def forget_items(place: StoreLocation, ids: Sequence[str], file: str | None, *, dry_run: bool, yes: bool) -> None:
    """Delete items everywhere, and print what was deleted.

    Args:
        place: Where the store is.
        ids: The items' IDs.
        file: A file with one ID a line; ``-`` for standard input.
        dry_run: Print only.
        yes: Do not ask.

    Raises:
        ConfigError: No ID is given, a text cannot be an ID, or the file cannot be read.
        StoreError: There is no such item, it is a child, or a worker has it. Nothing was deleted.
    """
    given = [*ids, *([] if file is None else _from_file(file))]
    if not given:
        raise ConfigError("forget: give IDs, or --from FILE" if file is None else f"--from {file}: there are no IDs")
    config = None if place.config is None else load_config(place.config)
    if config is not None:
        with redirect_stdout(sys.stderr):
            pipeline_of(config)  # imports the config's modules: values of their classes are read
    keys = [_key(one) for one in given]
    name, table = name_at(place), None if config is None else _table_of(config)
    with store_at(place) as engine:
        if not (dry_run or yes or file == "-") and sys.stdin.isatty():
            _say_what(forget(engine, keys, name=name, table=table, dry_run=True), "would delete")
            typer.confirm("Delete that?", abort=True)
        told = forget(engine, keys, name=name, table=table, dry_run=dry_run)
        _say_what(told, "would delete" if dry_run else "deleted")
        if told.unreadable:
            say(f"{plural(told.unreadable, 'value')} cannot be read: rxpipe cache --clear deletes what is cached")
        if config is not None and config.output is not None:
            say(f"{config.output.jsonl} still has the lines of these items")


def _say_what(told: Forgotten, verb: str) -> None:
    parts = [
        plural(told.items, "item"),
        plural(told.rows, "row"),
        plural(told.checkpoints, "value"),
        plural(told.calls, "call"),
        plural(told.exchanges, "prompt"),
        plural(told.failures, "failed call"),
        plural(told.cached, "cached result"),
    ]
    say(f"{verb}: {', '.join(parts)}")


def _table_of(config: Config) -> Table | None:
    if config.output is not None:
        return None
    database = config.database
    return (
        default_table(database.table) if database.columns is None else columns_table(database.table, database.columns)
    )


def _from_file(name: str) -> list[str]:
    if name == "-":
        return _ids(sys.stdin)
    path = Path(name)
    if not path.exists():
        raise ConfigError(f"--from {name}: no such file")
    with reading(path, "--from", "a text file with an ID a line"), path.open(encoding="utf-8") as lines:
        return _ids(lines)


def _ids(lines: Iterable[str]) -> list[str]:
    return [text for line in lines if (text := line.strip())]


def _key(item_id: str) -> str:
    try:
        return key_text(item_id)
    except RxPipeError as error:
        raise ConfigError(f"ID: {error}") from None
