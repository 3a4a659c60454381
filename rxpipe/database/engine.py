"""Engines from URLs, and every way a database cannot be opened as one clear error that shows no password."""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from rxpipe.database.encoding import one_line
from rxpipe.database.error_kinds import is_transient
from rxpipe.database.prepared_statements import stop_preparing_when_lost, threshold_in
from rxpipe.errors import SinkError
from rxpipe.extras import install

CONNECT_SECONDS = 5  # a server that does not answer by then is away
SILENT_SECONDS = 60.0  # that a transaction may take; then, too, the server counts as away
BUSY_SECONDS = 5  # how long SQLite waits for another writer
# A server that vanished without a word is noticed within half a minute instead of after hours.
_SILENT_NETWORK = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4, "tcp_user_timeout": 30_000}

# SQLAlchemy 2.0 and 2.1 differ in the driver they take for these, and neither may be the one that is
# installed.
_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
_EXTRAS = {"psycopg": "postgres", "pymysql": "mysql"}
_SYNC = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
_SECRET_OPTIONS = ("password", "passwd", "sslpassword")
# A connection that is lost is an error of the call that needed it. psycopg warns of it besides, which Python writes to
# standard error where nobody has set up logging.
logging.getLogger("psycopg").addHandler(logging.NullHandler())


def shown(database: str | URL | Engine) -> str:
    """A database's URL without its passwords."""
    if isinstance(database, str):
        try:
            url = _url(database)
        except Exception:  # noqa: BLE001 - ArgumentError, ValueError for a port: all mean that it is no URL
            scheme, separator, rest = database.partition("://")
            return f"{scheme}://***" if separator and rest else re.sub(r":.*@", ":***@", database)
    else:
        url = database.url if isinstance(database, Engine) else database
    query = {name: "***" if name in _SECRET_OPTIONS else value for name, value in url.query.items()}
    bare = url if url.database is None else url.set(database="")  # SQLAlchemy would escape all that is not ASCII
    text = bare.set(query=query).render_as_string(hide_password=True).replace("%2A%2A%2A", "***")
    before, mark, options = text.partition("?")
    return f"{before}{_path(url.database or '')}{mark}{options}"


def database_option(database: str | URL | Engine) -> str:
    """The option that has a command use this database, from any folder, as a shell takes it."""
    return f"--database {shlex.quote(whole_url(database))}"


def whole_url(database: str | URL | Engine) -> str:
    """A database's URL, of a file with its whole path; without passwords."""
    url = database.url if isinstance(database, Engine) else _parse(database)
    query = {name: value for name, value in url.query.items() if name not in _SECRET_OPTIONS}
    place = file_of(url) or url.database
    bare = URL.create(url.drivername, url.username, None, url.host, url.port, place, query)
    return shown(bare)


def is_same(one: str | URL | Engine, other: str | URL | Engine) -> bool:
    """Whether two name the same database, as far as their URLs tell."""
    if isinstance(one, Engine) or isinstance(other, Engine):
        return one is other  # its driver may be told to connect to anywhere
    try:
        return make_url(one) == make_url(other)
    except exc.ArgumentError:
        return False


def file_of(url: URL) -> str | None:
    """The whole path of an SQLite file; None of any other database."""
    name = url.database if url.get_backend_name() == "sqlite" else None
    return os.path.abspath(name) if name and ":memory:" not in name and not name.startswith("file:") else None


def _path(name: str) -> str:
    """A database's name as people write it; escaped is only what would have another meaning in a URL."""
    return re.sub(r"%(?=[0-9A-Fa-f]{2})", "%25", name).replace("?", "%3F")


def open_engine(database: str | URL | Engine) -> Engine:
    """The engine of a URL, not connected yet, or the engine that was given.

    Raises:
        SinkError: There can be no such engine.
    """
    if isinstance(database, Engine):
        if database.dialect.is_async:
            raise _is_async(database.url)
        if isinstance(database.pool, SingletonThreadPool):
            raise SinkError(
                f"{shown(database)}: with this engine every thread has an in-memory database of its own; "
                'create it with poolclass=StaticPool and connect_args={"check_same_thread": False}, or '
                "give its URL"
            )
        return database
    # Not every user's code is type-checked.
    if not isinstance(database, (str, URL)):  # pyright: ignore[reportUnnecessaryIsInstance]
        advice = "a sync Engine" if hasattr(database, "sync_engine") else "a URL or an Engine"
        raise SinkError(f"the database must be {advice}, not {type(database).__name__}: rows are written in a thread")
    url = _parse(database)
    if url.get_backend_name() == "sqlite":
        _check_path(url)
    try:
        return _create(url)
    except ImportError as error:
        raise SinkError(f"{shown(url)}: {_missing(url, error)}") from error
    except (exc.SQLAlchemyError, SinkError, TypeError, ValueError) as error:
        raise SinkError(without_password(f"{shown(url)}: {one_line(error)}", url)) from None


def failed_to_open(database: Engine, error: BaseException) -> SinkError:
    """The error that says that, and why, an engine's database cannot be opened."""
    cause = getattr(error, "orig", None) or error
    reason = one_line(cause)
    if "readonly" in reason or "unable to open" in reason:
        reason += f" (is {database.url.database} writable?)"
    return SinkError(without_password(f"cannot open {shown(database)}: {reason}", database.url))


def without_password(text: str, url: URL) -> str:
    """The text with ``***`` for the URL's password, should a driver have quoted it."""
    secrets = [str(url.password or ""), *(str(url.query.get(option, "")) for option in _SECRET_OPTIONS)]
    for secret in secrets:
        if len(secret) > 3:  # a shorter one would blot out half of the text
            text = text.replace(secret, "***")
    return text


@contextmanager
def begin(engine: Engine, check: Callable[[], object] = lambda: None) -> Generator[Connection]:
    """A transaction that can write from the start, committed when left, rolled back when left by an error.

    Args:
        engine: The engine.
        check: Called with the connection made, and again when all is committed; raises if something is wrong.

    Raises:
        SinkError: No connection can be made, and waiting will not help.
    """
    with _connect(engine) as connection:
        check()
        with connection.begin():
            driver: Any = connection.connection.dbapi_connection
            if connection.dialect.name == "sqlite" and not getattr(driver, "in_transaction", False):
                # sqlite3 begins a transaction at the first INSERT and not at a savepoint, which would then commit
                # when it is released; and a transaction that begins by reading may find that it cannot write.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
        check()


def _connect(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except Exception as error:
        if is_transient(error):
            raise
        raise failed_to_open(engine, error) from error  # whatever it is, no row is to blame


def commits_by_itself(connection: Connection) -> bool:
    """Whether a connection is in autocommit mode, where there are no transactions to rely on."""
    driver: Any = connection.connection.dbapi_connection
    asked = getattr(driver, "get_autocommit", None)  # PyMySQL and mysqlclient
    return bool(asked()) if callable(asked) else getattr(driver, "autocommit", False) is True


def _url(database: str | URL) -> URL:
    url = make_url(database)
    if "@" in (url.host or ""):
        raise ValueError("an @ in the password, which was taken for the end of it")
    return url


def _parse(database: str | URL) -> URL:
    try:
        url = _url(database)
    except Exception:  # noqa: BLE001 - ArgumentError, ValueError for a port: all mean that it is no URL
        hint = "postgresql://user:password@host/name (special characters of a password as %XX)"
        if "://" not in str(database):
            hint = f"sqlite:///{database}" if "@" not in str(database) else hint
        # From none: what SQLAlchemy says quotes the URL, password and all.
        raise SinkError(f"{shown(database)} is not a database URL; it looks like {hint}") from None
    if url.drivername in _DRIVERS:
        url = url.set(drivername=_DRIVERS[url.drivername])
    try:
        is_async = url.get_dialect().is_async
    except exc.NoSuchModuleError:
        known = "sqlite, postgresql, mysql, mariadb, or another with a SQLAlchemy dialect installed"
        raise SinkError(f"{shown(url)}: there is no dialect {url.drivername}; there are {known}") from None
    except ImportError as error:  # some dialects import their driver at once
        raise SinkError(f"{shown(url)}: {_missing(url, error)}") from error
    if is_async:
        raise _is_async(url)
    return url


def _is_async(url: URL) -> SinkError:
    sync = _SYNC.get(url.get_backend_name())
    advice = f"use {sync}://" if sync else "use its sync driver"
    return SinkError(f"{shown(url)}: the driver {url.drivername} is async, and rows are written in a thread; {advice}")


def _missing(url: URL, error: ImportError) -> str:
    module = url.get_driver_name()
    extra = _EXTRAS.get(module)
    hint = f"it needs the extra {extra}: {install(extra)}" if extra else f"install {error.name or module}"
    return f"its driver cannot be imported ({one_line(error)}): {hint}"


def _check_path(url: URL) -> None:
    """Say what is wrong with a path: SQLite itself says "unable to open database file" to everything."""
    name = url.database
    if not name or name == ":memory:" or name.startswith("file:"):
        return
    path = Path(name)
    if os.path.isdir(path):  # never raises, unlike Path's, which does for a name that is too long
        raise SinkError(f"cannot open {shown(url)}: {path} is a directory")
    if not os.path.isdir(path.absolute().parent):
        raise SinkError(f"cannot open {shown(url)}: there is no directory {path.absolute().parent}")


def _create(url: URL) -> Engine:
    backend, driver = url.get_backend_name(), url.get_driver_name()
    if backend == "sqlite":
        options: dict[str, Any] = {"check_same_thread": False, "timeout": BUSY_SECONDS}
    else:
        options = {"connect_timeout": CONNECT_SECONDS} if driver in ("psycopg", "psycopg2", "pymysql") else {}
        options |= _SILENT_NETWORK if driver in ("psycopg", "psycopg2") else {}
    arguments: dict[str, Any] = {name: value for name, value in options.items() if name not in url.query}
    if driver == "psycopg" and "client_encoding" not in url.query:
        arguments["client_encoding"] = "utf8"  # of SQL_ASCII psycopg makes bytes of text
    arguments |= threshold_in(url) if driver == "psycopg" else {}
    answers_late = driver == "pymysql" and "read_timeout" not in url.query
    if answers_late:
        arguments["read_timeout"] = CONNECT_SECONDS
    if backend == "sqlite" and _in_memory(url):
        engine = create_engine(url, poolclass=StaticPool, connect_args=arguments)
    else:
        engine = create_engine(url, pool_pre_ping=True, connect_args=arguments)
    if backend == "sqlite":
        event.listen(engine, "connect", _durable_and_fast)
    if driver == "psycopg":
        stop_preparing_when_lost(engine)
    if answers_late:
        event.listen(engine, "connect", _take_its_time)
    return engine


def _in_memory(url: URL) -> bool:
    return url.database in (None, "", ":memory:", "file::memory:") or url.query.get("mode") == "memory"


def _take_its_time(connection: Any, _record: Any) -> None:
    """Limit the server's greeting only: PyMySQL's ``connect_timeout`` does not, and no statement may be cut so soon."""
    connection._read_timeout = None


def _durable_and_fast(connection: Any, _record: Any) -> None:
    """WAL, so that readers never block the writer; synced, so that a commit survives a power cut."""
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
    finally:
        cursor.close()
