"""Makes lines of JSON of outcomes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, TypeAlias

from rxpipe.database.encoding import is_interrupt, json_text, one_line
from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.field_names import NoSuchField
from rxpipe.database.writer import Made, as_refused
from rxpipe.pipeline.outcome import Outcome, Status

LineFunction: TypeAlias = Callable[[Outcome[Any]], Any]
"""Returns the content of an outcome's line: anything that JSON can hold; or None for no line."""


def outcome_object(outcome: Outcome[Any]) -> dict[str, Any]:
    """Returns the default content of a line."""
    parent = {} if outcome.parent is None else {"parent": outcome.parent}
    return {
        "id": outcome.id,
        **parent,
        "status": outcome.status,
        "value": outcome.value,
        "error": None if outcome.error is None else one_line(outcome.error),
        "stage": outcome.stage,
        "attempts": outcome.attempts,
        "seconds": outcome.seconds,
    }


class LineMaker:
    """Makes lines of outcomes."""

    def __init__(self, row: LineFunction | None, rows: Collection[Status]) -> None:
        """Describe the lines.

        Args:
            row: Returns the content of an outcome's line; None for the default.
            rows: The statuses of outcomes that have a line.
        """
        self._row = row
        self._rows = frozenset(rows)

    def make(self, outcome: Outcome[Any], now: datetime) -> Made:
        """Returns an outcome's line in bytes, as the ``row``; or the reason why there is none.

        With the default content, a value that cannot be written is left out of the line.
        """
        if outcome.status not in self._rows:
            return Made(outcome=outcome, row=None, refused=None, at=now)
        try:
            found = outcome_object(outcome) if self._row is None else self._row(outcome)
            line = None if found is None else _line(found)
        except NoSuchField:
            raise
        except BaseException as error:
            if is_interrupt(error):
                raise
            refused = as_refused(error)
            return Made(outcome=outcome, row=self._replacement(outcome, refused), refused=refused, at=now)
        return Made(outcome=outcome, row=line, refused=None, at=now)

    def _replacement(self, outcome: Outcome[Any], reason: RowRefused) -> bytes | None:
        if self._row is not None:
            return None
        try:
            told = {"status": "failed", "value": None, "error": one_line(reason)}
            return _line({**outcome_object(outcome), **told})
        except BaseException as error:
            if is_interrupt(error):
                raise
            return None  # the ID itself cannot be written


def _line(value: Any) -> bytes:
    return json_text(value).encode() + b"\n"
