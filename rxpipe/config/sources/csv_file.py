"""``source: {csv: FILE, id: COLUMN}``: a record for each row of a table with a header."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from rxpipe.config.error_texts import unknown
from rxpipe.config.sources.flaws import Flaws, reading
from rxpipe.config.sources.ids import HASH, records
from rxpipe.config.sources.open_text import UNREADABLE, open_text
from rxpipe.errors import ConfigError
from rxpipe.pipeline.record import Record

_LONGEST = 2**24  # characters of one field; by default csv refuses more than 2**17
_ALLOWED = "a text file with a header, and a record a row"


def records_of(
    path: Path, where: str, by: str, where_id: str, *, delimiter: str | None, encoding: str | None
) -> Iterator[Record]:
    """Yields the records of a file. All problems are reported at the end.

    Args:
        path: The file.
        where: The config key of the file.
        by: The column of the ID, or ``hash``.
        where_id: The config key of the ID's column.
        delimiter: The character between fields; by default a tab in a ``.tsv`` file, else a comma.
        encoding: The encoding; by default that of a byte order mark, else UTF-8.

    Raises:
        ConfigError: The file cannot be read, or is no such table.
    """
    flaws = Flaws(f"{where}: {path}")
    between = delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    with reading(path, where, _ALLOWED), open_text(path, encoding, newline="") as (file, undecoded):
        rows = _rows(file, between, flaws)
        _, header = next(rows, (1, list[str]()))
        flaws.refuse()
        _check_header(header, f"{where}: {path}", undecoded)
        if by != HASH and by not in header:
            hint = _other_delimiter(header, between)
            raise ConfigError(f"{where_id}: {path}: {unknown(f'no column is called {by!r}', by, header)}{hint}")
        yield from records(_mappings(header, rows, undecoded, flaws), by, flaws)
    flaws.refuse()


def _rows(file: TextIO, delimiter: str, flaws: Flaws) -> Iterator[tuple[int, list[str]]]:
    """Yields all rows that are not empty, each with the number of its first line."""
    before = csv.field_size_limit(_LONGEST)
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    number = 1
    try:
        for row in reader:
            if row:
                yield number, row
            number = reader.line_num + 1
    except csv.Error as error:
        text = "a quote is never closed" if "unexpected end of data" in str(error) else str(error)
        flaws.add(number, f"not CSV: {text}")
    finally:
        csv.field_size_limit(before)


def _check_header(header: list[str], start: str, undecoded: str) -> None:
    repeated = sorted({name for name in header if header.count(name) > 1})
    if not header:
        raise ConfigError(f"{start}: it is empty; allowed: a header with the names of the columns, then the rows")
    if any(UNREADABLE in name for name in header):
        raise ConfigError(f"{start}, line 1: {undecoded}")
    if any("\0" in name for name in header):
        raise ConfigError(
            f"{start}, line 1: a NUL in the header; "
            "a file in UTF-16 without a byte order mark needs encoding: utf-16-le"
        )
    if repeated:
        raise ConfigError(f"{start}, line 1: columns of the same name: {', '.join(map(repr, repeated))}")


def _other_delimiter(header: list[str], used: str) -> str:
    names = {";": "';'", "\t": "a tab, '\\t'", "|": "'|'", ",": "','"}
    found = [name for one, name in names.items() if one != used and one in header[0]] if len(header) == 1 else []
    return f"; between its columns there may be {found[0]}: say so with delimiter:" if found else ""


def _mappings(
    header: list[str], rows: Iterator[tuple[int, list[str]]], undecoded: str, flaws: Flaws
) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in rows:
        if any(UNREADABLE in field for field in row):
            flaws.add(number, undecoded)
        elif len(row) != len(header):
            how = "fewer" if len(row) < len(header) else "more"
            flaws.add(number, f"{how} fields than the {len(header)} of the header", str(len(row)))
        else:
            yield number, dict(zip(header, row, strict=True))
