"""Roles that may not make tables: the error names the command for the role that may."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from rxpipe.errors import SinkError

_FORBIDDEN = "42501"  # PostgreSQL's insufficient_privilege


@contextmanager
def tables_of_owner() -> Generator[None]:
    """Make or change tables inside.

    Raises:
        SinkError: The role may not do that.
    """
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _FORBIDDEN:
            raise
        reason = str(error.orig).partition("\n")[0]
        raise SinkError(
            f"{reason}; this role may not make or change tables: run `rxpipe migrate CONFIG` as their owner"
        ) from error
