"""How long to try while the database is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rxpipe.database.outage import AWAY
from rxpipe.operators import Retry

_MOST = AWAY.max_attempts + 108  # attempts while results are in hand: nine more minutes, with the longest delay


class Policy(Protocol):
    """Says whether and when to try again: see ``Retry``."""

    def applies(self, error: BaseException, attempt: int) -> bool:
        """Whether to try again after attempt number ``attempt`` raised ``error``."""
        ...

    def delay(self, attempt: int, error: BaseException) -> float:
        """Seconds to wait before that."""
        ...


class OutageLimit:
    """The sink's policy, if the user gave one. Else a minute, or ten while there are results that would be lost."""

    def __init__(self, retry: Retry, results: Callable[[], int]) -> None:
        """Describe it.

        Args:
            retry: The sink's policy.
            results: How many results are in hand.
        """
        self._retry = retry
        self._results = results

    def applies(self, error: BaseException, attempt: int) -> bool:
        """Whether to try again; see ``Policy``."""
        most = _MOST if self._retry is AWAY and self._results() else self._retry.max_attempts
        return attempt < most

    def delay(self, attempt: int, error: BaseException) -> float:
        """Seconds to wait before that."""
        return self._retry.delay(attempt, error)
