"""``source: {parquet: FILE, id: COLUMN}``: a record for each row; needs the extra ``parquet``."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rxpipe.config.error_texts import unknown
from rxpipe.config.sources.flaws import Flaws, reading
from rxpipe.config.sources.ids import HASH, records
from rxpipe.errors import ConfigError
from rxpipe.extras import install
from rxpipe.pipeline.record import Record

_ROWS = 1000  # rows read at a time


def records_of(path: Path, where: str, by: str, where_id: str) -> Iterator[Record]:
    """Yields the records of a file. All problems are reported at the end.

    Args:
        path: The file.
        where: The config key of the file.
        by: The column of the ID, or ``hash``.
        where_id: The config key of the ID's column.

    Raises:
        ConfigError: pyarrow is missing, the file cannot be read, or rows have no unique ID.
    """
    arrow = _pyarrow(f"{where}: {path}")
    flaws = Flaws(f"{where}: {path}", "row")
    with reading(path, where, "a Parquet file"), path.open("rb") as raw:
        try:
            file = arrow.parquet.ParquetFile(raw)
            header: list[str] = file.schema_arrow.names
            if by != HASH and by not in header:
                raise ConfigError(f"{where_id}: {path}: {unknown(f'no column is called {by!r}', by, header)}")
            yield from records(_rows(file), by, flaws)
        except arrow.ArrowException as error:
            raise ConfigError(f"{where}: {path} cannot be read as Parquet: {_first_line(error)}") from None
    flaws.refuse()


def _rows(file: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    for batch in file.iter_batches(batch_size=_ROWS):
        for row in batch.to_pylist():
            number += 1
            yield number, row


def _pyarrow(start: str) -> Any:
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError:
        raise ConfigError(f"{start}: a Parquet file needs pyarrow: {install('parquet')}") from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
