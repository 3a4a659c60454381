"""A run as records, one for each item, in the order in which they were taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from sqlalchemy import Connection, Row, func, or_, select

from rxpipe.operators.core.running_call import Usage
from rxpipe.store.queries import usage
from rxpipe.store.queries.failures import final_failures, item_id, stage_of_item
from rxpipe.store.queries.history import RunInfo
from rxpipe.store.schema.tables import CHECKPOINTS, FAILURES, ITEMS

Status = Literal["written", "failed", "unfinished"]

_BATCH = 200  # items in memory at once
_DIGITS = 18  # of a number that fits into 64 bits in any case
_STATUSES: dict[str, Status] = {"written": "written", "failed": "failed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRecord:
    """An item.

    Attributes:
        id: Its ID, as the source gave it.
        status: How it ended; ``unfinished`` if it has not.
        outputs: What each stage returned, in their order, as JSON text; None for those that have not.
        error: Why it failed; None if it has not.
        failed_stage: Where; ``database`` if its row was refused.
        attempts: Calls made for it.
        failures: How many of them failed.
        usage: What the calls for it used, also those whose results do not apply any more.
    """

    id: int | str
    status: Status
    outputs: tuple[str | None, ...]
    error: str | None
    failed_stage: str | None
    attempts: int
    failures: int
    usage: Usage = field(default_factory=Usage)


class Records(Protocol):
    """What takes records: see ``export_files.py``."""

    def write(self, records: Sequence[ItemRecord]) -> None:
        """Take some more."""
        ...


def export(connection: Connection, run: RunInfo, to: Records) -> Counter[str]:
    """Hand all of a run over, in parts.

    Args:
        connection: In a transaction that sees one moment.
        run: The run.
        to: Takes the records.

    Returns:
        How many there were of each status.
    """
    counts: Counter[str] = Counter()
    for part in _parts(connection, run):
        counts.update(record.status for record in part)
        to.write(part)
    return counts


def has_integer_ids(connection: Connection, run: RunInfo) -> bool:
    """Whether all IDs are whole numbers of at most 64 bits."""
    is_other = or_(ITEMS.c.is_integer.is_(False), func.length(ITEMS.c.item_key) > _DIGITS)
    query = select(ITEMS.c.item_key).where(ITEMS.c.run_id == run.id, is_other).limit(1)
    return connection.execute(query).first() is None


def _parts(connection: Connection, run: RunInfo) -> Iterator[list[ItemRecord]]:
    stage = stage_of_item(run).label("stage_name")
    query = select(ITEMS, stage).where(ITEMS.c.run_id == run.id).order_by(ITEMS.c.seq, ITEMS.c.item_key)
    is_used = usage.has_usage(connection, run.id)
    with connection.execute(query.execution_options(yield_per=_BATCH)) as result:
        for rows in result.partitions():
            keys = [row.item_key for row in rows]
            outputs = _outputs(connection, run, keys)
            errors = _errors(connection, run, [row.item_key for row in rows if row.state == "failed"])
            used = usage.by_item(connection, run.id, keys) if is_used else {}
            yield [_record(run, row, outputs, errors, used.get(row.item_key, Usage())) for row in rows]


def _record(
    run: RunInfo, row: Row[Any], outputs: dict[tuple[str, int], str], errors: dict[str, tuple[str, str]], used: Usage
) -> ItemRecord:
    status = _STATUSES.get(row.state, "unfinished")
    stage, error = errors.get(row.item_key, ("", row.last_error)) if status == "failed" else ("", None)
    return ItemRecord(
        id=item_id(row.item_key, row.is_integer),
        status=status,
        outputs=tuple(outputs.get((row.item_key, index)) for index in range(len(run.stages))),
        error=error,
        failed_stage=(stage or row.stage_name) if status == "failed" else None,
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
    """The stage and the text of what made items dead letters."""
    if not keys:
        return {}
    final = final_failures(run, keys)
    query = select(FAILURES.c.item_key, FAILURES.c.stage, FAILURES.c.text).join(final, final.c.id == FAILURES.c.id)
    return {row.item_key: (row.stage, row.text) for row in connection.execute(query)}
