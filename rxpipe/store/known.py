"""IDs that were asked for, and have ended before in the run, or in the hands of another worker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, select

from rxpipe.errors import CallFailed, CheckpointError
from rxpipe.outcome import Outcome
from rxpipe.store.given import PARAMETER, given
from rxpipe.store.outputs import decode
from rxpipe.store.schema import CHECKPOINTS, ITEMS


def ended(
    connection: Connection, run_id: int, ids: Mapping[str, int | str], stages: Sequence[str]
) -> list[tuple[str, Outcome[Any]]]:
    """How those of the items that have ended did.

    Args:
        connection: To read with.
        run_id: The run.
        ids: The IDs, by what the store knows them by.
        stages: The stages' names, and that of the sink's.

    Returns:
        What the store knows each by, and its outcome. What it failed with is only there as a text.
    """
    asked = given(connection.dialect.name, ITEMS.c.item_key)
    last = and_(
        CHECKPOINTS.c.run_id == ITEMS.c.run_id,
        CHECKPOINTS.c.item_key == ITEMS.c.item_key,
        CHECKPOINTS.c.stage == ITEMS.c.stage - 1,
    )
    query = (
        select(ITEMS, CHECKPOINTS.c.output, CHECKPOINTS.c.pickled)
        .select_from(asked.join(ITEMS, ITEMS.c.item_key == asked.c.item_key).outerjoin(CHECKPOINTS, last))
        .where(ITEMS.c.run_id == run_id, ITEMS.c.state.in_(("done", "dead")))
    )
    rows = connection.execute(query, {PARAMETER: json.dumps([{"item_key": key} for key in ids])})
    return [(row.item_key, _outcome(row, ids[row.item_key], stages)) for row in rows]


def _outcome(row: Row[Any], item_id: int | str, stages: Sequence[str]) -> Outcome[Any]:
    is_done = row.state == "done"
    return Outcome(
        id=item_id,
        status="written" if is_done else "failed",
        value=item_id if row.output is None else _value(row),
        error=None if is_done else CallFailed(row.last_error or "it failed before"),
        stage=None if is_done else stages[row.stage],
        attempts=row.attempts,
        seconds=0.0,
    )


def _value(row: Row[Any]) -> Any:
    try:
        return decode(row.output, row.pickled)
    except CheckpointError:  # of a class that is gone; the row is safe
        return None
