"""How long to try while the database is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rxpipe.database.outage import AWAY
from rxpipe.operators import Retry

_MOST = AWAY.max_attempts + 108  # attempts while results are in hand: nine more minutes, with the longest delay


class Policy(Protocol):
    """Decides if and when to try again; see ``Retry``."""

    def applies(self, error: BaseException, attempt: int) -> bool:
        """Returns True if another attempt follows after attempt number ``attempt`` raised ``error``."""
        ...

    def delay(self, attempt: int, error: BaseException) -> float:
        """Returns the seconds to wait before the next attempt."""
        ...


class OutageLimit:
    """The sink's policy, if the user gave one. Otherwise a minute, or ten minutes while results would be lost."""

    def __init__(self, retry: Retry, results: Callable[[], int]) -> None:
        """Describe the limit.

        Args:
            retry: The sink's policy.
            results: Returns the number of results in hand.
        """
        self._retry = retry
        self._results = results

    def applies(self, error: BaseException, attempt: int) -> bool:
        """Returns True if another attempt follows; see ``Policy``."""
        most = _MOST if self._retry is AWAY and self._results() else self._retry.max_attempts
        return attempt < most

    def delay(self, attempt: int, error: BaseException) -> float:
        """Returns the seconds to wait before the next attempt."""
        return self._retry.delay(attempt, error)
