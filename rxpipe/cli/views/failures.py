"""Whether so many items have failed that the run is to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reactivex.abc import ObserverBase

from rxpipe.pipeline.outcome import Outcome


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """When so many items have failed that something is plainly broken.

    Attributes:
        items: So many items; None for a share.
        share: This share of those that have ended, as soon as there are ``LEAST``.
        text: As it was given.
    """

    items: int | None
    share: float
    text: str

    LEAST = 20

    @classmethod
    def parse(cls, text: str) -> FailureLimit:
        """``20`` items, or ``5%`` of those that have ended.

        Raises:
            ValueError: It is neither.
        """
        if text.isdecimal() and int(text) >= 1:
            return cls(int(text), 1.0, text)
        percent = float(text.removesuffix("%")) if text.endswith("%") else math.nan
        if not 0 <= percent < 100:
            raise ValueError(text)
        return cls(None, percent / 100, text)

    def reached(self, failed: int, ended: int) -> bool:
        """Whether it has come to that."""
        if self.items is not None:
            return failed >= self.items
        return ended >= self.LEAST and failed > self.share * ended


class Failures(ObserverBase[Outcome[Any]]):
    """Observes outcomes, and says when too many items have failed.

    Attributes:
        failed: Items that failed.
        ended: Items that ended in any way, but for those that were cancelled.
        too_many: Whether the limit was reached.
    """

    def __init__(self, limit: FailureLimit | None = None, reached: Callable[[], None] = lambda: None) -> None:
        """Count nothing yet.

        Args:
            limit: How many are too many.
            reached: Called once, when there are.
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
        """Nothing: whoever waits for the run is told."""

    def on_completed(self) -> None:
        """Nothing."""
