"""Where the IDs of a pipeline come from: the ``source`` of its config."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeGuard

from sqlalchemy import Connection, Engine, create_engine

from rxpipe.config.error_texts import shown
from rxpipe.config.id_file import Id, Repeats, SpooledIds
from rxpipe.config.imports import describe_raised, resolve
from rxpipe.config.model import Config
from rxpipe.database.encoding import one_line
from rxpipe.database.engine import open_engine, without_password
from rxpipe.database.engine import shown as url_text
from rxpipe.errors import ConfigError, SinkError

_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xlsx", ".parquet")
_SHOWN = 5  # line numbers named for each flaw of an ID file
_ROWS = 1000  # fetched at a time
# Not everything can be rolled back: MySQL, and SQLite's driver, commit a `drop table` by themselves.
_READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "postgresql": "SET TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}


def read_ids(config: Config, *, count: int | None = None) -> Iterable[Any] | AsyncIterable[Any]:
    """The IDs that a config's source gives, to be iterated when there is room for them.

    - ``range``: whole numbers.
    - ``file``: text, one ID a line without the space around it; also digits stay text. The whole file is
      checked here, before anything runs.
    - ``sql``: the first column, whole numbers or text. The query is run here, once, in a read-only
      transaction; the rows are kept in a temporary file, since a cursor that stays open for as long
      as a pipeline runs holds a transaction open, which keeps SQLite from writing and PostgreSQL from
      cleaning up.
    - ``call``: whatever the function's iterable or async iterable gives, unchecked, as it may be endless. The
      function is called here, and it may only be possible to iterate its result once.

    Args:
        config: What ``source``, ``database`` and the config file's folder are taken from.
        count: How many IDs to take at most; of a range exactly that many from its start, wherever it stops.

    Raises:
        ConfigError: The source cannot be read, or an ID in it is blank, there twice or of a wrong type.
    """
    source = config.source
    if count is not None and count < 0:
        raise ConfigError(f"count: given {count}; allowed: a whole number, 0 or more")
    if source.file is not None:
        return SpooledIds(_from_file((config.folder or Path()) / source.file, config.where("source.file"), count))
    if source.sql is not None:
        return SpooledIds(_from_sql(config, source.sql, count))
    if source.call is not None:
        return _from_call(config, source.call, count)
    # A config whose source has no kind at all cannot be made.
    assert source.range is not None
    return source.range.ids(count)


def _from_file(path: Path, where: str, count: int | None) -> Iterator[str]:
    """Reads the whole file, and gives the first IDs of it unless anything in it is wrong."""
    if path.suffix.lower() in _TABLES:
        raise ConfigError(
            f"{where}: {path}: a {path.suffix} file holds records, but here every line would be an ID, a header too; "
            "allowed: a text file with one ID a line, like ids.txt; or give a function that reads the IDs, as in "
            'source: {call: "my_stages:ids"}'
        )
    flaws: dict[str, list[tuple[int, str]]] = defaultdict(list)
    repeated = Repeats()
    try:
        with path.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                one, flaw = _line(raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw, repeated)
                if flaw:
                    flaws[flaw].append((number, one))
                elif count is None or number <= count:
                    yield one
    except FileNotFoundError:
        raise ConfigError(f"{where}: no such file: {path}; it is looked for in the config file's folder") from None
    except IsADirectoryError:
        raise ConfigError(f"{where}: {path} is a directory; allowed: a text file with one ID a line") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ConfigError(f"{where}: {shown(str(path))} cannot be read: {error}") from None
    if flaws:
        told = [f"{where}: {path}, {_numbers(found)}: {flaw}" for flaw, found in flaws.items()]
        raise ConfigError("\n".join(told))


def _line(raw: bytes, repeated: Repeats) -> tuple[str, str | None]:
    """A line's ID, and what is wrong with it along with what to do."""
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


def _numbers(found: list[tuple[int, str]]) -> str:
    numbers = ", ".join(f"{number} ({one!r})" if one else str(number) for number, one in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{'line' if len(found) == 1 else 'lines'} {numbers}{more}"


def _from_sql(config: Config, sql: str, count: int | None) -> Iterator[Id]:
    url_key, where = "source.url" if config.source.url else "database.url", config.where("source.sql")
    engine = _engine(config.source.url or config.database.url, config.where(url_key))
    place = url_text(engine)
    try:
        with _told(f"{config.where(url_key)}: cannot open {place}", engine):
            connection = engine.connect()
        with connection, _told(f"{where}: {place}, given {shown(sql)}", engine):
            yield from _first_column(connection, sql, count)
    finally:
        engine.dispose()


def _first_column(connection: Connection, sql: str, count: int | None) -> Iterator[Id]:
    """Runs a query as it stands, with ``%`` and ``:`` in it, and gives the IDs in it as they arrive."""
    if read_only := _READ_ONLY.get(connection.dialect.name):
        connection.exec_driver_sql(read_only)
    options = connection.execution_options(stream_results=True, yield_per=_ROWS, no_parameters=True)
    repeated = Repeats()
    with options.exec_driver_sql(sql) as rows:
        if not rows.returns_rows:
            raise ValueError("it returns no rows; allowed: a query")
        for number, row in enumerate(islice(rows, count), 1):
            one: object = row[0]
            if isinstance(one, bool) or not isinstance(one, int | str) or not str(one).strip():
                kind = f"{shown(one)}, of type {type(one).__name__}"
                raise ValueError(f"row {number}: the ID is {kind}; allowed: a whole number or text")
            if repeated(one):
                raise ValueError(f"row {number}: the ID {one!r} was there before; allowed: each once (select distinct)")
            yield one


def _engine(url: str, where: str) -> Engine:
    try:
        engine = open_engine(url)
    except SinkError as error:
        raise ConfigError(f"{where}: {error}") from None
    if engine.dialect.name != "sqlite":
        return engine
    name = engine.url.database
    if name and name != ":memory:" and not name.startswith("file:") and not Path(name).exists():
        # SQLite would make an empty one.
        raise ConfigError(f"{where}: {url_text(engine)}: no such file: {Path(name).absolute()}")
    # The sink's engine changes the file's journal, which a reader has no business to do.
    return create_engine(engine.url)


@contextmanager
def _told(start: str, engine: Engine) -> Generator[None]:
    """Makes what a driver raises, or a check of rows, one line that shows no password."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - drivers also raise what is no SQLAlchemyError
        cause = getattr(error, "orig", None) or error
        text = str(error) if type(error) is ValueError else one_line(cause)
        raise ConfigError(f"{start}: {without_password(text, engine.url)}") from None


def _from_call(config: Config, target: str, count: int | None) -> Iterable[Any] | AsyncIterable[Any]:
    start = config.where("source.call")
    function = resolve(target, config.folder, where=start)
    try:
        ids = function()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's function may raise anything
        raise ConfigError(f"{start}: {target}: it raised {describe_raised(error, config.folder)}") from None
    if _is_async(ids):
        return ids if count is None else _first(ids, count)
    if _is_sync(ids):
        return ids if count is None else islice(ids, count)
    hint = ""
    if inspect.iscoroutine(ids):
        ids.close()  # nobody will await it
        hint = "; an async function gives IDs with yield,"
    raise ConfigError(
        f"{start}: {target}: it returned {shown(ids)}, of type {type(ids).__name__}{hint or ';'} "
        "allowed: an iterable or async iterable of IDs"
    )


def _is_async(ids: object) -> TypeGuard[AsyncIterable[Any]]:
    return isinstance(ids, AsyncIterable)


def _is_sync(ids: object) -> TypeGuard[Iterable[Any]]:
    return isinstance(ids, Iterable) and not isinstance(ids, str | bytes)


async def _first(ids: AsyncIterable[Any], count: int) -> AsyncIterator[Any]:
    """The first of the IDs; no more than those are asked for, and the source is closed then."""
    iterator = aiter(ids)
    try:
        for _ in range(count):
            try:
                yield await anext(iterator)
            except StopAsyncIteration:
                return
    finally:
        if isinstance(iterator, AsyncGenerator):
            await iterator.aclose()
