"""Stops a run when too many items have failed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reactivex.abc import ObserverBase

from rxpipe.pipeline.outcome import Outcome


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """The limit of failed items. Beyond the limit something is plainly broken.

    Attributes:
        items: The limit as a number of items; None for a share.
        share: The limit as a share, 0 to 1, of the items that have ended. Counts once ``LEAST`` items have ended.
        text: The limit as the user gave it.
    """

    items: int | None
    share: float
    text: str

    LEAST = 20

    @classmethod
    def parse(cls, text: str) -> FailureLimit:
        """Read ``20`` (items) or ``5%`` (of the items that have ended).

        Raises:
            ValueError: The text has neither form.
        """
        if text.isdecimal() and int(text) >= 1:
            return cls(int(text), 1.0, text)
        percent = float(text.removesuffix("%")) if text.endswith("%") else math.nan
        if not 0 <= percent < 100:
            raise ValueError(text)
        return cls(None, percent / 100, text)

    def reached(self, failed: int, ended: int) -> bool:
        """Returns True if the limit is reached."""
        if self.items is not None:
            return failed >= self.items
        return ended >= self.LEAST and failed > self.share * ended


class Failures(ObserverBase[Outcome[Any]]):
    """Observes outcomes, and reports when too many items have failed.

    Attributes:
        failed: Items that failed.
        ended: Items that ended in any way except ``cancelled``.
        too_many: True if the limit was reached.
    """

    def __init__(self, limit: FailureLimit | None = None, reached: Callable[[], None] = lambda: None) -> None:
        """Start with no items.

        Args:
            limit: The limit; None for no limit.
            reached: Called once, when the limit is reached.
        """
        self.failed = 0
        self.ended = 0
        self.too_many = False
        self._limit = limit
        self._reached = reached

    def on_next(self, value: Outcome[Any]) -> None:
        """Count an item."""
        self.ended += value.status != "cancelled"
        self.failed += value.status == "failed"
        if self._limit is not None and not self.too_many and self._limit.reached(self.failed, self.ended):
            self.too_many = True
            self._reached()

    def on_error(self, error: Exception) -> None:
        """Do nothing: the caller of the run gets the error."""

    def on_completed(self) -> None:
        """Do nothing."""
