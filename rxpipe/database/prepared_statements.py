"""Prepared statements, which connection poolers between a program and PostgreSQL may lose.

A pooler in transaction mode, such as PgBouncer, gives each transaction any connection of the server. A statement that
psycopg prepared on one of them does not exist on the next. With ``prepare_threshold=none`` in the URL, psycopg prepares
nothing. Without it, the engine stops preparing after the first lost statement.
"""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import URL, Engine, event
from sqlalchemy.engine import ExceptionContext

from rxpipe.errors import SinkError

_OPTION = "prepare_threshold"
LOST_STATES = frozenset({"26000", "42P05"})  # no such prepared statement; a statement of that name exists already

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def threshold_in(url: URL) -> dict[str, int | None]:
    """Returns what the URL says about prepared statements, as psycopg takes it.

    Raises:
        SinkError: The option is neither a whole number nor ``none``.
    """
    given = url.query.get(_OPTION)
    if given is None:
        return {}
    if isinstance(given, str) and given.lower() == "none":
        return {_OPTION: None}
    if isinstance(given, str) and given.isdecimal():
        return {_OPTION: int(given)}
    raise SinkError(f"{_OPTION} is a whole number or none, not {given}: {_OPTION}=none prepares no statements")


def stop_preparing_when_lost(engine: Engine) -> None:
    """Prepare no more statements on any connection of the engine once a statement was lost."""
    are_lost = False

    def failed(context: ExceptionContext) -> None:
        nonlocal are_lost
        if getattr(context.original_exception, "sqlstate", None) not in LOST_STATES:
            return
        if not are_lost:
            are_lost = True
            _log.warning(
                "prepared statements are lost between transactions, none are prepared from now on",
                hint=f"behind PgBouncer in transaction mode, end the database's URL with ?{_OPTION}=none",
            )
        if context.connection is not None:
            _prepare_nothing(context.connection.connection.dbapi_connection)

    def checked_out(driver: Any, *_: Any) -> None:
        if are_lost:
            _prepare_nothing(driver)

    event.listen(engine, "handle_error", failed)
    event.listen(engine, "checkout", checked_out)


def _prepare_nothing(driver: Any) -> None:
    driver.prepare_threshold = None
