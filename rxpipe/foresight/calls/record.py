"""What is known of the calls of a pipeline, from which a simulation draws."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rxpipe.operators.core.running_call import Usage

NOTHING = Usage()
ENOUGH = 20  # calls of a kind, to draw from these alone


class RecordedCall(NamedTuple):
    """A call that was made.

    Attributes:
        item: The item's ID, as text.
        stage: The name of its stage.
        attempt: The call's number for its item in this stage, from 1.
        began: When it began, in seconds; from when does not matter.
        seconds: How long it took.
        ended: ``ok``, ``failed``, ``retried``, ``pushed_back``, ``dropped``, ``sent_back`` or ``cancelled``.
        usage: What it used.
        run: Which run made it, in a record of several: runs may have had different settings.
    """

    item: str
    stage: str
    attempt: int
    began: float
    seconds: float
    ended: str
    usage: Usage = NOTHING
    run: int = 0

    @property
    def until(self) -> float:
        """When it ended."""
        return self.began + self.seconds


class Draw(NamedTuple):
    """What becomes of a simulated call.

    Attributes:
        seconds: How long it takes if the server is not loaded; ``inf`` if it is never answered.
        ended: How it ends, as in ``RecordedCall``.
        usage: What it uses.
    """

    seconds: float
    ended: str = "ok"
    usage: Usage = NOTHING


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """The calls of a run, or of several, and what else is kept of it.

    Attributes:
        calls: The calls, in any order.
        roots: The IDs of the items that the source gave, in its order, as far as they are known.
        children: How many children each call that expanded has made, by stage and by the item's ID.
        passed: The IDs of items that came to a stage, and passed it without a call, by the stage.
        timeouts: After how many seconds calls of a stage were ended, as far as that is known.
        startup: Seconds from the beginning of the run to its first call; 0 if that is not known.
    """

    calls: Sequence[RecordedCall]
    roots: Sequence[int | str] = ()
    children: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    passed: Mapping[str, Collection[str]] = field(default_factory=dict[str, Collection[str]])
    timeouts: Mapping[str, float] = field(default_factory=dict[str, float])
    startup: float = 0.0

    def by_stage(self) -> dict[str, list[RecordedCall]]:
        """The calls of each stage, in the order in which they began; without those that were cancelled."""
        found: defaultdict[str, list[RecordedCall]] = defaultdict(list)
        for call in sorted(self.calls, key=lambda call: (call.began, call.item, call.attempt)):
            if call.ended != "cancelled":
                found[call.stage].append(call)
        return dict(found)


def items_of(calls: Iterable[RecordedCall]) -> dict[str, list[RecordedCall]]:
    """The calls of each item, in order."""
    found: defaultdict[str, list[RecordedCall]] = defaultdict(list)
    for call in calls:
        found[call.item].append(call)
    return dict(found)


def together(records: Sequence[RecordedRun]) -> RecordedRun:
    """The record of several runs of one pipeline.

    An item of several runs has the calls of the latest. Those of earlier runs count as calls of another item, so other
    items draw from them. The start is that of the latest of which it is known.

    Args:
        records: Those of the runs, the latest last.
    """
    calls: list[RecordedCall] = []
    children, passed = defaultdict[str, dict[str, int]](dict), defaultdict[str, set[str]](set)
    timeouts: dict[str, float] = {}
    known: set[str] = set()
    for number, record in reversed(list(enumerate(records))):
        other = _names_of_others(record, known, number)
        calls += [call._replace(item=other.get(call.item, call.item), run=number) for call in record.calls]
        for stage, counts in record.children.items():
            children[stage].update({other.get(item, item): count for item, count in counts.items()})
        for stage, items in record.passed.items():
            passed[stage].update(other.get(item, item) for item in items)
        timeouts = {**record.timeouts, **timeouts}
        known |= _items_in(record)
    roots = {str(root): root for record in records for root in record.roots}
    return RecordedRun(
        calls=calls,
        roots=list(roots.values()),
        children=dict(children),
        passed=dict(passed),
        timeouts=timeouts,
        startup=next((record.startup for record in reversed(records) if record.startup), 0.0),
    )


def _names_of_others(record: RecordedRun, known: Collection[str], number: int) -> dict[str, str]:
    """Names that no item has, for the items of a run that a later run has, too."""
    return {item: f"{number}\0{item}" for item in _items_in(record) if item in known}


def _items_in(record: RecordedRun) -> set[str]:
    return {call.item for call in record.calls}.union(*record.passed.values())
