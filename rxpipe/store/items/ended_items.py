"""IDs that were asked for, and have ended before in the run, or with another worker."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from sqlalchemy import Connection, Row, select

from rxpipe.errors import CallFailed, CheckpointError
from rxpipe.pipeline.outcome import Outcome
from rxpipe.store.commits.outputs import decode
from rxpipe.store.schema.json_rows import PARAMETER, is_in_rows, keys_as_parameter
from rxpipe.store.schema.tables import CHECKPOINTS, IS_NEWEST_CHECKPOINT, ITEMS

KeyedId = tuple[str, int | str]
"""An ID, and before it what the store knows it by: the same, if it is given as a text and as a number."""


def ended(
    connection: Connection, run_id: int, ids: Set[KeyedId], stages: Sequence[str]
) -> list[tuple[KeyedId, Outcome[Any]]]:
    """How those of the items that have ended did.

    Args:
        connection: To read with.
        run_id: The run.
        ids: The IDs.
        stages: The stages' names, and that of the sink's.

    Returns:
        Each that has, and its outcome. What it failed with is only there as a text.
    """
    query = (
        select(ITEMS, CHECKPOINTS.c.output, CHECKPOINTS.c.pickled)
        .select_from(ITEMS.outerjoin(CHECKPOINTS, IS_NEWEST_CHECKPOINT))
        .where(ITEMS.c.run_id == run_id, is_in_rows(connection.dialect.name, ITEMS.c.item_key))
        .where(ITEMS.c.state.in_(("written", "failed")))
    )
    by_key: dict[str, list[int | str]] = {}
    for key, one in ids:
        by_key.setdefault(key, []).append(one)
    rows = connection.execute(query, {PARAMETER: keys_as_parameter(by_key)})
    return [((row.item_key, one), _outcome(row, one, stages)) for row in rows for one in by_key[row.item_key]]


def _outcome(row: Row[Any], item_id: int | str, stages: Sequence[str]) -> Outcome[Any]:
    is_done = row.state == "written"
    return Outcome(
        id=item_id,
        status="written" if is_done else "failed",
        value=item_id if row.output is None else _value(row),
        error=None if is_done else CallFailed(row.last_error or "it failed before"),
        stage=None if is_done else stages[int(row.stage)],
        attempts=row.attempts,
        seconds=0.0,
    )


def _value(row: Row[Any]) -> Any:
    try:
        return decode(row.output, row.pickled)
    except CheckpointError:  # of a class that is gone; the row is safe
        return None
