"""What a run may cost: asked before each call, so that none is made that would exceed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rxpipe.errors import BudgetSpent
from rxpipe.operators.stage_settings import StageStats


class Budget:
    """Refuses calls when what was spent, and what the calls that run will probably cost, exceeds a limit.

    A call is expected to cost what those of its stage did on average so far; before the first of them has ended, what
    those of earlier processes did, or nothing. So what is spent in the end exceeds the limit by what the calls in
    flight cost beyond that, at most.

    It only reads the live counts of the stages, each of which may change on another thread meanwhile, in this order: a
    call is counted as started before it is asked for here, and its cost is added before it is counted as ended. Read
    in the opposite order, what a reading meets half-way is counted twice, and nothing is missed.
    """

    def __init__(self, limit: float, before: float = 0.0, means: Mapping[str, float] | None = None) -> None:
        """Set a limit.

        Args:
            limit: What may be spent, in whatever the costs are in.
            before: What was spent before, by earlier processes of the run.
            means: What a call of theirs cost on average, by the stage's name.
        """
        self._limit = limit
        self._before = before
        self._means = means or {}
        self._stages: Sequence[StageStats] = ()

    def watch(self, stages: Sequence[StageStats]) -> None:
        """These are the stages whose calls cost something."""
        self._stages = stages

    @property
    def spent(self) -> float:
        """What was spent so far."""
        return self._before + sum(stage.usage.cost for stage in self._stages)

    def check(self, place: int) -> None:
        """A call of a stage, by its place, is about to be made, and is among those that run already.

        Raises:
            BudgetSpent: It must not be made. A stage is never refused one if calls of it have returned, and none has
                cost anything so far; those that failed, or that a server refused, say nothing of that.
        """
        stage = self._stages[place]
        if stage.done and not stage.usage.cost and not self._means.get(stage.name):
            return
        expected = sum(self._expected(one) for one in self._stages)
        spent = self.spent
        if spent >= self._limit or spent + expected > self._limit:
            raise BudgetSpent(self._limit, spent)

    def _expected(self, stage: StageStats) -> float:
        """What the calls of a stage that run will cost."""
        ended = stage.ended
        running = stage.started - ended - stage.cancelled
        return running * (stage.usage.cost / ended if ended else self._means.get(stage.name, 0.0))
