"""The times of the calls and commits of one run."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Call(NamedTuple):
    """One call of a stage's function, with its latency. Times are seconds since the run began.

    Attributes:
        item: The ID of the call's item.
        began: When the call began.
        ended: When it ended: it returned, raised, timed out or was cut off by the end of the run.
        ok: True if it returned.
    """

    item: int | str
    began: float
    ended: float
    ok: bool


class Commit(NamedTuple):
    """The end of one item. Times are seconds since the run began.

    Attributes:
        item: The item's ID.
        at: When its row was committed.
        written: True if the row has a result; False if it has a failure.
    """

    item: int | str
    at: float
    written: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTimeline:
    """The calls of one stage.

    Attributes:
        name: The stage's name.
        slots: How many calls could run at once.
        calls: The calls in the order in which they began.
    """

    name: str
    slots: int
    calls: tuple[Call, ...]

    @property
    def busy_seconds(self) -> float:
        """Total seconds spent in calls."""
        return sum(call.ended - call.began for call in self.calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """One run.

    Attributes:
        seconds: The run's duration in seconds.
        stages: The calls of each stage, in order.
        commits: The rows, in the order in which they were committed.
    """

    seconds: float
    stages: tuple[StageTimeline, ...]
    commits: tuple[Commit, ...]

    def journey(self, item: int | str) -> list[tuple[int, Call]]:
        """Returns the calls made for one item, each with the number of its stage, in order."""
        calls = [(index, call) for index, stage in enumerate(self.stages) for call in stage.calls if call.item == item]
        return sorted(calls, key=lambda pair: pair[1].began)


def changes(calls: Collection[Call]) -> list[tuple[float, float]]:
    """Returns how many of the calls ran at once: each moment of a change, with the number from then on."""
    ends = sorted([(call.began, 1) for call in calls] + [(call.ended, -1) for call in calls])
    levels: list[tuple[float, float]] = []
    level = 0
    for at, change in ends:
        level += change
        levels.append((at, level))
    return levels


def averages(calls: Iterable[Call], seconds: float, parts: int) -> list[tuple[float, float]]:
    """Returns averages over equal parts of ``seconds``: as many numbers however many calls there are.

    The area stays the same: it is the calls' time, however short they are compared with a part.
    """
    part = seconds / parts
    means = [0.0] * parts
    change = [0] * (parts + 1)  # of calls that run throughout a part
    for call in calls:
        began, ended = call.began / part, call.ended / part
        first, last = min(int(began), parts - 1), min(int(ended), parts - 1)
        if first == last:
            means[first] += ended - began
        else:
            means[first] += first + 1 - began
            means[last] += ended - last
            change[first + 1] += 1
            change[last] -= 1
    throughout = 0
    for index in range(parts):
        throughout += change[index]
        means[index] += throughout
    return [(index * part, mean) for index, mean in enumerate(means)]
