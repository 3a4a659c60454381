"""Which errors a run had most, so that one sees why items failed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from reactivex.abc import ObserverBase

from rxpipe.operators.errors import describe
from rxpipe.outcome import Outcome

_KINDS = 1_000  # remembered at most, so that a million different texts take no memory
_LONGEST = 300  # characters of a text that are kept
_VARIES = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b|\d+")


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


class Failures(ObserverBase[Outcome[Any]]):
    """Observes outcomes, and counts errors by stage and text; texts that differ in numbers only are one error."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Failed] = {}

    def commonest(self, most: int = 5) -> list[Failed]:
        """The commonest errors, the first of them first."""
        return sorted(self._found.values(), key=lambda failed: -failed.count)[:most]

    def on_next(self, value: Outcome[Any]) -> None:
        """Count a failure."""
        if value.status != "failed" or value.error is None:
            return
        text = " ".join(describe(value.error).split())
        if len(text) > _LONGEST:
            text = text[: _LONGEST - 1] + "…"
        key = value.stage or "", _VARIES.sub("#", text)
        if (found := self._found.get(key)) is not None:
            found.count += 1
            found.same = found.same and found.text == text
        elif len(self._found) < _KINDS:
            self._found[key] = Failed(key[0], text)

    def on_error(self, error: Exception) -> None:
        """Nothing: whoever waits for the run is told."""

    def on_completed(self) -> None:
        """Nothing."""
