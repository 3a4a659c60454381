"""``rxpipe submit``."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, cast

from rxpipe.cli.commands.overrides import overridden
from rxpipe.cli.messages import configure_logs
from rxpipe.config import Config, load_config
from rxpipe.config.build import pipeline_of
from rxpipe.config.error_texts import shown
from rxpipe.config.sources.flaws import Flaws, reading
from rxpipe.config.sources.ids import records
from rxpipe.database.engine import database_option
from rxpipe.errors import ConfigError, OtherPipeline
from rxpipe.pipeline.record import Record
from rxpipe.screen.terminal import say
from rxpipe.screen.texts import number, plural
from rxpipe.store.submissions import Submitted, submit


def submit_items(path: Path, ids: Sequence[str], file: str | None, database: str | None) -> None:
    """Put items into the store of a config, and print how many are new.

    Args:
        path: The config.
        ids: IDs from the command line.
        file: A file with an ID or a record a line; ``-`` for standard input.
        database: Another database than the config's.

    Raises:
        ConfigError: The config cannot be used, a text cannot be an ID, or the run keeps no progress.
    """
    configure_logs()
    config = overridden(load_config(path), strategy=None, scheduler=None, database=database)
    if not config.durable:
        raise ConfigError("rxpipe submit puts items into a run store, and this config has none")
    if not ids and file is None:
        raise ConfigError("submit: give IDs, or --from FILE")
    items: list[int | str | Record[Any]] = [_id_of(config, one) for one in ids]
    if items and config.source.gives_records:
        raise ConfigError(
            f"{config.where('source.id')}: the stages get records, not IDs: "
            "give them by --from FILE, a JSON object a line"
        )
    if file is not None:
        items += _from_file(config, file)
    with redirect_stdout(sys.stderr):  # the output of imported modules
        pipeline = pipeline_of(config)
        try:
            told = submit(pipeline, items)
        except OtherPipeline as error:
            raise ConfigError(f"{config.where('name')}: {error}") from None
    option = f" {database_option(config.database.url)}" if database else ""
    for line in _lines(told, f"rxpipe run {shlex.quote(str(path))}{option} --stay"):
        say(line)


def _lines(told: Submitted, taker: str) -> Iterator[str]:
    if told.run is None:
        yield "nothing was submitted: there are no IDs"
        return
    counts = f"{number(told.new)} new + {number(told.known)} known before"
    yield f"{plural(told.new + told.known, 'item')} submitted to run {told.run} = {counts}"
    if told.changed:
        yield f"{plural(told.changed, 'record')} came with another value than before; the first value stays"
    if told.new and not told.has_workers:
        yield f"no worker is at work on it: `{taker}` takes them"


def _id_of(config: Config, text: str) -> int | str:
    """Returns an ID as the config's source would give it: text for a text file or a table, else perhaps a number."""
    is_text = config.source.file is not None or config.source.csv is not None
    return int(text) if not is_text and _is_number(text) else text


def _is_number(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and str(int(digits)) == digits and len(digits) < 19


def _from_file(config: Config, name: str) -> list[int | str | Record[Any]]:
    where = f"--from {name}"
    if name == "-":
        return list(_items(config, sys.stdin, where))
    path = Path(name)
    with reading(path, "--from", "a text file with an ID or a JSON object a line"), path.open(encoding="utf-8") as file:
        return list(_items(config, file, where))


def _items(config: Config, lines: Iterable[str], where: str) -> Iterator[int | str | Record[Any]]:
    """Yields the items of lines. All problems are reported at the end."""
    flaws = Flaws(where)
    by = config.source.id or "id"
    rows: list[tuple[int, dict[str, Any]]] = []
    plain: list[int | str] = []
    for place, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        if text[0] not in '{["':
            plain.append(_id_of(config, text))
            if config.source.gives_records:
                flaws.add(place, "an ID alone, where the stages get records; write a JSON object")
            continue
        try:
            value: Any = json.loads(text)
        except (ValueError, RecursionError):
            flaws.add(place, "begins like JSON, and is none")
            continue
        if isinstance(value, dict):
            rows.append((place, cast("dict[str, Any]", value)))
        elif isinstance(value, str) and not config.source.gives_records:
            plain.append(value)
        else:
            flaws.add(place, "neither an ID nor a JSON object", shown(value))
    found = list(records(rows, by, flaws))
    flaws.refuse()
    yield from plain
    yield from found
