"""The other ways of items: children, parents that wait for their children, items that are sent back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from rxpipe.errors import HandedOver, ItemCancelled, LeaseLost
from rxpipe.pipeline.children import Children, DeferredChildren
from rxpipe.pipeline.claim import Deferred
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.run.item import Group, Item
from rxpipe.pipeline.run.quota import Quota

NOWHERE: Any = object()
"""In ``Item.inputs``: a stage that the item's children went through, but not the item itself."""

Readmit = Callable[[Item], None]


class Enters(Protocol):
    """The run, as the flow sees it."""

    def enter(self, child: Item) -> bool:
        """A child begins. Returns False if the run was already over."""
        ...


class Flow:
    """The side doors of a run: one for each stage, and one for the exit. Stages call this from any thread."""

    def __init__(self, stages: Sequence[str], *, is_staged: bool = False, quota: Quota | None = None) -> None:
        self._quota = quota
        self._is_staged = is_staged
        self._index = {name: index for index, name in enumerate(stages)}
        self._doors: dict[int, Readmit] = {}
        self._exit: Readmit | None = None
        self._run: Enters | None = None

    def attach(self, index: int, readmit: Readmit) -> None:
        """A stage is subscribed to. ``readmit`` makes the stage take an item beyond its bound."""
        self._doors[index] = readmit

    def attach_run(self, run: Enters, leave: Readmit) -> None:
        """The run has begun. ``leave`` takes an item out of the stages."""
        self._run, self._exit = run, leave

    # Children

    def begin_children(self, parent: Item, collected_by: int | None) -> Group:
        """Returns the group for the children of a call that begins to give values.

        The next attempt gets the same group.
        """
        if parent.children is None:
            parent.children = Group(parent, collected_by)
        return parent.children

    def spawn(self, parent: Item, child: Item) -> Item | None:
        """Let a child begin. Returns None if the run is over."""
        group = parent.children
        assert group is not None
        assert self._run is not None
        child.parent, child.siblings, child.number = parent, group, group.made
        child.depth, child.context = parent.depth + 1, parent.context
        group.add(child)
        if parent.is_cancelled:
            child.is_cancelled = True
        return child if self._run.enter(child) else None

    def may_pass(self, item: Item, stage: int, wake: Callable[[], None]) -> bool:
        """Returns True if an item may leave a stage. If not, ``wake`` is called when you may ask again."""
        if self._quota is None or self._quota.gate != stage or item.settled:
            return True
        return self._quota.may_pass(item, wake)

    def expanded(self, parent: Item) -> None:
        """All children of an item are made. The item waits for them."""
        group = parent.children
        assert group is not None
        if self._quota is not None and group.collected_by is None:
            self._quota.leave(parent)
        if group.is_split and not parent.settled:
            parent.settle("cancelled", HandedOver("the store waits for its children"))
            if self._exit is not None:
                self._exit(parent)
        elif group.close():
            self._over(group)

    def arrived(self, child: Item, now: float) -> bool:
        """A child has come to the stage that collects it.

        Returns:
            True if the child ends there. False for a child that failed or was dropped: it goes on to its row.
        """
        group = child.siblings
        lost = LeaseLost("another worker has it") if child.claim is not None and child.claim.lost else None
        cut_off = child.error if child.given_back or isinstance(child.error, ItemCancelled) else lost
        ends = not child.settled and lost is None
        if ends:
            child.settle("collected")
        if group is None or group.awaits(child):
            pass
        elif group.arrived(child.number, child.outcome(now), cut_off):
            self._over(group)
        if ends and self._exit is not None:
            self._exit(child)
        return ends

    def child_over(
        self, child: Item, outcome: Outcome[Any] | None = None, cut_off: BaseException | None = None
    ) -> None:
        """A child has ended, or does not go on in this run."""
        group = child.siblings
        if group is None:
            return
        is_over = group.ended(child, outcome, cut_off)
        if group.awaits(child):
            if outcome is not None and outcome.status == "cancelled":
                cut_off = outcome.error
            is_taken = child.claim is not None and child.claim.conflict is not None
            is_over = group.arrived(child.number, None if is_taken else outcome, cut_off)
        if is_over:
            self._over(group)

    def _over(self, group: Group) -> None:
        """The parent no longer waits for children: it ends, or goes on to the stage that collects them."""
        parent = group.parent
        if parent.settled:
            return
        if group.cut_off is not None:
            parent.settle("cancelled", group.cut_off)
        elif parent.is_cancelled:
            parent.settle("cancelled", ItemCancelled())
        elif group.collected_by is None:
            parent.settle("expanded")
        if group.collected_by is None:
            if self._exit is not None:
                self._exit(parent)
            return
        before, parent.value = parent.value, Children(parent.id, parent.value, group.outcomes())
        skipped = group.collected_by - parent.finished - 1
        parent.inputs += [before, *[NOWHERE] * skipped]
        parent.finished = group.collected_by
        parent.children = None
        parent.born, parent.unfinished = group.first + group.made, 0
        self._doors[group.collected_by](parent)

    # The way back

    def no_way_back(self, stage: str, *, latest: int) -> str | None:
        """Returns the reason why no item can go back to a stage; None if some items can.

        Args:
            stage: The stage's name.
            latest: The index of the stage that sends items back.
        """
        if self._is_staged:
            return "with strategy staged the earlier stages are over"
        if self._index.get(stage, latest + 1) <= latest:
            return None
        names = ", ".join(name for name, index in self._index.items() if index <= latest)
        is_later = "it comes later" if stage in self._index else "there is no such stage"
        return f"{is_later}; allowed: {names}"

    def way_back(self, item: Item, stage: str, *, latest: int) -> int | str:
        """Returns the stage to which an item may go back.

        Args:
            item: The item.
            stage: The stage's name. Some items can go back to it.
            latest: The index of the stage with the item.

        Returns:
            The index of the stage; or the reason why this item cannot go there.
        """
        index = self._index[stage]
        if index < item.first:
            return f"it was made behind stage {stage!r}"
        if item.unfinished or (item.children is not None and item.children.made):
            return "some of its children are on their way"
        if index < latest and item.inputs[index - item.first] is NOWHERE:
            return f"its children went through stage {stage!r}, not the item itself"
        return index

    def kept_at(self, item: Item, to: int, stage: int) -> int:
        """Returns the number of stages that keep their checkpoint when an item goes back.

        The item has no checkpoint of the stages that its children went through, nor of the stage that made them.
        """
        of_children = Children, DeferredChildren
        if not isinstance(item.value if to == stage else item.inputs[to - item.first], of_children):
            return to
        given = item.inputs[: to - item.first]
        while given[-1] is NOWHERE or isinstance(given[-1], of_children):
            given.pop()
        return item.first + len(given) - 1

    def send_back(self, item: Item, to: int, feedback: Any, stage: int) -> None:
        """Send an item back to an earlier stage."""
        if to < stage:
            value = item.inputs[to - item.first]
            item.value = value.load() if isinstance(value, Deferred) else value
            del item.inputs[to - item.first :]
        item.children = None  # of a call that gave no values
        item.born = 0
        item.rounds += 1
        item.feedback = feedback
        item.went_back, item.lookup = True, None
        item.finished = to
        item.stage = None
        if self._quota is not None:
            self._quota.go_back(item, to)
        self._doors[to](item)
