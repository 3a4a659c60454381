"""Counts errors, to show why most items failed."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from rxpipe.operators.errors import describe
from rxpipe.pipeline.outcome import CommonError, Outcome

KINDS = 1_000  # most errors to tell apart, so that a million different texts use bounded memory
LONGEST = 300  # characters of a text that are compared
# Errors with the same cause differ in addresses, UUIDs, numbers, and in long quoted texts such as a reply.
_VARIES = re.compile(
    r"""0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b|\d+"""
    r"""|(?<=; in )['"].*|(?<=reply: )['"].*|(?<!\w)(?:'(?:[^'\\]|\\.){32,}(?:'|\\?$)|"(?:[^"\\]|\\.){32,}(?:"|\\?$))"""
)


def without_what_varies(text: str) -> str:
    """Returns the part of a text that errors with the same cause share."""
    return _VARIES.sub("#", text)


class ErrorCounts:
    """Counts the errors of failed items by stage and text.

    Texts that differ only in details, such as numbers, count as one error.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], CommonError] = {}

    def add(self, outcome: Outcome[Any]) -> int:
        """Count an item's error, or the reason of its drop. By one thread at a time.

        Returns:
            The number of items with the same error, including this one; 0 if the error is not counted.
        """
        if outcome.error is None:
            return 0
        text = str(outcome.error) if outcome.status == "dropped" else describe(outcome.error)
        text = " ".join(text.split())
        if len(text) > LONGEST:
            text = text[: LONGEST - 1] + "…"
        key = outcome.stage or "", without_what_varies(text)
        if (found := self._found.get(key)) is not None:
            self._found[key] = replace(found, count=found.count + 1, same=found.same and found.text == text)
        elif len(self._found) < KINDS:
            self._found[key] = CommonError(key[0], text)
        return self._found[key].count if key in self._found else 0

    def commonest(self, most: int = 5) -> list[CommonError]:
        """Returns the most common errors, each with the text of its first item. From any thread."""
        return sorted(self._found.values(), key=lambda found: -found.count)[:most]
