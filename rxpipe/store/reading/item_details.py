"""Everything that a store keeps of one item."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from rxpipe.insight.reading import ItemDetails
from rxpipe.store.items.kept_values import SOURCE
from rxpipe.store.queries.failures import item_id
from rxpipe.store.reading.item_calls import calls_of_item
from rxpipe.store.reading.item_pages import item_row, rows_of
from rxpipe.store.schema.tables import CHECKPOINTS, ITEMS

_MOST_CHILDREN = 5_000  # children that are counted
_MOST_PARENTS = 100
_LONGEST = 1_000_000  # characters of a value


def item_details(connection: Connection, run_id: int, stages: Sequence[str], key: str) -> ItemDetails | None:
    """Returns the details of an item; None if there is no item with this key. Unpickles nothing."""
    row = item_row(connection, run_id, key)
    if row is None:
        return None
    outputs: dict[int | None, Any] = {
        output.stage: _shown(output.output) for output in _outputs(connection, run_id, key)
    }
    names = [
        (stages[stage], value) for stage, value in outputs.items() if stage is not None and 0 <= stage < len(stages)
    ]
    return ItemDetails(
        row=rows_of(connection, run_id, stages, [row])[0],
        value=outputs.get(SOURCE, outputs.get(_before_first(connection, run_id, key))),
        outputs=tuple(names),
        calls=tuple(calls_of_item(connection, run_id, row, stages)),
        parents=tuple(_parents(connection, run_id, row.parent_key)),
        children=_children(connection, run_id, key),
    )


def _outputs(connection: Connection, run_id: int, key: str) -> Sequence[Any]:
    columns = CHECKPOINTS.c.stage, func.substr(CHECKPOINTS.c.output, 1, _LONGEST + 1).label("output")
    query = select(*columns).where(CHECKPOINTS.c.run_id == run_id, CHECKPOINTS.c.item_key == key)
    return connection.execute(query.order_by(CHECKPOINTS.c.stage)).all()


def _before_first(connection: Connection, run_id: int, key: str) -> int | None:
    """Returns the index under which a child's value is kept: that of the stage that made it."""
    query = select(ITEMS.c.made_by).where(ITEMS.c.run_id == run_id, ITEMS.c.item_key == key)
    made_by: int | None = connection.execute(query).scalar()
    return made_by


def _shown(output: str) -> Any:
    """Returns a value as JSON data; of a very long value, the beginning of its text."""
    if len(output) > _LONGEST:
        return output[:_LONGEST] + "…"
    try:
        return json.loads(output)
    except ValueError:
        return output


def _parents(connection: Connection, run_id: int, key: str | None) -> list[int | str]:
    found: list[int | str] = []
    while key is not None and len(found) < _MOST_PARENTS:
        columns = ITEMS.c.item_key, ITEMS.c.is_integer, ITEMS.c.parent_key
        row = connection.execute(select(*columns).where(ITEMS.c.run_id == run_id, ITEMS.c.item_key == key)).first()
        if row is None:
            break
        found.append(item_id(row.item_key, row.is_integer))
        key = row.parent_key
    return found


def _children(connection: Connection, run_id: int, key: str) -> dict[str, int]:
    some = select(ITEMS.c.state).where(ITEMS.c.run_id == run_id, ITEMS.c.parent_key == key)
    counted = some.limit(_MOST_CHILDREN).subquery()
    query = select(counted.c.state, func.count().label("items")).group_by(counted.c.state)
    return {row.state: row.items for row in connection.execute(query)}
