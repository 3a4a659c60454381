"""What the store has kept of items: what stages returned, what sources gave, and how children ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Executable, Row, and_, func, select

from rxpipe.errors import CallFailed
from rxpipe.pipeline.decisions import Drop
from rxpipe.pipeline.outcome import Origin, Outcome
from rxpipe.pipeline.ports import Deferred
from rxpipe.store.commits.outputs import decode
from rxpipe.store.schema.json_rows import PARAMETER, is_among, is_in_rows, json_rows, keys_as_parameter, this_run
from rxpipe.store.schema.tables import CHECKPOINTS, IS_NEWEST_CHECKPOINT, ITEMS

SOURCE = -1  # the stage of what a source gave


@dataclass(frozen=True, slots=True)
class KeptValue(Deferred):
    """A value as it is kept, until it is asked for."""

    output: str
    pickled: str | None

    def load(self) -> Any:
        """The value.

        Raises:
            CheckpointError: It cannot be made again.
        """
        return decode(self.output, self.pickled)


def kept_values(
    connection: Connection, of_run: Mapping[str, Any], keys: Sequence[str]
) -> dict[str, dict[int, KeptValue]]:
    """What is kept of items, by their keys and the indexes of the stages; that of -1 is what the source gave."""
    found: dict[str, dict[int, KeptValue]] = {}
    if keys:
        parameters = {**of_run, PARAMETER: keys_as_parameter(keys)}
        for row in connection.execute(_values_statement(connection.dialect.name), parameters):
            found.setdefault(row.item_key, {})[row.stage] = KeptValue(row.output, row.pickled)
    return found


class Group(NamedTuple):
    """Children that one stage has made of an item, in the latest round.

    Attributes:
        first: How many children of the item were made before them, in that round.
        rows: How they ended, in the order in which they were made; of children that are collected.
    """

    first: int
    rows: list[Row[Any]]

    def outcomes(self, stages: Sequence[str]) -> list[Outcome[Any]]:
        """How they ended.

        Raises:
            CheckpointError: The value of one of them cannot be made again.
        """
        return [_outcome(row, stages) for row in self.rows]


def groups_of(
    connection: Connection, of_run: Mapping[str, Any], parents: Sequence[str], collected: Sequence[str]
) -> dict[str, dict[int, Group]]:
    """The children of items, by the items' keys and the stages that made them.

    Args:
        connection: In a transaction.
        of_run: The parameter of the run's number.
        parents: The items.
        collected: Those of them that wait for their children, or were called with them.
    """
    found: dict[str, dict[int, Group]] = {key: {} for key in parents}
    dialect = connection.dialect.name
    if parents:
        parameters = {**of_run, PARAMETER: keys_as_parameter(parents)}
        for row in connection.execute(_groups_statement(dialect), parameters):
            found[row.parent_key][row.made_by] = Group(row.first, [])
    if collected:
        parameters = {**of_run, PARAMETER: keys_as_parameter(collected)}
        for row in connection.execute(_children_statement(dialect), parameters):
            found[row.parent_key][row.made_by].rows.append(row)
    return found


def _outcome(row: Row[Any], stages: Sequence[str]) -> Outcome[Any]:
    error: BaseException | None = None
    if row.state == "dropped":
        error = Drop(row.last_error or "")
    elif row.state == "failed":
        error = CallFailed(row.last_error or "it failed before")
    return Outcome(
        id=int(row.item_key) if row.is_integer else row.item_key,
        status=row.state,
        value=None if row.output is None else decode(row.output, row.pickled),
        error=error,
        stage=None if error is None else stages[min(int(row.stage), len(stages) - 1)],
        attempts=row.attempts,
        seconds=0.0,
        origin=Origin(parent=row.parent_key),
    )


@cache
def _values_statement(dialect: str) -> Executable:
    columns = CHECKPOINTS.c.item_key, CHECKPOINTS.c.stage, CHECKPOINTS.c.output, CHECKPOINTS.c.pickled
    return select(*columns).where(CHECKPOINTS.c.run_id == this_run(), is_in_rows(dialect, CHECKPOINTS.c.item_key))


@cache
def _groups_statement(dialect: str) -> Executable:
    parents = select(json_rows(dialect, ITEMS.c.item_key).c.item_key)
    ours = and_(ITEMS.c.run_id == this_run(), is_among(dialect, ITEMS.c.parent_key, parents), ITEMS.c.number >= 0)
    columns = ITEMS.c.parent_key, ITEMS.c.made_by
    return select(*columns, func.min(ITEMS.c.number).label("first")).where(ours).group_by(*columns)


@cache
def _children_statement(dialect: str) -> Executable:
    parents = select(json_rows(dialect, ITEMS.c.item_key).c.item_key)
    return (
        select(ITEMS, CHECKPOINTS.c.output, CHECKPOINTS.c.pickled)
        .select_from(ITEMS.outerjoin(CHECKPOINTS, IS_NEWEST_CHECKPOINT))
        .where(ITEMS.c.run_id == this_run(), is_among(dialect, ITEMS.c.parent_key, parents), ITEMS.c.number >= 0)
        .order_by(ITEMS.c.parent_key, ITEMS.c.number)
    )
