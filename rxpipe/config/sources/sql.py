"""``source: {sql: "select ..."}``: the rows of a query."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine

from rxpipe.config.error_texts import shown, unknown
from rxpipe.config.model import Config
from rxpipe.config.sources.ids import HASH, hash_of, id_flaw
from rxpipe.config.sources.spool import Id, Repeats
from rxpipe.database.encoding import one_line
from rxpipe.database.engine import open_engine, without_password
from rxpipe.database.engine import shown as url_text
from rxpipe.errors import ConfigError, SinkError
from rxpipe.pipeline.record import Record

_ROWS = 1000  # rows fetched at a time
# A rollback does not undo everything: MySQL, and SQLite's driver, commit a `drop table` by themselves.
_READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "postgresql": "SET TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}


def rows_of(config: Config, sql: str, count: int | None) -> Iterator[Id | Record]:
    """Run the query, and yield its first column; with ``id``, records of its rows.

    Raises:
        ConfigError: The query cannot be run, or a row has no unique ID.
    """
    url_key, where = "source.url" if config.source.url else "database.url", config.where("source.sql")
    engine = _engine(config.source.url or config.database.url, config.where(url_key))
    place = url_text(engine)
    try:
        with _told(f"{config.where(url_key)}: cannot open {place}", engine):
            connection = engine.connect()
        with connection, _told(f"{where}: {place}, given {shown(sql)}", engine):
            yield from _rows(connection, sql, config.source.id, count)
    finally:
        engine.dispose()


def _rows(connection: Connection, sql: str, by: str | None, count: int | None) -> Iterator[Id | Record]:
    """Run a query as it stands, with ``%`` and ``:`` in it, and yield the items as they arrive."""
    if read_only := _READ_ONLY.get(connection.dialect.name):
        connection.exec_driver_sql(read_only)
    options = connection.execution_options(stream_results=True, yield_per=_ROWS, no_parameters=True)
    repeated = Repeats()
    with options.exec_driver_sql(sql) as rows:
        if not rows.returns_rows:
            raise ValueError("it returns no rows; allowed: a query")
        names = list(rows.keys())
        if by is not None:
            _check_columns(names, by)
        for number, row in enumerate(islice(rows, count), 1):
            record = {} if by is None else dict(zip(names, row, strict=True))
            one: Any = row[0] if by is None else hash_of(record) if by == HASH else record[by]
            if id_flaw(one) or not str(one).strip():
                kind = f"{shown(one)}, of type {type(one).__name__}"
                raise ValueError(f"row {number}: the ID is {kind}; allowed: a whole number or text")
            if repeated(one):
                raise ValueError(f"row {number}: the ID {one!r} was there before; allowed: each once (select distinct)")
            yield one if by is None else Record(one, record)


def _check_columns(names: Sequence[str], by: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"columns of the same name: {', '.join(repeated)}; allowed: each once (select ... as ...)")
    if by != HASH and by not in names:
        raise ValueError(f"{unknown(f'no column is called {by!r}', by, names)}")


def _engine(url: str, where: str) -> Engine:
    try:
        engine = open_engine(url)
    except SinkError as error:
        raise ConfigError(f"{where}: {error}") from None
    if engine.dialect.name != "sqlite":
        return engine
    name = engine.url.database
    if name and name != ":memory:" and not name.startswith("file:") and not Path(name).exists():
        # SQLite would create an empty file.
        raise ConfigError(f"{where}: {url_text(engine)}: no such file: {Path(name).absolute()}")
    # The sink's engine changes the file's journal mode. A reader must not do that.
    return create_engine(engine.url)


@contextmanager
def _told(start: str, engine: Engine) -> Generator[None]:
    """Turn an error of a driver, or of a check of rows, into one line without a password."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - drivers also raise errors that are no SQLAlchemyError
        cause = getattr(error, "orig", None) or error
        text = str(error) if type(error) is ValueError else one_line(cause)
        raise ConfigError(f"{start}: {without_password(text, engine.url)}") from None
