"""Recorded calls of a pipeline, from which a simulation draws."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rxpipe.operators.core.running_call import Usage

NOTHING = Usage()
ENOUGH = 20  # calls of a kind from which draws need no other kind


class RecordedCall(NamedTuple):
    """A call of a run.

    Attributes:
        item: The item's ID, as text.
        stage: The name of the stage.
        attempt: The number of the attempt for this item in this stage, from 1.
        began: When the call began, in seconds. The zero point does not matter.
        seconds: How long the call took, in seconds.
        ended: How the call ended: ``ok``, ``failed``, ``retried``, ``pushed_back``, ``dropped``, ``sent_back`` or
            ``cancelled``.
        usage: The tokens and the cost of the call.
        run: The number of the run in a record of several runs, whose settings may differ.
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
        """When the call ended, in seconds."""
        return self.began + self.seconds


class Draw(NamedTuple):
    """The outcome of a simulated call.

    Attributes:
        seconds: How long the call takes while the server is not loaded, in seconds; ``inf`` if it is never answered.
        ended: How the call ends, as in ``RecordedCall``.
        usage: The tokens and the cost of the call.
    """

    seconds: float
    ended: str = "ok"
    usage: Usage = NOTHING


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """The recorded calls and other known data of one or several runs.

    Attributes:
        calls: The calls, in any order.
        roots: The IDs of the items that the source gave, in the order of the source, as far as they are known.
        children: How many children each expanding call made, by stage and then by the item's ID.
        passed: The IDs of items that passed a stage without a call, by stage.
        timeouts: The timeout in seconds of each stage, by stage, as far as it is known.
        startup: Seconds from the start of the run to its first call; 0 if that is not known.
    """

    calls: Sequence[RecordedCall]
    roots: Sequence[int | str] = ()
    children: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    passed: Mapping[str, Collection[str]] = field(default_factory=dict[str, Collection[str]])
    timeouts: Mapping[str, float] = field(default_factory=dict[str, float])
    startup: float = 0.0

    def by_stage(self) -> dict[str, list[RecordedCall]]:
        """Returns the calls of each stage in the order in which they began. Cancelled calls are left out."""
        found: defaultdict[str, list[RecordedCall]] = defaultdict(list)
        for call in sorted(self.calls, key=lambda call: (call.began, call.item, call.attempt)):
            if call.ended != "cancelled":
                found[call.stage].append(call)
        return dict(found)


def items_of(calls: Iterable[RecordedCall]) -> dict[str, list[RecordedCall]]:
    """Returns the calls of each item, in order."""
    found: defaultdict[str, list[RecordedCall]] = defaultdict(list)
    for call in calls:
        found[call.item].append(call)
    return dict(found)


def together(records: Sequence[RecordedRun]) -> RecordedRun:
    """Joins the records of several runs of one pipeline.

    If several runs have an item, the item keeps the calls of the latest run. The earlier calls count as calls of
    another item, so that other items can draw from them. ``startup`` is that of the latest run for which it is known.

    Args:
        records: The records of the runs, the latest last.
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
    """Returns new names for the items of a run that a later run also has. No item has such a name."""
    return {item: f"{number}\0{item}" for item in _items_in(record) if item in known}


def _items_in(record: RecordedRun) -> set[str]:
    return {call.item for call in record.calls}.union(*record.passed.values())
