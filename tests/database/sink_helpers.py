"""What the tests of the sink share: outcomes, tables and what is in them, and the statements of an engine."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from sqlalchemy import CheckConstraint, Column, Engine, Float, Integer, MetaData, Row, String, Table, event, select

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


def statements_of(engine: Engine) -> list[str]:
    """The statements of the engine from now on, those of savepoints among them."""
    seen: list[str] = []

    def executed(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement.split()[0])

    def commit(_connection: Any) -> None:
        seen.append("COMMIT")

    event.listen(engine, "before_cursor_execute", executed)
    event.listen(engine, "commit", commit)
    return seen


def strict(name: str) -> Table:
    """A table that refuses a row for four reasons."""
    return Table(
        name,
        MetaData(),
        Column("id", String(20), primary_key=True),
        Column("title", String(5), CheckConstraint("length(title) <= 5"), nullable=False),
        Column("count", Integer),
        Column("grade", Float, CheckConstraint("grade >= 0")),
    )
