"""Outcomes as lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from rxpipe.database.writer import ROWS
from rxpipe.files.lines import LineMaker
from rxpipe.pipeline.outcome import Origin, Outcome

NOW = datetime(2024, 1, 2, tzinfo=UTC)


def outcome(item_id: Any = 17, value: Any = None, **fields: Any) -> Outcome[Any]:
    given: dict[str, Any] = {"status": "written", "error": None, "stage": None, "attempts": 3, "seconds": 1.5, **fields}
    return Outcome(id=item_id, value=value, **given)


def made(one: Outcome[Any], row: Any = None) -> Any:
    line = LineMaker(row, ROWS).make(one, NOW).row
    assert line is None or (line.endswith(b"\n") and line.count(b"\n") == 1)
    return None if line is None else json.loads(line)


def giving(value: Any) -> Callable[[Outcome[Any]], Any]:
    """A function that gives this for every outcome."""

    def row(_: Outcome[Any]) -> Any:
        return value

    return row


def test_a_line_by_default() -> None:
    """An ID stays a number; what is no JSON is encoded as everywhere else."""
    value = {"text": "a\nb", "day": date(2024, 1, 2), "nan": float("nan"), "tags": {"x"}, "bad": "\ud800"}
    assert made(outcome(value=value)) == {
        "id": 17,
        "status": "written",
        "value": {"text": "a\nb", "day": "2024-01-02", "nan": None, "tags": ["x"], "bad": "\ufffd"},
        "error": None,
        "stage": None,
        "attempts": 3,
        "seconds": 1.5,
    }


def test_a_failed_child() -> None:
    """It names its parent, and why it failed."""
    found = made(outcome("17/0", status="failed", error=ValueError("no"), stage="s", origin=Origin(parent=17)))
    assert (found["id"], found["parent"], found["status"]) == ("17/0", 17, "failed")
    assert (found["error"], found["stage"]) == ("ValueError: no", "s")


def test_a_status_without_a_line() -> None:
    """Nothing is written, and nothing refused."""
    dropped = LineMaker(None, ROWS).make(outcome(status="dropped"), NOW)
    assert (dropped.row, dropped.refused) == (None, None)


@pytest.mark.parametrize(("given", "expected"), [([1, "a"], [1, "a"]), ("text", "text"), (None, None)])
def test_a_function_makes_lines(given: Any, expected: Any) -> None:
    """Of anything; None is no line."""
    assert made(outcome(), giving(given)) == expected


def test_a_value_that_cannot_be_written() -> None:
    """By default a line without it says why."""
    loop: list[Any] = []
    loop.append(loop)
    one = LineMaker(None, ROWS).make(outcome(value=loop), NOW)
    assert one.refused is not None
    found = json.loads(one.row)
    assert (found["id"], found["status"], found["value"]) == (17, "failed", None)
    assert "contains itself" in found["error"]


def test_a_function_that_raises() -> None:
    """No line takes its place, as nobody knows what one looks like."""

    def row(_: Outcome[Any]) -> Any:
        raise LookupError("no such thing")

    one = LineMaker(row, ROWS).make(outcome(), NOW)
    assert one.row is None
    assert "LookupError: no such thing" in str(one.refused)
