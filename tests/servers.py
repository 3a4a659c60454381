"""The servers that tests talk to: the usual ones of this machine, unless the environment names others."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from urllib.parse import urlsplit

import pytest
from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from rxpipe.llm.small_model import model_path

POSTGRES = os.environ.get("RXPIPE_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432/test")
MYSQL = os.environ.get("RXPIPE_TEST_MYSQL", "mysql+pymysql://root@127.0.0.1:3306/test")
WANTED = True  # whether tests may use servers; conftest.py says so


def answering(url: str) -> str:
    """The URL, if its server answers; else the test is skipped, or fails where servers are said to be there.

    ``RXPIPE_TEST_REQUIRE`` says so: parts of URLs, with commas between, such as ``postgresql``.
    """
    return _there(url, _why_not)


def answering_port(url: str) -> str:
    """The same of a broker: whether anything listens there."""
    return _there(url, _why_no_port)


def small_model() -> None:
    """Go on if the small language model has been fetched; else skip or fail as for a server, here ``model``."""
    pytest.importorskip("platformdirs", reason="the extra local is not installed")
    _there("model", lambda _: None if model_path().is_file() else "no model: run `rxpipe fetch-model`")


def _there(url: str, why_not: Callable[[str], str | None]) -> str:
    if not WANTED:
        pytest.skip("no servers are wanted")
    reason = why_not(url)
    if reason is None:
        return url
    required = filter(None, os.environ.get("RXPIPE_TEST_REQUIRE", "").split(","))
    if any(part in url for part in required):
        pytest.fail(reason)
    pytest.skip(reason)


@cache
def _why_no_port(url: str) -> str | None:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=2).close()
    except OSError as error:
        return f"no server: {url}: {error}"
    return None


@cache
def _why_not(url: str) -> str | None:
    engine = create_engine(url, connect_args={"connect_timeout": 2}, poolclass=NullPool)
    try:
        engine.connect().close()
    except SQLAlchemyError as error:
        return f"no server: {error}"
    return None


@contextmanager
def own_database(server: str) -> Generator[URL]:
    """A database on a PostgreSQL server, dropped afterwards whoever still uses it."""
    url = make_url(server)
    name = f"rxpipe_{uuid.uuid4().hex}"
    execute(url, f"CREATE DATABASE {name}")
    try:
        yield url.set(database=name)
    finally:
        execute(url, f"DROP DATABASE {name} WITH (FORCE)")


def execute(url: str | URL, *statements: str) -> None:
    """Execute statements, each on its own."""
    with _engine(make_url(url)).connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@cache
def _engine(url: URL) -> Engine:
    return create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
