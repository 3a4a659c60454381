"""The least time that a strategy can take, from the latencies and the slots alone.

With N items, and for stage i a latency of L_i seconds and c_i slots (calls at once):

- ``staged``: a stage begins when the one before has ended, and makes its calls in ceil(N / c_i) rounds: **sum of ceil(N
  / c_i) * L_i**.
- ``per_stage``: stage i cannot begin before the first item has come through the stages before it. It needs its rounds,
  and the last item still has to pass the stages after it. That holds for every stage: **max over i of ceil(N / c_i) *
  L_i + sum of the other stages' L_j**. The slowest stage never waits. The others cost one call each, to fill the
  pipeline and to empty it.
- ``per_item``: P items at once, each of which takes all stages: **ceil(N / P) * sum of L_i**.

The first row needs the sum of L_i with ``per_stage`` and ``per_item``. With ``staged`` it needs the whole time, as rows
are written when all items are graded.

The time of the functions and the database is not included. So a run's share of its bound shows how much time is lost to
anything but the latencies. For one item all three strategies are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rxpipe.pipeline.run.strategies import Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """A stage of the compared work.

    Attributes:
        name: The stage's name.
        latency: Seconds that every call takes in addition to the function's own time; 0 for none.
        slots: Calls that may run at once.
    """

    name: str
    latency: float
    slots: int


def items_at_once(stages: Sequence[StagePlan]) -> int:
    """Returns how many items ``per_item`` has on their way: as many as there are slots in all stages together.

    So all strategies may make the same number of calls at once. With the slots of one stage only, ``per_item`` would
    take as long as ``staged``, and the comparison would be of three slots with nine.

    ``per_item`` does not tie its slots to stages. It may make more calls of one stage at once than the other
    strategies, and be faster than ``per_stage`` if that is held up by its slowest stage. If a stage's limit is fixed (a
    model that takes three calls at once), look at ``per_stage``.
    """
    return sum(stage.slots for stage in stages)


def least_seconds(strategy: Strategy, stages: Sequence[StagePlan], count: int) -> float:
    """Returns the least time in which a strategy can take items through the stages; see the module's text.

    Args:
        strategy: The strategy.
        stages: The latencies and slots of the stages. ``per_item`` has ``items_at_once`` slots.
        count: How many items.
    """
    once = sum(stage.latency for stage in stages)
    if strategy == "per_item":
        return _rounds(count, items_at_once(stages)) * once
    stage_seconds = [_rounds(count, stage.slots) * stage.latency for stage in stages]
    if strategy == "staged":
        return sum(stage_seconds)
    pairs = zip(stage_seconds, stages, strict=True)
    return max(seconds + once - stage.latency for seconds, stage in pairs) if count else 0.0


def _rounds(count: int, slots: int) -> int:
    return -(-count // slots)
