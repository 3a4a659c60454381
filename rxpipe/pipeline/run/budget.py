"""The limit of a run's cost, checked before each call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rxpipe.errors import BudgetSpent
from rxpipe.operators.stages.settings import StageStats


class Budget:
    """Refuses a call if the money spent and the expected cost of the running calls together exceed a limit.

    The expected cost of a call is the mean of its stage's calls so far. Before the first of them has ended, it is the
    mean of earlier processes' calls, or zero. So the run exceeds the limit by at most the unexpected part of the cost
    of the calls in flight.

    ``spent`` covers the amount in the store when this process started, and this process's own calls. It does not cover
    the calls of other workers since then, nor calls that were in flight when a process was killed.

    The live counts of the stages may change on other threads during a check. A call is counted as started before it
    is checked, and its cost is added before it is counted as ended. The counts are read in the opposite order. So a
    call that ends during the reading is counted twice, and none is missed.
    """

    def __init__(self, limit: float, before: float = 0.0, means: Mapping[str, float] | None = None) -> None:
        """Set a limit.

        Args:
            limit: The limit, in the currency of the costs.
            before: The amount that earlier processes of the run have spent.
            means: The mean cost of their calls, by the stage's name.
        """
        self._limit = limit
        self._before = before
        self._means = means or {}
        self._stages: Sequence[StageStats] = ()

    def watch(self, stages: Sequence[StageStats]) -> None:
        """Read the counts of these stages from now on."""
        self._stages = stages

    @property
    def spent(self) -> float:
        """The amount that the run has spent so far."""
        return self._before + sum(stage.usage.cost for stage in self._stages)

    def check(self, index: int) -> None:
        """Call this before each call; the call is already counted as running.

        Args:
            index: The index of its stage.

        Raises:
            BudgetSpent: The call must not be made. A stage whose calls have returned without any cost so far is never
                refused. (Calls that failed do not show that a stage is free.)
        """
        stage = self._stages[index]
        if stage.done and not stage.usage.cost and not self._means.get(stage.name):
            return
        expected = sum(self._expected(one) for one in self._stages)
        spent = self.spent
        if spent >= self._limit or spent + expected > self._limit:
            raise BudgetSpent(self._limit, spent)

    def _expected(self, stage: StageStats) -> float:
        """Returns the expected cost of the running calls of a stage."""
        ended = stage.ended
        running = stage.started - ended - stage.cancelled
        return running * (stage.usage.cost / ended if ended else self._means.get(stage.name, 0.0))
