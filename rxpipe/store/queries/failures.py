"""Failed calls, the items that they made dead letters, and the reasons of drops."""

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
"""The index of the stage that an item is at. For a parent whose children are made: the stage that collects them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureInfo:
    """A failed call.

    Attributes:
        id: The item's ID, as the source gave it.
        state: The item's state now.
        stage: The stage that failed; None if it is not known.
        attempt: The number of the attempt, from 1; 0 if the item failed before any call.
        calls: All calls made for the item.
        final: True if no other call followed.
        type: The type of the error.
        text: The error as one line.
        at: The time of the failure.
        traceback: The error's traceback; None unless it was asked for.
        input: The argument of the call, as JSON text; None unless it was asked for, or if it cannot be shown.
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
    """Failed calls with the same error, except for details in its text, such as numbers.

    Attributes:
        stage: The stage that failed.
        type: The type of the error.
        text: The error of some of the calls, as one line.
        count: How many calls failed.
        same: True if all calls had exactly this text.
    """

    stage: str | None
    type: str
    text: str
    count: int
    same: bool = True


def dead_letters(
    connection: Connection, run: RunInfo, *, stage: str | None = None, limit: int | None = None, verbose: bool = False
) -> Generator[FailureInfo]:
    """Returns the items that are dead letters now, each with its final failure, the latest first.

    Args:
        connection: In a transaction, until the last failure was read or the generator is closed.
        run: The run.
        stage: Only items that failed in this stage.
        limit: Most items to return.
        verbose: Include tracebacks and inputs.
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
    """Returns all failed calls, including those that were tried again, the latest first.

    Arguments as in ``dead_letters``.
    """
    place = func.nullif(FAILURES.c.stage, "").label("stage")
    query = select(*_columns(verbose=verbose), place).join(ITEMS, _is_of_item).where(FAILURES.c.run_id == run.id)
    if stage is not None:
        query = query.where(FAILURES.c.stage == stage)
    return _read(connection, query, limit)


def count_failed_calls(connection: Connection, run: RunInfo, stage: str | None = None) -> int:
    """Returns the number of failed calls."""
    query = select(func.count()).select_from(FAILURES).where(FAILURES.c.run_id == run.id)
    return connection.execute(query if stage is None else query.where(FAILURES.c.stage == stage)).scalar_one()


def count_failed(connection: Connection, run: RunInfo, stage: str | None = None) -> int:
    """Returns the number of failed items."""
    query = select(func.count()).select_from(ITEMS).where(ITEMS.c.run_id == run.id, IS_FAILED)
    return connection.execute(query if stage is None else query.where(stage_of_item(run) == stage)).scalar_one()


def causes(connection: Connection, run: RunInfo, most: int = 5) -> list[Cause]:
    """Returns the commonest errors of calls, the commonest first."""
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
    """Returns the commonest reasons of drops, the commonest first."""
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
    """Returns the ID (``id``) of each item's last final failure, for items that have one.

    Args:
        run: The run.
        keys: Only those of these items.
    """
    # The rows of one commit have the same time. Suppose an item failed in a stage, and its row that says so was
    # refused: then the item failed in the stage.
    last = FAILURES.c.at.desc(), case((FAILURES.c.stage == DATABASE, 1), else_=0), FAILURES.c.id
    place = func.row_number().over(partition_by=FAILURES.c.item_key, order_by=last).label("place")
    finals = select(FAILURES.c.id, place).where(FAILURES.c.run_id == run.id, FAILURES.c.final)
    ranked = (finals if keys is None else finals.where(FAILURES.c.item_key.in_(keys))).subquery()
    return select(ranked.c.id).where(ranked.c.place == 1).subquery()


def stage_of_item(run: RunInfo) -> ColumnElement[str]:
    """Returns the name of the stage that an item is at, as far as its checkpoints tell."""
    names = {index: stage.name for index, stage in enumerate(run.stages)}
    return case(names, value=INDEX_OF_STAGE, else_=DATABASE)


def item_id(key: str, is_integer: bool) -> int | str:
    """Returns an item's ID as the source gave it."""
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
