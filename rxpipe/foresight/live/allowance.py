"""Limits the share of a processor that a repeated task may take."""

from __future__ import annotations


class Allowance:
    """Says how long to pause, so that a task never exceeds its share of a processor.

    The time for the next task is saved up before the task runs. If a task took longer than expected, the next pause is
    longer. A pause that was longer than necessary saves nothing for later, so the bound holds for each part of a run.
    """

    def __init__(self, *, share: float, seconds: float) -> None:
        """Creates an allowance.

        Args:
            share: The share of one processor that the task may take, 0 to 1.
            seconds: The shortest pause in seconds.
        """
        self._share = share
        self._seconds = seconds
        self._owed = 0.0

    def pause(self, cost: float, waited: float = 0.0) -> float:
        """Returns the seconds until the next task may run.

        Args:
            cost: About how many processor seconds the task takes.
            waited: Seconds since the last task.
        """
        return max(0.0, self._seconds - waited, (self._owed + cost) / self._share - waited)

    def took(self, cpu: float, waited: float) -> None:
        """Records a task that has run.

        Args:
            cpu: The processor seconds that the task took.
            waited: The seconds of the pause before the task.
        """
        self._owed = max(0.0, self._owed + cpu - waited * self._share)
