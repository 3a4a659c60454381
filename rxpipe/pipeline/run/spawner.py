"""Makes children of the values that the function of a stage with ``expand`` gives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from rxpipe.operators.stages.settings import KEPT, Kept, StageStats
from rxpipe.pipeline.claim import Claim, Journal, Spawning
from rxpipe.pipeline.record import Record, check_id
from rxpipe.pipeline.run.flow import Flow
from rxpipe.pipeline.run.item import Group, Item
from rxpipe.pipeline.run.stage_role import StageRole


class Spawner:
    """Makes the children of a stage's items.

    With a store, the children of a list are stored together, and those of an iterator one by one. A later attempt does
    not make a child again that an earlier attempt has made.

    Attributes:
        stats: The stage's counts.
    """

    def __init__(self, role: StageRole, flow: Flow, journal: Journal | None, now: Callable[[], float]) -> None:
        """Begin without children.

        Args:
            role: The role of the stage.
            flow: Takes children into the run.
            journal: Stores children; None without a store.
            now: Returns the time, in seconds.
        """
        self.stats = StageStats()
        self._index = role.index
        self._collected_by = role.collected_by
        self._flow = flow
        self._journal = journal
        self._now = now

    def begin(self, parent: Item, values: Any) -> None:
        """A call begins to give values.

        Raises:
            ConfigError: A value of a list cannot be a child.
            CheckpointError: A value of a list cannot be stored.
        """
        group = self._flow.begin_children(parent, self._collected_by)
        group.given = 0
        if self._journal is not None and parent.claim is not None and isinstance(values, Collection):
            given: Collection[Any] = values  # pyright: ignore[reportUnknownVariableType] - of anything
            new = list(given)[group.made :]
            group.claims.extend(self._keep(parent, group, new, is_all=True))

    def spawn(self, item: Item, value: Any) -> Item | Kept:
        """Returns the child for a value; ``KEPT`` if an earlier attempt has made it, or if the run is over.

        Raises:
            ConfigError: The value cannot be a child.
            CheckpointError: The value cannot be stored.
        """
        group = item.children
        assert group is not None
        group.given += 1
        self.stats.spawned += 1
        if group.given <= group.made:
            return KEPT
        if group.claims:
            child = Item(group.claims.popleft(), self._now())
        elif self._journal is not None and item.claim is not None:
            child = Item(self._keep(item, group, [value])[0], self._now())
        else:
            child = Item(record_of(item, value, group.first + group.made), self._now())
            child.first = child.finished = self._index + 1
        return self._flow.spawn(item, child) or KEPT

    def end(self, parent: Item) -> None:
        """The call has given its last value."""
        group = parent.children
        assert group is not None
        if self._journal is not None and parent.claim is not None and not group.is_kept:
            self._keep(parent, group, [], is_all=True)

    def _keep(self, parent: Item, group: Group, values: Sequence[Any], *, is_all: bool = False) -> list[Claim]:
        assert self._journal is not None
        assert parent.claim is not None
        first = group.first + group.made
        records = [record_of(parent, value, first + place) for place, value in enumerate(values)]
        group.is_kept = is_all
        spawning = Spawning(
            stage=self._index,
            first=first,
            depth=parent.depth + 1,
            attempts=parent.attempts,
            is_all=is_all,
            collected_by=group.collected_by,
            hands_over=is_all and group.is_split,
            outcome=parent.as_expanded(self._now()) if is_all and group.collected_by is None else None,
        )
        return self._journal.spawn(parent.claim, records, spawning)


def record_of(parent: Item, value: Any, number: int) -> Record:
    """Returns the record of a child: the value with the child's ID. A ``Record`` keeps its own ID.

    Raises:
        ConfigError: The record's ID is bad.
    """
    if isinstance(value, Record):
        if (wrong := check_id(value, "a child")) is not None:
            raise wrong
        return value  # pyright: ignore[reportUnknownVariableType] - a record of anything
    return Record(parent.child_id(number), value)
