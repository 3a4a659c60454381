"""Reads values that the store keeps: stage results, values of sources, and the ends of children."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Executable, Row, and_, func, select

from rxpipe.database.json_rows import PARAMETER, is_among, is_in_keys, json_keys, keys_as_parameter, this_run
from rxpipe.pipeline.claim import Deferred
from rxpipe.store.commits.outputs import decode
from rxpipe.store.schema.tables import CHECKPOINTS, IS_NEWEST_CHECKPOINT, ITEMS

SOURCE = -1  # the index of a source's value among those of the stages


@dataclass(frozen=True, slots=True)
class KeptValue(Deferred):
    """A kept value, decoded only when it is asked for."""

    output: str
    pickled: str | None

    def load(self) -> Any:
        """Returns the value.

        Raises:
            CheckpointError: The value cannot be restored.
        """
        return decode(self.output, self.pickled)


def kept_values(
    connection: Connection, of_run: Mapping[str, Any], keys: Sequence[str]
) -> dict[str, dict[int, KeptValue]]:
    """Returns the kept values of items, by their keys and the indexes of the stages. Index -1 is the source's value."""
    found: dict[str, dict[int, KeptValue]] = {}
    if keys:
        parameters = {**of_run, PARAMETER: keys_as_parameter(keys)}
        for row in connection.execute(_values_statement(connection.dialect.name), parameters):
            found.setdefault(row.item_key, {})[row.stage] = KeptValue(row.output, row.pickled)
    return found


class Group(NamedTuple):
    """The children that one stage has made of an item, in the latest round.

    Attributes:
        first: Children of the item that were made before these in that round.
        rows: Their rows, in the order in which they were made; only for children that are collected.
        called_with: Inputs, by key, of children that ended in a call with children of their own. No checkpoint has
            these.
    """

    first: int
    rows: list[Row[Any]]
    called_with: dict[str, Any]


def groups_of(
    connection: Connection, of_run: Mapping[str, Any], parents: Sequence[str], collected: Sequence[str]
) -> dict[str, dict[int, Group]]:
    """Returns the children of items, by the items' keys and the stages that made them.

    Args:
        connection: In a transaction.
        of_run: The parameter of the run's number.
        parents: The keys of the items.
        collected: The keys of those that wait for their children, or were called with them.
    """
    found: dict[str, dict[int, Group]] = {key: {} for key in parents}
    dialect = connection.dialect.name
    if parents:
        parameters = {**of_run, PARAMETER: keys_as_parameter(parents)}
        for row in connection.execute(_groups_statement(dialect), parameters):
            found[row.parent_key][row.made_by] = Group(row.first, [], {})
    if collected:
        parameters = {**of_run, PARAMETER: keys_as_parameter(collected)}
        for row in connection.execute(_children_statement(dialect), parameters):
            found[row.parent_key][row.made_by].rows.append(row)
    return found


@cache
def _values_statement(dialect: str) -> Executable:
    columns = CHECKPOINTS.c.item_key, CHECKPOINTS.c.stage, CHECKPOINTS.c.output, CHECKPOINTS.c.pickled
    return select(*columns).where(CHECKPOINTS.c.run_id == this_run(), is_in_keys(dialect, CHECKPOINTS.c.item_key))


@cache
def _groups_statement(dialect: str) -> Executable:
    parents = json_keys(dialect)
    ours = and_(ITEMS.c.run_id == this_run(), is_among(dialect, ITEMS.c.parent_key, parents), ITEMS.c.number >= 0)
    columns = ITEMS.c.parent_key, ITEMS.c.made_by
    return select(*columns, func.min(ITEMS.c.number).label("first")).where(ours).group_by(*columns)


@cache
def _children_statement(dialect: str) -> Executable:
    parents = json_keys(dialect)
    return (
        select(ITEMS, CHECKPOINTS.c.output, CHECKPOINTS.c.pickled)
        .select_from(ITEMS.outerjoin(CHECKPOINTS, IS_NEWEST_CHECKPOINT))
        .where(ITEMS.c.run_id == this_run(), is_among(dialect, ITEMS.c.parent_key, parents), ITEMS.c.number >= 0)
        .order_by(ITEMS.c.parent_key, ITEMS.c.number)
    )
