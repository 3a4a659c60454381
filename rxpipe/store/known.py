"""IDs that were asked for, and have ended before in the run, or in the hands of another worker."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, Row, and_, select

from rxpipe.database.rows import key_text
from rxpipe.errors import CallFailed, CheckpointError, RxPipeError
from rxpipe.outcome import Outcome
from rxpipe.store.given import PARAMETER, given
from rxpipe.store.outputs import decode
from rxpipe.store.schema import CHECKPOINTS, ITEMS

Known = tuple[str, int | str]
"""An ID, and before it what the store knows it by: the same, if it is given as a text and as a number."""


def keyed(ids: Iterable[int | str]) -> Iterator[Known]:
    """The IDs that a store can know."""
    for one in ids:
        with suppress(RxPipeError):
            yield key_text(one), one


def ended(
    connection: Connection, run_id: int, ids: Set[Known], stages: Sequence[str]
) -> list[tuple[Known, Outcome[Any]]]:
    """How those of the items that have ended did.

    Args:
        connection: To read with.
        run_id: The run.
        ids: The IDs.
        stages: The stages' names, and that of the sink's.

    Returns:
        Each that has, and its outcome. What it failed with is only there as a text.
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
    by_key: dict[str, list[int | str]] = {}
    for key, one in ids:
        by_key.setdefault(key, []).append(one)
    rows = connection.execute(query, {PARAMETER: json.dumps([{"item_key": key} for key in by_key])})
    return [((row.item_key, one), _outcome(row, one, stages)) for row in rows for one in by_key[row.item_key]]


def _outcome(row: Row[Any], item_id: int | str, stages: Sequence[str]) -> Outcome[Any]:
    is_done = row.state == "done"
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
