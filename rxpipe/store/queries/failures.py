"""Failed calls, the items that they made dead letters, and why items were dropped."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Subquery, and_, case, func, select

from rxpipe.pipeline.outcome import CommonError
from rxpipe.pipeline.run.error_counts import KINDS, LONGEST, without_what_varies
from rxpipe.store.queries.history import DATABASE, RunInfo
from rxpipe.store.schema.tables import FAILURES, ITEMS

IS_FAILED = ITEMS.c.state == "failed"
INDEX_OF_STAGE = case((ITEMS.c.collected_by > ITEMS.c.stage, ITEMS.c.collected_by), else_=ITEMS.c.stage)
"""The index of the stage that an item is at: of a parent whose children are made, that of their collector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureInfo:
    """A failed call.

    Attributes:
        id: The item's ID, as the source gave it.
        state: What the item has come to since.
        stage: Where it failed; None if that is not known.
        attempt: The call's number.
        calls: Calls made for the item in all.
        final: Whether no other call followed it.
        type: What it raised.
        text: The error as one line.
        at: When.
        traceback: Where; None unless it was asked for.
        input: What it was called with, as JSON text; None unless it was asked for, and where it cannot be said.
    """

    id: int | str
    state: str
    stage: str | None
    attempt: int
    calls: int
    final: bool
    type: str
    text: str
    at: float
    traceback: str | None
    input: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Failed calls with the same error, but for numbers in its text.

    Attributes:
        stage: Where.
        type: What was raised.
        text: The error of some of them, as one line.
        count: How many.
        same: Whether all had that very text.
    """

    stage: str | None
    type: str
    text: str
    count: int
    same: bool = True


def dead_letters(
    connection: Connection, run: RunInfo, *, stage: str | None = None, limit: int | None = None, verbose: bool = False
) -> Generator[FailureInfo]:
    """The items that have failed now, each with its final failure, the latest first.

    Args:
        connection: In a transaction, until the last one was taken, or the generator is closed.
        run: The run.
        stage: Only those that failed there.
        limit: So many at most.
        verbose: With tracebacks and inputs.
    """
    final = final_failures(run)
    columns = _columns(verbose=verbose)
    place = func.coalesce(func.nullif(FAILURES.c.stage, ""), stage_of_item(run)).label("stage")
    query = select(*columns, place).join(final, final.c.id == FAILURES.c.id).join(ITEMS, _is_of_item)
    query = query.where(IS_FAILED)
    if stage is not None:
        query = query.where(stage_of_item(run) == stage)
    return _read(connection, query, limit)


def failed_calls(
    connection: Connection, run: RunInfo, *, stage: str | None = None, limit: int | None = None, verbose: bool = False
) -> Generator[FailureInfo]:
    """All failed calls, also those that another one followed, the latest first; arguments as above."""
    place = func.nullif(FAILURES.c.stage, "").label("stage")
    query = select(*_columns(verbose=verbose), place).join(ITEMS, _is_of_item).where(FAILURES.c.run_id == run.id)
    if stage is not None:
        query = query.where(FAILURES.c.stage == stage)
    return _read(connection, query, limit)


def count_failed_calls(connection: Connection, run: RunInfo, stage: str | None = None) -> int:
    """How many there are."""
    query = select(func.count()).select_from(FAILURES).where(FAILURES.c.run_id == run.id)
    return connection.execute(query if stage is None else query.where(FAILURES.c.stage == stage)).scalar_one()


def count_failed(connection: Connection, run: RunInfo, stage: str | None = None) -> int:
    """How many items have failed."""
    query = select(func.count()).select_from(ITEMS).where(ITEMS.c.run_id == run.id, IS_FAILED)
    return connection.execute(query if stage is None else query.where(stage_of_item(run) == stage)).scalar_one()


def causes(connection: Connection, run: RunInfo, most: int = 5) -> list[Cause]:
    """The errors that most calls failed with, the commonest first."""
    text = func.substr(FAILURES.c.text, 1, LONGEST).label("text")
    columns = FAILURES.c.stage, FAILURES.c.type, text
    calls = func.count().label("calls")
    query = select(*columns, calls).where(FAILURES.c.run_id == run.id).group_by(*columns).order_by(calls.desc(), text)
    found: dict[tuple[str, str, str], Cause] = {}
    for row in connection.execute(query.execution_options(yield_per=1000)):
        key = row.stage, row.type, without_what_varies(row.text)
        if (cause := found.get(key)) is not None:
            found[key] = replace(cause, count=cause.count + row.calls, same=False)
        elif len(found) < KINDS:
            found[key] = Cause(stage=row.stage or None, type=row.type, text=row.text, count=row.calls)
    return sorted(found.values(), key=lambda cause: -cause.count)[:most]


def drops(connection: Connection, run: RunInfo, most: int = 5) -> list[CommonError]:
    """The reasons for which most items were dropped, the commonest first."""
    text = func.coalesce(func.substr(ITEMS.c.last_error, 1, LONGEST), "").label("text")
    columns = stage_of_item(run).label("stage_name"), text
    items = func.count().label("items")
    query = select(*columns, items).where(ITEMS.c.run_id == run.id, ITEMS.c.state == "dropped")
    query = query.group_by(*columns).order_by(items.desc(), text)
    found: dict[tuple[str, str], CommonError] = {}
    for row in connection.execute(query.execution_options(yield_per=1000)):
        key = row.stage_name, without_what_varies(row.text)
        if (drop := found.get(key)) is not None:
            found[key] = replace(drop, count=drop.count + row.items, same=False)
        elif len(found) < KINDS:
            found[key] = CommonError(row.stage_name, row.text, row.items)
    return sorted(found.values(), key=lambda drop: -drop.count)[:most]


def final_failures(run: RunInfo, keys: Sequence[str] | None = None) -> Subquery:
    """The IDs of failures (``id``), for each item that has one that of its last final failure.

    Args:
        run: The run.
        keys: Only those of these items.
    """
    # The rows of one commit have the same time: an item that failed in a stage, and whose row that says so was
    # refused besides, failed in the stage.
    last = FAILURES.c.at.desc(), case((FAILURES.c.stage == DATABASE, 1), else_=0), FAILURES.c.id
    place = func.row_number().over(partition_by=FAILURES.c.item_key, order_by=last).label("place")
    finals = select(FAILURES.c.id, place).where(FAILURES.c.run_id == run.id, FAILURES.c.final)
    ranked = (finals if keys is None else finals.where(FAILURES.c.item_key.in_(keys))).subquery()
    return select(ranked.c.id).where(ranked.c.place == 1).subquery()


def stage_of_item(run: RunInfo) -> ColumnElement[str]:
    """The name of the stage that an item is at, as far as its checkpoints tell."""
    names = {index: stage.name for index, stage in enumerate(run.stages)}
    return case(names, value=INDEX_OF_STAGE, else_=DATABASE)


def item_id(key: str, is_integer: bool) -> int | str:
    """An item's ID as the source gave it."""
    return int(key) if is_integer else key


_is_of_item = and_(ITEMS.c.run_id == FAILURES.c.run_id, ITEMS.c.item_key == FAILURES.c.item_key)


def _columns(*, verbose: bool) -> list[ColumnElement[Any]]:
    items, failures = ITEMS.c, FAILURES.c
    columns: list[ColumnElement[Any]] = [items.item_key, items.is_integer, items.state, items.attempts]
    columns += [failures.attempt, failures.final, failures.type, failures.text, failures.at]
    return [*columns, failures.traceback, failures.input] if verbose else columns


def _read(connection: Connection, query: Select[Any], limit: int | None) -> Generator[FailureInfo]:
    query = query.order_by(FAILURES.c.at.desc(), ITEMS.c.seq, FAILURES.c.attempt.desc(), FAILURES.c.id).limit(limit)
    with connection.execute(query.execution_options(yield_per=500)) as rows:
        for row in rows:
            yield FailureInfo(
                id=item_id(row.item_key, row.is_integer),
                state=row.state,
                stage=row.stage,
                attempt=row.attempt,
                calls=row.attempts,
                final=row.final,
                type=row.type,
                text=row.text,
                at=row.at,
                traceback=getattr(row, "traceback", None),
                input=getattr(row, "input", None),
            )
