"""The items in a worker's hands: claimed and not ended."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from rxpipe.pipeline.claim import Claim


class InFlightClaims:
    """The claims of one process. Its feed adds to them, and its commits remove them.

    Attributes:
        ended: How many claims have ended.
    """

    def __init__(self) -> None:
        self.ended = 0
        self._claims: dict[int, Claim] = {}
        self._changed = threading.Condition()

    def add(self, claims: Iterable[Claim]) -> None:
        """Add claims."""
        with self._changed:
            self._claims.update((id(claim), claim) for claim in claims)

    def end(self, claims: Iterable[Claim]) -> None:
        """Remove claims that have ended."""
        with self._changed:
            for claim in claims:
                self._claims.pop(id(claim), None)
                self.ended += 1
            self._changed.notify_all()

    def keys(self, owner: str) -> list[str]:
        """Returns the keys of this owner's items."""
        with self._changed:
            return [claim.key for claim in self._claims.values() if claim.owner == owner]

    def lose(self, owner: str) -> None:
        """Mark this owner's items as lost: they belong to other workers now."""
        with self._changed:
            for claim in self._claims.values():
                if claim.owner == owner:
                    claim.lost = True

    def wait_until(self, most: int, seconds: float) -> bool:
        """Wait until at most ``most`` claims are left, or ``seconds`` have passed. Returns True if so few are left."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._claims) <= most, seconds)
