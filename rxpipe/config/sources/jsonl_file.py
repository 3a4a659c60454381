"""``source: {jsonl: FILE, id: FIELD}``: a JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from rxpipe.config.sources.flaws import Flaws, reading
from rxpipe.config.sources.ids import records
from rxpipe.config.sources.open_text import UNREADABLE, open_text
from rxpipe.pipeline.record import Record


def records_of(path: Path, where: str, by: str, *, encoding: str | None) -> Iterator[Record]:
    """Yields the records of a file. All problems are reported at the end. Blank lines are skipped.

    Args:
        path: The file.
        where: The config key of the file.
        by: The field of the ID, or ``hash``.
        encoding: The encoding; by default that of a byte order mark, else UTF-8.

    Raises:
        ConfigError: The file cannot be read, or has lines that are no JSON objects.
    """
    flaws = Flaws(f"{where}: {path}")
    with (
        reading(path, where, "a text file with a JSON object a line"),
        open_text(path, encoding, newline="\n") as (file, undecoded),
    ):
        yield from records(_objects(file, undecoded, flaws), by, flaws)
    flaws.refuse()


def _objects(lines: TextIO, undecoded: str, flaws: Flaws) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if UNREADABLE in line:
            flaws.add(number, undecoded)
            continue
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line.rstrip())
        except RecursionError:
            flaws.add(number, "not JSON: nested too deeply")
        except ValueError as error:
            flaws.add(number, "not JSON", _told(error))
        else:
            if isinstance(value, dict):
                yield number, value
            else:
                flaws.add(number, "no JSON object; keep one object a line")


def _told(error: ValueError) -> str:
    return f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
