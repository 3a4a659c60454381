"""What an item that is taken up again came with into each of its stages, as far as the store knows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Row

from rxpipe.pipeline.children import DeferredChildren
from rxpipe.pipeline.ports import Deferred
from rxpipe.pipeline.run.flow import NOWHERE
from rxpipe.store.items.kept_values import Group, KeptValue


class Inputs(NamedTuple):
    """Where an item goes on, and with what.

    Attributes:
        given: What it came with into each stage before the next one, as ``Deferred``.
        next: The same for the next one; ``NOWHERE`` if that is gone.
        finished: The index of the next one.
        born: How many children were made of it in this round, by stages that are over.
        unfinished: How many children are kept of a call of the next one that was interrupted.
    """

    given: list[Any]
    next: Any
    finished: int
    born: int
    unfinished: int


def waits(row: Row[Any]) -> bool:
    """Whether an item is called next with its children."""
    return row.collected_by is not None and row.stage <= row.collected_by


def inputs_of(
    row: Row[Any],
    item_id: int | str,
    kept: Mapping[int, KeptValue],
    groups: Mapping[int, Group],
    stages: Sequence[str],
) -> Inputs:
    """Put together what is kept of an item.

    A stage behind one with a checkpoint got what that returned. One that has a checkpoint itself, or has made children,
    though the stage before has none, was called with the children of the last stage that got something.

    Args:
        row: The item.
        item_id: Its ID.
        kept: What stages returned, and what its source gave.
        groups: Its children, by the stages that made them.
        stages: The stages' names, and that of the sink's.
    """
    first = 0 if row.made_by is None else row.made_by + 1
    upcoming = row.collected_by if waits(row) else row.stage
    given: list[Any] = []
    maker = first
    for stage in range(first, upcoming + 1):
        is_called = stage in kept or stage in groups or (stage == upcoming and waits(row))
        if stage - 1 in kept:
            value: Any = kept[stage - 1]
        elif stage == 0:
            value = item_id
        elif stage > first and is_called and given[maker - first] is not NOWHERE:
            children = groups.get(maker, Group(0, []))
            value = DeferredChildren(item_id, given[maker - first], partial(children.outcomes, stages))
        else:
            given.append(NOWHERE)
            continue
        maker = stage
        given.append(value)
    half = groups.get(upcoming)
    born = row.children if half is None else half.first
    return Inputs(given[:-1], given[-1], upcoming, born, row.children - born)


def loaded(value: Any) -> Any:
    """A value that may be ``Deferred``.

    Raises:
        CheckpointError: It cannot be made again.
    """
    return value.load() if isinstance(value, Deferred) else value
