"""``Children``: what a collecting stage is called with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, overload

from typing_extensions import TypeVar  # with defaults, which typing has from Python 3.13 on

from rxpipe.pipeline.claim import Deferred
from rxpipe.pipeline.outcome import Outcome

T = TypeVar("T", covariant=True, default=Any)


class Children(Sequence[Outcome[T]], Generic[T]):
    """How all children of one item ended, in the order in which they were made.

    A child that reached the stage has the status ``collected``; the others have failed, or were dropped.

    Attributes:
        id: The parent's ID.
        parent: What the parent was before it was expanded.
        values: Those of the children that reached the stage.
    """

    def __init__(self, item_id: int | str, parent: Any, outcomes: Sequence[Outcome[T]]) -> None:
        self.id = item_id
        self.parent = parent
        self._outcomes = tuple(outcomes)

    @property
    def values(self) -> list[T]:
        """The values of the children that reached the stage."""
        return [one.value for one in self._outcomes if one.status == "collected"]

    @overload
    def __getitem__(self, index: int) -> Outcome[T]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Outcome[T]]: ...
    def __getitem__(self, index: int | slice) -> Outcome[T] | Sequence[Outcome[T]]:
        """One of them, or some."""
        return self._outcomes[index]

    def __len__(self) -> int:
        """How many there were."""
        return len(self._outcomes)

    def __repr__(self) -> str:
        """With the parent's ID and the number of each status."""
        count = sum(one.status == "collected" for one in self._outcomes)
        return f"<Children of {self.id!r}: {len(self)}, of them {count} collected>"


class DeferredChildren(Deferred):
    """The same, of a store: made when somebody asks for them.

    Args:
        item_id: The parent's ID.
        parent: What the parent was before it was expanded, or what loads that.
        outcomes: Tells how the children ended.
    """

    def __init__(self, item_id: int | str, parent: Any, outcomes: Callable[[], Sequence[Outcome[Any]]]) -> None:
        self._id = item_id
        self._parent = parent
        self._outcomes = outcomes

    def load(self) -> Children:
        """The children.

        Raises:
            CheckpointError: What their parent was, or one of them, cannot be made again.
        """
        parent = self._parent.load() if isinstance(self._parent, Deferred) else self._parent
        return Children(self._id, parent, self._outcomes())
