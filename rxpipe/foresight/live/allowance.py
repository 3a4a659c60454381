"""How much of a processor something that is done again and again may take."""

from __future__ import annotations


class Allowance:
    """Says how long to pause, so that the share of a processor stays below a bound from the beginning on.

    What is to be done next is saved for before. Where it took longer than was thought, the next pause makes up for
    that. A pause that was longer than it had to be saves nothing for later: so the bound holds for each part of a run.
    """

    def __init__(self, *, share: float, seconds: float) -> None:
        """Prepare it.

        Args:
            share: Of one processor that may be taken.
            seconds: The shortest pause.
        """
        self._share = share
        self._seconds = seconds
        self._owed = 0.0

    def pause(self, cost: float, waited: float = 0.0) -> float:
        """Seconds until something may be done.

        Args:
            cost: Seconds of a processor that it takes, about.
            waited: Seconds since the last time.
        """
        return max(0.0, self._seconds - waited, (self._owed + cost) / self._share - waited)

    def took(self, cpu: float, waited: float) -> None:
        """It was done.

        Args:
            cpu: Seconds of a processor that it took.
            waited: The seconds before.
        """
        self._owed = max(0.0, self._owed + cpu - waited * self._share)
