"""Engines from URLs. If a database cannot be opened, raises one clear error that shows no password."""

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

CONNECT_SECONDS = 5  # seconds after which a server that does not answer is away
SILENT_SECONDS = 60.0  # most seconds of a transaction; after that, too, the server counts as away
BUSY_SECONDS = 5  # seconds that SQLite waits for another writer
# Notices a silently vanished server within half a minute instead of after hours.
_SILENT_NETWORK = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4, "tcp_user_timeout": 30_000}

# SQLAlchemy 2.0 and 2.1 choose different drivers for these, and either may not be installed.
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
# A lost connection is an error of the call that needed it. psycopg also warns of it, and Python writes that to standard
# error if nobody has set up logging.
logging.getLogger("psycopg").addHandler(logging.NullHandler())


def shown(database: str | URL | Engine) -> str:
    """Returns a database's URL without its passwords."""
    if isinstance(database, str):
        try:
            url = _url(database)
        except Exception:  # noqa: BLE001 - ArgumentError, or ValueError for a port: both mean that it is no URL
            scheme, separator, rest = database.partition("://")
            return f"{scheme}://***" if separator and rest else re.sub(r":.*@", ":***@", database)
    else:
        url = database.url if isinstance(database, Engine) else database
    query = {name: "***" if name in _SECRET_OPTIONS else value for name, value in url.query.items()}
    # SQLAlchemy would escape all characters that are not ASCII.
    bare = url if url.database is None else url.set(database="")
    text = bare.set(query=query).render_as_string(hide_password=True).replace("%2A%2A%2A", "***")
    before, mark, options = text.partition("?")
    return f"{before}{_path(url.database or '')}{mark}{options}"


def database_option(database: str | URL | Engine) -> str:
    """Returns the option by which a command uses this database, from any folder, quoted for a shell."""
    return f"--database {shlex.quote(whole_url(database))}"


def whole_url(database: str | URL | Engine) -> str:
    """Returns a database's URL without passwords; for a file, with its whole path."""
    url = database.url if isinstance(database, Engine) else _parse(database)
    query = {name: value for name, value in url.query.items() if name not in _SECRET_OPTIONS}
    place = file_of(url) or url.database
    bare = URL.create(url.drivername, url.username, None, url.host, url.port, place, query)
    return shown(bare)


def is_same(one: str | URL | Engine, other: str | URL | Engine) -> bool:
    """Returns True if two values name the same database, as far as their URLs tell."""
    if isinstance(one, Engine) or isinstance(other, Engine):
        return one is other  # an engine's driver may be told to connect anywhere
    try:
        return make_url(one) == make_url(other)
    except exc.ArgumentError:
        return False


def file_of(url: URL) -> str | None:
    """Returns the whole path of an SQLite file; None for other databases."""
    name = url.database if url.get_backend_name() == "sqlite" else None
    return os.path.abspath(name) if name and ":memory:" not in name and not name.startswith("file:") else None


def _path(name: str) -> str:
    """Returns a database's name as people write it. Escapes only what would have another meaning in a URL."""
    return re.sub(r"%(?=[0-9A-Fa-f]{2})", "%25", name).replace("?", "%3F")


def open_engine(database: str | URL | Engine) -> Engine:
    """Returns the engine of a URL, not connected yet, or the given engine.

    Raises:
        SinkError: No engine can be made of it.
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
    """Returns the error for an engine whose database cannot be opened, with the reason."""
    cause = getattr(error, "orig", None) or error
    reason = one_line(cause)
    if "readonly" in reason or "unable to open" in reason:
        reason += f" (is {database.url.database} writable?)"
    return SinkError(without_password(f"cannot open {shown(database)}: {reason}", database.url))


def without_password(text: str, url: URL) -> str:
    """Returns a text with ``***`` in place of the URL's password, in case a driver has quoted it."""
    secrets = [str(url.password or ""), *(str(url.query.get(option, "")) for option in _SECRET_OPTIONS)]
    for secret in secrets:
        if len(secret) > 3:  # a shorter one would blot out half of the text
            text = text.replace(secret, "***")
    return text


@contextmanager
def begin(engine: Engine, check: Callable[[], object] = lambda: None) -> Generator[Connection]:
    """A transaction that can write from the start. Commits at its end; rolls back after an error.

    Args:
        engine: The engine.
        check: Called once connected, and again when all is committed. Raises if something is wrong.

    Raises:
        SinkError: No connection can be made, and waiting does not help.
    """
    with _connect(engine) as connection:
        check()
        with connection.begin():
            driver: Any = connection.connection.dbapi_connection
            if connection.dialect.name == "sqlite" and not getattr(driver, "in_transaction", False):
                # sqlite3 begins a transaction at the first INSERT and not at a savepoint. Then the release of the
                # savepoint would commit. And a transaction that begins by reading may find that it cannot write.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
        check()


def _connect(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except Exception as error:
        if is_transient(error):
            raise
        raise failed_to_open(engine, error) from error  # whatever the error, no row is to blame


def commits_by_itself(connection: Connection) -> bool:
    """Returns True if a connection is in autocommit mode, where there are no transactions to rely on."""
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
    except Exception:  # noqa: BLE001 - ArgumentError, or ValueError for a port: both mean that it is no URL
        hint = "postgresql://user:password@host/name (special characters of a password as %XX)"
        if "://" not in str(database):
            hint = f"sqlite:///{database}" if "@" not in str(database) else hint
        # From None: SQLAlchemy's error quotes the URL with its password.
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
    """Raise if a path cannot hold a database: SQLite itself says "unable to open database file" for any reason."""
    name = url.database
    if not name or name == ":memory:" or name.startswith("file:"):
        return
    path = Path(name)
    if os.path.isdir(path):  # never raises, unlike Path.is_dir, which does for a name that is too long
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
        arguments["client_encoding"] = "utf8"  # from SQL_ASCII, psycopg makes bytes of text
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
    """Limit only the server's greeting, which PyMySQL's ``connect_timeout`` does not. Statements may take longer."""
    connection._read_timeout = None


def _durable_and_fast(connection: Any, _record: Any) -> None:
    """Set WAL, so that readers never block the writer; and full sync, so that a commit survives a power cut."""
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
    finally:
        cursor.close()
