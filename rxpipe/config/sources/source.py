"""Where the items of a pipeline come from: the ``source`` of its config."""

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
    """The IDs or records that a config's source gives, to be iterated when there is room for them.

    - ``range``: whole numbers.
    - ``file``: text, one ID a line without the space around it; also digits stay text.
    - ``csv``, ``jsonl``, ``parquet``: records, whose values are dicts of a row. As with ``file`` the whole file is
      checked here, before anything runs; what was checked is kept in a temporary file.
    - ``rows``: records that stand in the config.
    - ``sql``: the first column, whole numbers or text; with ``id`` records. The query is run here, once, in a
      read-only transaction; the rows are kept in a temporary file, since a cursor that stays open for as long as a
      pipeline runs holds a transaction open, which keeps SQLite from writing and PostgreSQL from cleaning up.
    - ``call``: whatever the function's iterable or async iterable gives, unchecked, as it may be endless; with ``id``
      records of it. The function is called here, and it may only be possible to iterate its result once.

    Args:
        config: What ``source``, ``database`` and the config file's folder are taken from.
        count: How many to take at most; of a range exactly that many from its start, wherever it stops.

    Raises:
        ConfigError: The source cannot be read, or an ID in it is blank, there twice or of a wrong type.
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
    # A config whose source has no kind at all, or a file of records and no ID, cannot be made.
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
    """The first records; the others are looked at, too, so that a trial run finds what would stop the whole one."""
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
