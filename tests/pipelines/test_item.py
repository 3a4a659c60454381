from __future__ import annotations

from typing import Any

import pytest

from rxpipe import Children, Pipeline, Record, Stage
from rxpipe.errors import SinkError
from rxpipe.pipeline.claim import Claim
from rxpipe.pipeline.run import item as item_module
from rxpipe.pipeline.run.in_flight import InFlightItems
from rxpipe.pipeline.run.item import Group, Item


def test_an_item_of_a_store_has_the_feedback_that_is_kept() -> None:
    """The stage that it went back to may ask for it in the next process, too."""
    claim = Claim(id=1, key="1", owner="me", fence=2, value="a", rounds=1, feedback="too short")
    item = Item(claim, 0.0)
    assert (item.rounds, item.feedback) == (1, "too short")


def refuse_odd(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


def outcome_of(*stages: Stage[Any, Any]) -> Any:
    with Pipeline(*stages).open() as running:
        return running.submit(7, [1, 2, 3, 4, 5]).result(20)


def many(values: Any) -> list[Any]:
    return list(values)


def add(children: Children[int]) -> int:
    return sum(children.values)


def test_an_expanded_item_tells_which_children_failed() -> None:
    """Those of its children, too, and none of those that did not fail."""
    nested = Pipeline(
        Stage("rows", many, expand=True), Stage("cells", many, expand=True), Stage("checking", refuse_odd)
    )
    with nested.open() as running:
        outcome = running.submit(7, [[1, 2], [3], [4]]).result(20)
    assert outcome.status == "expanded"
    assert {(one.id, one.parent, str(one.error)) for one in outcome.failures} == {
        ("7/0/0", "7/0", "1 is odd"),
        ("7/1/0", "7/1", "3 is odd"),
    }


def test_the_failures_that_are_told_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million failed children are not held until their parent ends."""
    monkeypatch.setattr(item_module, "MOST_FAILURES", 2)
    outcome = outcome_of(Stage("splitting", many, expand=True), Stage("checking", refuse_odd))
    assert (outcome.status, len(outcome.failures)) == ("expanded", 2)


def test_children_that_are_collected_are_no_failures_of_their_parent() -> None:
    """The stage that collects them is told."""
    stages = Stage("splitting", many, expand=True), Stage("checking", refuse_odd)
    outcome = outcome_of(*stages, Stage("adding", add, collect=True))
    assert (outcome.status, outcome.value, outcome.failures) == ("written", 6, ())


def test_a_record_is_taken_with_its_value() -> None:
    """Its ID is the item's."""
    item = Item(Record(7, "a"), 0.0)
    assert (item.id, item.value, item.feedback) == (7, "a", None)


class Leaving(Item):
    """An item whose children are given up by its own thread while another one looks at them."""

    looks = 0

    @property
    def children(self) -> Group | None:  # type: ignore[override]
        """The group, when somebody looks for the first time."""
        self.looks += 1
        return Group(Item(1, 0.0), None) if self.looks == 1 else None


def test_children_may_be_given_up_while_another_thread_looks() -> None:
    """Whoever cancels the item, or counts those that wait."""
    Leaving(1, 0.0).cancel()
    assert not Leaving(1, 0.0).waits_for_children


def test_all_children_are_cancelled_before_a_call_is_given_up() -> None:
    """So none of them is called with because another one has left its slot."""
    parent, seen = Item(1, 0.0), list[bool]()
    parent.children = group = Group(parent, None)
    children = [Item(number, 0.0) for number in range(3)]

    class Call:
        def give_up(self, error: Exception) -> None:
            seen.append(all(child.is_cancelled for child in children))

        def time(self, ended: str) -> None:
            raise AssertionError

        def waited_downstream(self) -> float:
            return 0.0

        def take_notes(self) -> list[object]:
            raise AssertionError

    for item in (parent, *children):
        item.call = Call()
    for child in children:
        group.add(child)
    parent.cancel()
    assert seen == [True] * 4


def test_an_outcome_belongs_to_the_child_of_its_parent() -> None:
    """Of two children with the same ID that are in the sink, whichever comes out first."""
    items, children = InFlightItems(), list[Item]()
    for parent in (1, 2):
        child = Item(Record("x", 0), 0.0)
        child.parent, child.arrived = Item(parent, 0.0), True
        assert items.add(child)
        children.append(child)
    assert items.take_out(children[1].outcome(1.0)) is children[1]
    assert items.take_out(children[0].outcome(1.0)) is children[0]


def test_several_items_with_the_same_id() -> None:
    """Each comes out once, whatever the order, and then there is none."""
    items, same = InFlightItems(), [Item("x", 0.0) for _ in range(3)]
    for item in same:
        item.arrived = True
        items.add(item)
    outcome = same[0].outcome(1.0)
    found = [items.take_out(outcome) for _ in range(2)]
    assert items.count == 1
    found += [items.take_out(outcome)]
    assert {id(one) for one in found} == {id(one) for one in same}
    with pytest.raises(SinkError, match="was not given"):
        items.take_out(outcome)
    items.add(same[0])
    items.add(same[1])
    assert items.close() == same[:2]
