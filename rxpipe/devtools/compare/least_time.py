"""The least time that a strategy can take, from the latencies and the slots alone.

With N items, and for stage i a latency of L_i seconds and c_i slots (calls at once):

- ``staged``: a stage begins when the one before has ended, and makes its calls in ceil(N / c_i) rounds, so
  **sum of ceil(N / c_i) * L_i**.
- ``per_stage``: stage i can't begin before the first item has come through the stages before it, needs its rounds,
  and the last item still has the stages after it to go. That holds for every stage, so
  **max over i of ceil(N / c_i) * L_i + sum of the other stages' L_j**: the slowest stage never waits, and the
  others cost one call each, to fill the pipeline and to empty it.
- ``per_item``: P items at once, each of which takes all stages: **ceil(N / P) * sum of L_i**.

For the first row, ``per_stage`` and ``per_item`` need the sum of L_i, and ``staged`` all of its time, as its rows are
written when all are graded.

What the functions and the database take by themselves is not in it, so that a run's share of its bound says how much
is lost to anything but the latencies. For one item all three are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rxpipe.pipeline.run.strategies import Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """A stage of the work that is compared.

    Attributes:
        name: The stage's name.
        latency: Seconds that every call takes besides the function's own time; 0 for none.
        slots: Calls that may run at once.
    """

    name: str
    latency: float
    slots: int


def items_at_once(stages: Sequence[StagePlan]) -> int:
    """How many items ``per_item`` has on their way: as many as there are slots in all stages together.

    So all strategies are allowed the same number of calls at once. With one stage's slots only, ``per_item`` would
    take as long as ``staged``, and the comparison would be of three slots with nine. What it does with them is its
    own: they are not tied to stages, so it may make more calls of one stage at once than the other strategies, and
    be faster than ``per_stage`` where that is held up by its slowest stage. Where a stage's limit is not ours to
    lift (a model that takes three calls at once), ``per_stage`` is the one to look at.
    """
    return sum(stage.slots for stage in stages)


def least_seconds(strategy: Strategy, stages: Sequence[StagePlan], count: int) -> float:
    """The least time in which a strategy can take items through the stages; see the module's text.

    Args:
        strategy: Which.
        stages: Their latencies and slots; ``per_item`` has ``items_at_once`` of them.
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
