"""A run as records, one for each item, in the order in which the items were taken. Children follow their parents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, Protocol

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    UnaryExpression,
    and_,
    case,
    func,
    null,
    nulls_first,
    or_,
    select,
)

from rxpipe.operators.core.running_call import Usage
from rxpipe.store.queries import usage
from rxpipe.store.queries.failures import final_failures, item_id, stage_of_item
from rxpipe.store.queries.history import RunInfo
from rxpipe.store.schema.tables import CHECKPOINTS, FAILURES, ITEMS, PENDING

Status = Literal["written", "failed", "dropped", "expanded", "collected", "unfinished"]

STATUSES: tuple[Status, ...] = ("written", "failed", "dropped", "expanded", "collected", "unfinished")

_BATCH = 200  # items in memory at once
_DIGITS = 18  # digits of a number that fits into 64 bits in any case


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRecord:
    """An item of a run.

    Attributes:
        id: The item's ID, as the source or a stage gave it.
        parent: The ID of the item's parent; None if the item came from the source.
        status: How the item ended; ``unfinished`` if it has not ended.
        outputs: The result of each stage, in order, as JSON text; None for stages without a result.
        given: The source's value for the item, as JSON text; None if the source gave only an ID.
        error: Why the item failed or was dropped; None otherwise.
        failed_stage: The stage where it failed or was dropped; ``database`` if its row was refused.
        attempts: Calls made for the item.
        failures: How many of the calls failed.
        usage: Usage of the item's calls, including calls whose results no longer apply.
    """

    id: int | str
    status: Status
    outputs: tuple[str | None, ...]
    error: str | None
    failed_stage: str | None
    attempts: int
    failures: int
    usage: Usage = field(default_factory=Usage)
    parent: int | str | None = None
    given: str | None = None

    @property
    def newest(self) -> str | None:
        """The item's newest value, as JSON text: the result of the last stage that has returned."""
        return next((output for output in reversed(self.outputs) if output is not None), self.given)


class Records(Protocol):
    """Takes records: see ``export_files.py``."""

    def write(self, records: Sequence[ItemRecord]) -> None:
        """Take more records."""
        ...


def export(
    connection: Connection, run: RunInfo, to: Records, *, statuses: Collection[Status] = STATUSES
) -> Counter[str]:
    """Hand over all items of a run, in parts.

    Args:
        connection: In a transaction that sees one moment.
        run: The run.
        to: Takes the records.
        statuses: Only items with these statuses.

    Returns:
        How many items there were of each status.
    """
    counts: Counter[str] = Counter()
    for part in _parts(connection, run, statuses):
        counts.update(record.status for record in part)
        to.write(part)
    return counts


def has_integer_ids(connection: Connection, run: RunInfo) -> bool:
    """Returns True if all IDs are whole numbers of at most 64 bits. IDs of children are not."""
    is_other = or_(ITEMS.c.is_integer.is_(False), func.length(ITEMS.c.item_key) > _DIGITS)
    query = select(ITEMS.c.item_key).where(ITEMS.c.run_id == run.id, is_other).limit(1)
    return connection.execute(query).first() is None


def has_children(connection: Connection, run: RunInfo) -> bool:
    """Returns True if items of a run have children."""
    query = select(ITEMS.c.item_key).where(ITEMS.c.run_id == run.id, ITEMS.c.parent_key.is_not(None)).limit(1)
    return connection.execute(query).first() is not None


def is_among(statuses: Collection[Status]) -> ColumnElement[bool]:
    """Returns the condition that an item has one of these statuses."""
    states = [state for status in statuses for state in (PENDING if status == "unfinished" else (status,))]
    return ITEMS.c.state.in_(states)


def _parts(connection: Connection, run: RunInfo, statuses: Collection[Status]) -> Iterator[list[ItemRecord]]:
    query = _in_order(connection, run).where(is_among(statuses))
    is_used = usage.has_usage(connection, run.id)
    with connection.execute(query.execution_options(yield_per=_BATCH)) as result:
        for rows in result.partitions():
            keys = [row.item_key for row in rows]
            outputs = _outputs(connection, run, keys)
            errors = _errors(connection, run, [row.item_key for row in rows if row.state == "failed"])
            used = usage.by_item(connection, run.id, keys) if is_used else {}
            yield [_record(run, row, outputs, errors, used.get(row.item_key, Usage())) for row in rows]


def _in_order(connection: Connection, run: RunInfo) -> Select[Any]:
    """Returns the items of a run: parents before their children, and children in the order in which they were made."""
    deepest = connection.execute(select(func.max(ITEMS.c.depth)).where(ITEMS.c.run_id == run.id)).scalar_one() or 0
    above = [ITEMS, *(ITEMS.alias() for _ in range(deepest))]  # an item, its parent, its parent's parent, and so on
    joined: FromClause = ITEMS
    for one, parent in pairwise(above):
        joined = joined.outerjoin(parent, and_(parent.c.run_id == one.c.run_id, parent.c.item_key == one.c.parent_key))

    def at(level: int, column: str) -> UnaryExpression[Any]:
        """Returns a column of the item's ancestor that has ``level`` parents, or of the item itself.

        Null if it has fewer.
        """
        found = {depth: above[depth - level].c[column] for depth in range(level, deepest + 1)}
        place: UnaryExpression[Any] = nulls_first(case(found, value=ITEMS.c.depth))
        return place

    places: list[Any] = [ITEMS.c.seq, ITEMS.c.item_key]
    if deepest:
        places = [at(0, "seq"), at(0, "item_key")]
        places += [at(level, column) for level in range(1, deepest + 1) for column in ("number", "item_key")]
    stage = stage_of_item(run).label("stage_name")
    parent_is_integer = (above[1].c.is_integer if deepest else null()).label("parent_is_integer")
    query = select(ITEMS, stage, parent_is_integer).select_from(joined)
    return query.where(ITEMS.c.run_id == run.id).order_by(*places)


def _record(
    run: RunInfo, row: Row[Any], outputs: dict[tuple[str, int], str], errors: dict[str, tuple[str, str]], used: Usage
) -> ItemRecord:
    status: Status = "unfinished" if row.state in PENDING else row.state
    went_wrong = status in ("failed", "dropped")
    stage, error = errors.get(row.item_key, ("", row.last_error)) if went_wrong else ("", None)
    kept = [outputs.get((row.item_key, index)) if index < row.stage else None for index in range(-1, len(run.stages))]
    return ItemRecord(
        id=item_id(row.item_key, row.is_integer),
        parent=None if row.parent_key is None else item_id(row.parent_key, bool(row.parent_is_integer)),
        status=status,
        given=kept[0],
        outputs=tuple(kept[1:]),
        error=error,
        failed_stage=(stage or row.stage_name) if went_wrong else None,
        attempts=row.attempts,
        failures=row.failures,
        usage=used,
    )


def _outputs(connection: Connection, run: RunInfo, keys: Sequence[str]) -> dict[tuple[str, int], str]:
    columns = CHECKPOINTS.c
    query = select(columns.item_key, columns.stage, columns.output)
    rows = connection.execute(query.where(columns.run_id == run.id, columns.item_key.in_(keys)))
    return {(row.item_key, row.stage): row.output for row in rows}


def _errors(connection: Connection, run: RunInfo, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Returns the stage and the text of the errors that made items dead letters."""
    if not keys:
        return {}
    final = final_failures(run, keys)
    query = select(FAILURES.c.item_key, FAILURES.c.stage, FAILURES.c.text).join(final, final.c.id == FAILURES.c.id)
    return {row.item_key: (row.stage, row.text) for row in connection.execute(query)}
