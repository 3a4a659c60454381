"""``Children``: the argument of a collecting stage's function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, overload

from typing_extensions import TypeVar  # with defaults, which typing has from Python 3.13 on

from rxpipe.pipeline.claim import Deferred
from rxpipe.pipeline.outcome import Outcome

T = TypeVar("T", covariant=True, default=Any)


class Children(Sequence[Outcome[T]], Generic[T]):
    """The outcomes of all children of one item, in the order in which the children were made.

    A child that reached the stage has the status ``collected``. The other children have failed or were dropped.

    Attributes:
        id: The parent's ID.
        parent: The parent's value before it was expanded.
        values: The values of the children that reached the stage.
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
        """Returns the outcome of one child, or of a slice of them."""
        return self._outcomes[index]

    def __len__(self) -> int:
        """Returns the number of children."""
        return len(self._outcomes)

    def __repr__(self) -> str:
        """Returns the parent's ID and the numbers of children and of collected ones."""
        count = sum(one.status == "collected" for one in self._outcomes)
        return f"<Children of {self.id!r}: {len(self)}, of them {count} collected>"


class DeferredChildren(Deferred):
    """Children from a store, loaded on first use.

    Args:
        item_id: The parent's ID.
        parent: The parent's value before it was expanded, or an object that loads the value.
        outcomes: Returns the outcomes of the children.
    """

    def __init__(self, item_id: int | str, parent: Any, outcomes: Callable[[], Sequence[Outcome[Any]]]) -> None:
        self._id = item_id
        self._parent = parent
        self._outcomes = outcomes

    def load(self) -> Children:
        """Returns the children.

        Raises:
            CheckpointError: The parent's value, or a child's, cannot be made again.
        """
        parent = self._parent.load() if isinstance(self._parent, Deferred) else self._parent
        return Children(self._id, parent, self._outcomes())
