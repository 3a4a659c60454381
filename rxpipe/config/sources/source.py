"""Reads the items of a pipeline: the ``source`` of its config."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from rxpipe.config.model import Config
from rxpipe.config.sources import csv_file, jsonl_file, parquet_file
from rxpipe.config.sources.call import called
from rxpipe.config.sources.flaws import Flaws
from rxpipe.config.sources.ids import records
from rxpipe.config.sources.spool import Spool
from rxpipe.config.sources.sql import rows_of
from rxpipe.config.sources.text_file import ids_of
from rxpipe.errors import ConfigError
from rxpipe.pipeline.record import Record


def read_source(config: Config, *, count: int | None = None) -> Iterable[Any] | AsyncIterable[Any]:
    """Returns the IDs or records of a config's source. Iterate the result when there is room for more items.

    - ``range``: whole numbers.
    - ``file``: text, one ID a line without the space around it. IDs of digits stay text.
    - ``csv``, ``jsonl``, ``parquet``: records, whose values are dicts of a row. As with ``file`` the whole file is
      checked here, before anything runs. The checked records are kept in a temporary file.
    - ``rows``: the records in the config.
    - ``sql``: the first column, whole numbers or text; with ``id`` records. The query runs here, once, in a read-only
      transaction. The rows are kept in a temporary file. A cursor that stays open during a whole run would hold a
      transaction open, which keeps SQLite from writing and PostgreSQL from cleaning up.
    - ``call``: the items of the function's iterable or async iterable; with ``id`` records of these items. The function
      is called here. Its items are not checked, as they may be endless. Perhaps you can iterate the result only once.

    Args:
        config: The config; ``source``, ``database`` and the config file's folder are used.
        count: Take at most this many items; of a range exactly this many from its start, whatever its ``stop`` says.

    Raises:
        ConfigError: The source cannot be read, or an ID in it is blank, repeated or of a wrong type.
    """
    source = config.source
    if count is not None and count < 0:
        raise ConfigError(f"count: given {count}; allowed: a whole number, 0 or more")
    if source.file is not None:
        return Spool(ids_of(_path(config, source.file), config.where("source.file"), count))
    if source.sql is not None:
        return Spool(rows_of(config, source.sql, count))
    if source.call is not None:
        return called(config, source.call, count)
    if source.rows is not None:
        return list(islice(_inline(config), count))
    if source.range is not None:
        return source.range.ids(count)
    return Spool(_first(_records(config), count))


def _records(config: Config) -> Iterator[Record]:
    source, where_id = config.source, config.where("source.id")
    # The config's own checks refuse a source without a kind, and a file of records without an ID.
    assert source.id is not None
    if source.csv is not None:
        return csv_file.records_of(
            *(_path(config, source.csv), config.where("source.csv"), source.id, where_id),
            delimiter=source.delimiter,
            encoding=source.encoding,
        )
    if source.jsonl is not None:
        where = config.where("source.jsonl")
        return jsonl_file.records_of(_path(config, source.jsonl), where, source.id, encoding=source.encoding)
    assert source.parquet is not None
    where = config.where("source.parquet")
    return parquet_file.records_of(_path(config, source.parquet), where, source.id, where_id)


def _path(config: Config, file: str) -> Path:
    return (config.folder or Path()) / file


def _first(all_of_them: Iterator[Record], count: int | None) -> Iterator[Record]:
    """Yields the first records, and reads the others, too: a trial run then finds all problems of the whole run."""
    for index, record in enumerate(all_of_them):
        if count is None or index < count:
            yield record


def _inline(config: Config) -> list[Record]:
    source = config.source
    assert source.rows is not None
    assert source.id is not None
    flaws = Flaws(config.where("source.rows"), "row")
    found = list(records(enumerate(map(dict[str, Any], source.rows), 1), source.id, flaws))
    flaws.refuse()
    return found
