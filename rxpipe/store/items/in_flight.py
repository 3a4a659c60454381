"""What a worker has in hand: items that it has claimed and that have not come to an end."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from rxpipe.pipeline.claim import Claim


class InFlightClaims:
    """The claims of one process; filled by its feed, emptied by its commits.

    Attributes:
        ended: How many have come to an end.
    """

    def __init__(self) -> None:
        self.ended = 0
        self._claims: dict[int, Claim] = {}
        self._changed = threading.Condition()

    def add(self, claims: Iterable[Claim]) -> None:
        """These were claimed."""
        with self._changed:
            self._claims.update((id(claim), claim) for claim in claims)

    def end(self, claims: Iterable[Claim]) -> None:
        """These have come to an end."""
        with self._changed:
            for claim in claims:
                self._claims.pop(id(claim), None)
                self.ended += 1
            self._changed.notify_all()

    def keys(self, owner: str) -> list[str]:
        """The items that this owner has."""
        with self._changed:
            return [claim.key for claim in self._claims.values() if claim.owner == owner]

    def lose(self, owner: str) -> None:
        """What this owner had belongs to others now."""
        with self._changed:
            for claim in self._claims.values():
                if claim.owner == owner:
                    claim.lost = True

    def wait_until(self, most: int, seconds: float) -> bool:
        """Whether there are so many at most, at the latest after so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._claims) <= most, seconds)
