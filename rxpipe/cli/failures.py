"""Which errors a run had most, so that one sees why items failed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reactivex.abc import ObserverBase

from rxpipe.operators.errors import describe
from rxpipe.outcome import Outcome
from rxpipe.store.failures import KINDS, LONGEST, VARIES


@dataclass(slots=True)
class Failed:
    """Items that failed in the same way.

    Attributes:
        stage: Where.
        text: The error of the first of them.
        count: How many.
        same: Whether all had that very text; else theirs differ in numbers.
    """

    stage: str
    text: str
    count: int = 1
    same: bool = True


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
    """Observes outcomes, and counts errors by stage and text; texts that differ in numbers only are one error.

    Attributes:
        failed: Items that failed.
        ended: Items that failed or were written.
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
        self._found: dict[tuple[str, str], Failed] = {}

    def commonest(self, most: int = 5) -> list[Failed]:
        """The commonest errors, the first of them first."""
        return sorted(self._found.values(), key=lambda failed: -failed.count)[:most]

    def on_next(self, value: Outcome[Any]) -> None:
        """Count a failure."""
        self.ended += value.status != "cancelled"
        self.failed += value.status == "failed"
        if self._limit is not None and not self.too_many and self._limit.reached(self.failed, self.ended):
            self.too_many = True
            self._reached()
        if value.status != "failed" or value.error is None:
            return
        text = " ".join(describe(value.error).split())
        if len(text) > LONGEST:
            text = text[: LONGEST - 1] + "…"
        key = value.stage or "", VARIES.sub("#", text)
        if (found := self._found.get(key)) is not None:
            found.count += 1
            found.same = found.same and found.text == text
        elif len(self._found) < KINDS:
            self._found[key] = Failed(key[0], text)

    def on_error(self, error: Exception) -> None:
        """Nothing: whoever waits for the run is told."""

    def on_completed(self) -> None:
        """Nothing."""
