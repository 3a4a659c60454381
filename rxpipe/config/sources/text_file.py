"""``source: {file: ids.txt}``: an ID a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rxpipe.config.sources.flaws import Flaws, reading
from rxpipe.config.sources.spool import Repeats
from rxpipe.errors import ConfigError

_ALLOWED = "a text file with one ID a line"
_TABLES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".json": None,
    ".xlsx": None,
}


def ids_of(path: Path, where: str, count: int | None) -> Iterator[str]:
    """Read the whole file, and yield its first IDs unless a line is wrong.

    Raises:
        ConfigError: The file cannot be read, or has lines that are no IDs.
    """
    if path.suffix.lower() in _TABLES:
        kind = _TABLES[path.suffix.lower()]
        instead = f"source: {{{kind}: {path.name}, id: COLUMN}}" if kind else 'source: {call: "my_stages:ids"}'
        raise ConfigError(
            f"{where}: {path}: a {path.suffix} file holds records, but here every line would be an ID, a header too; "
            f"allowed: a text file with one ID a line, like ids.txt; or {instead}"
        )
    flaws, repeated = Flaws(f"{where}: {path}"), Repeats()
    with reading(path, where, _ALLOWED), path.open("rb") as lines:
        for number, raw in enumerate(lines, 1):
            one, flaw = _line(raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw, repeated)
            if flaw:
                flaws.add(number, flaw, repr(one) if one else "")
            elif count is None or number <= count:
                yield one
    flaws.refuse()


def _line(raw: bytes, repeated: Repeats) -> tuple[str, str | None]:
    """Returns a line's ID, and its problem together with the remedy, or None."""
    try:
        one = raw.decode().strip()
    except UnicodeDecodeError:
        return "", "not UTF-8; save the file as UTF-8"
    if not one:
        return "", "blank; remove every blank line"
    if "\0" in one or "\r" in one:  # UTF-16, or line ends of an age-old Mac
        return "", "a NUL or CR within a line; save the file as UTF-8 text with one ID a line"
    if repeated(one):
        return one, "an ID that an earlier line has; keep each ID once"
    return one, None
