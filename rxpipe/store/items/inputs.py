"""The input of each stage for an item that is taken up again, as far as the store has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row

from rxpipe.errors import CheckpointError
from rxpipe.pipeline.children import DeferredChildren
from rxpipe.pipeline.claim import Deferred
from rxpipe.pipeline.outcome import Origin, Outcome
from rxpipe.pipeline.run.flow import NOWHERE
from rxpipe.store.items.ended_items import error_of, stage_of
from rxpipe.store.items.kept_values import SOURCE, Group, KeptValue, groups_of, kept_values


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOrder:
    """The stages of a pipeline, as far as the store needs them to reconstruct an item's way.

    Attributes:
        names: The names of the stages, and of the sink.
        makers: The index of each collecting stage, with the index of the stage that makes its children.
    """

    names: Sequence[str] = ()
    makers: Mapping[int, int] = field(default_factory=dict[int, int])


class Inputs(NamedTuple):
    """The stage at which an item goes on, and the inputs of its stages.

    Attributes:
        given: The input of each stage before the next one, as ``Deferred``.
        next: The input of the next stage; ``NOWHERE`` if it is gone.
        finished: The index of the next stage.
        born: Children made of the item in this round, by finished stages.
        unfinished: Kept children of an interrupted call of the next stage.
        record: The source's value for the item, or for its first parent; None if the source gave only an ID.
    """

    given: list[Any]
    next: Any
    finished: int
    born: int
    unfinished: int
    record: KeptValue | None


def read_inputs(
    connection: Connection, of_run: Mapping[str, Any], rows: Sequence[Row[Any]], order: StageOrder
) -> dict[str, Inputs]:
    """Read the inputs of items.

    Args:
        connection: In a transaction.
        of_run: The parameter of the run's number.
        rows: The items.
        order: The stages.

    Returns:
        The inputs, by the items' keys.
    """
    roots = {row.root_key for row in rows if row.root_key is not None}
    values = kept_values(connection, of_run, sorted({row.item_key for row in rows} | roots))
    collected = [row.item_key for row in rows if row.collected_by is not None]
    parents = [row.item_key for row in rows if row.children > 0 or row.collected_by is not None]
    groups = groups_of(connection, of_run, parents, collected)
    _read_what_children_were_called_with(connection, of_run, groups, order)
    return {
        row.item_key: _inputs_of(
            row,
            values.get(row.item_key, {}),
            groups.get(row.item_key, {}),
            values.get(row.root_key or row.item_key, {}).get(SOURCE),
            order,
        )
        for row in rows
    }


def _read_what_children_were_called_with(
    connection: Connection, of_run: Mapping[str, Any], families: Mapping[str, Mapping[int, Group]], order: StageOrder
) -> None:
    """Read the inputs of children that failed or were dropped in a call with their own children."""
    groups = [group for made in families.values() for group in made.values()]
    ended = {
        row.item_key: (row, group)
        for group in groups
        for row in group.rows
        if row.state in ("failed", "dropped") and waits(row)
    }
    if ended:
        for key, inputs in read_inputs(connection, of_run, [row for row, _ in ended.values()], order).items():
            ended[key][1].called_with[key] = inputs.next


def waits(row: Row[Any]) -> bool:
    """Returns True if the next call of an item is made with its children."""
    return row.collected_by is not None and row.stage <= row.collected_by


def _inputs_of(
    row: Row[Any],
    kept: Mapping[int, KeptValue],
    groups: Mapping[int, Group],
    record: KeptValue | None,
    order: StageOrder,
) -> Inputs:
    """Put together what the store has of an item.

    A stage after one with a checkpoint got that checkpoint's value. A stage that has a checkpoint itself, or has made
    children, though the stage before has none, was called with children. The stage that makes children for it may have
    made none, and may have been called with children itself.

    Args:
        row: The item.
        kept: Stage results, and the source's value.
        groups: The item's children, by the stages that made them.
        record: The source's value for the item, or for its first parent.
        order: The stages.
    """
    item_id = int(row.item_key) if row.is_integer else row.item_key
    first = 0 if row.made_by is None else row.made_by + 1
    upcoming = row.collected_by if waits(row) else row.stage
    called: set[int] = {*kept, *groups}
    if waits(row):
        called.add(upcoming)
    for stage in range(upcoming, first, -1):
        if stage in called and stage - 1 not in kept and stage in order.makers:
            called.add(order.makers[stage])
    given: list[Any] = []
    for stage in range(first, upcoming + 1):
        maker = order.makers.get(stage, -1)
        value: Any = NOWHERE
        if stage - 1 in kept:
            value = kept[stage - 1]
        elif stage == 0:
            value = item_id
        elif stage in called and maker >= first and given[maker - first] is not NOWHERE:
            children = groups.get(maker, Group(0, [], {}))
            value = DeferredChildren(
                item_id, given[maker - first], partial(_outcomes, children, item_id, record, order.names)
            )
        given.append(value)
    half = groups.get(upcoming)
    born = row.children if half is None else half.first
    return Inputs(given[:-1], given[-1], upcoming, born, row.children - born, record)


def _outcomes(
    children: Group, parent: int | str, record: KeptValue | None, stages: Sequence[str]
) -> list[Outcome[Any]]:
    """Returns how children ended.

    Raises:
        CheckpointError: The value of a child cannot be restored.
    """
    try:
        origin = Origin(parent=parent, record=loaded(record))
    except CheckpointError:  # its class is gone: the children may not need it
        origin = Origin(parent=parent)
    return [_outcome(row, children.called_with, origin, stages) for row in children.rows]


def _outcome(row: Row[Any], called_with: Mapping[str, Any], origin: Origin, stages: Sequence[str]) -> Outcome[Any]:
    error = error_of(row)
    kept = None if row.output is None else KeptValue(row.output, row.pickled)
    return Outcome(
        id=int(row.item_key) if row.is_integer else row.item_key,
        status=row.state,
        value=loaded(called_with.get(row.item_key, kept)),
        error=error,
        stage=None if error is None else stages[min(stage_of(row), len(stages) - 1)],
        attempts=row.attempts,
        seconds=0.0,
        origin=origin,
    )


def loaded(value: Any) -> Any:
    """Returns a value, loaded if it is ``Deferred``.

    Raises:
        CheckpointError: The value cannot be restored.
    """
    return value.load() if isinstance(value, Deferred) else value
