"""What the tests of the sink share: outcomes, and reading a table back."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from sqlalchemy import Row, Table, select

from rxpipe.database.writer import Writer
from rxpipe.pipeline.outcome import Outcome


class MakeWriter(Protocol):
    """Opens a writer on the test's database; it is closed, and its table dropped, after the test."""

    def __call__(self, *, table: Any = ..., row: Any = ..., database: Any = ...) -> Writer: ...


def outcome(
    item_id: Any,
    value: Any = None,
    *,
    status: Literal["written", "failed", "dropped", "cancelled"] = "written",
    error: BaseException | None = None,
    stage: str | None = None,
) -> Outcome[Any]:
    return Outcome(id=item_id, status=status, value=value, error=error, stage=stage, attempts=3, seconds=1.5)


def stored(writer: Writer, table: Table | None = None) -> dict[Any, Row[Any]]:
    """The rows of the writer's table by their first column."""
    with writer.engine.connect() as connection:
        return {row[0]: row for row in connection.execute(select(writer.table if table is None else table))}
