from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.rows import outcome_row, refused_row, score_of, statement_bytes

from .sink_helpers import outcome

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Card:
    question: str
    answer: str
    score: float


class Model(BaseModel):
    question: str
    answer: str
    score: float


class Pair(NamedTuple):
    question: str
    answer: str
    score: float


class Plain:
    def __init__(self, question: str, answer: str, score: float) -> None:
        self.question = question
        self.answer = answer
        self.score = score


class Methods:
    data = 1

    def question(self) -> str:
        return "?"


class Hostile:
    def __getattr__(self, name: str) -> Any:
        raise SystemExit(name)


def card(question: str, answer: str, score: float) -> dict[str, Any]:
    return {"question": question, "answer": answer, "score": score}


@pytest.mark.parametrize("make", [card, Card, Model, Pair, Plain])
def test_question_answer_and_score_are_read_from_the_value(make: Any) -> None:
    """They are a mapping's keys or any object's attributes."""
    row = outcome_row(outcome(1, make(question="How?", answer="So.", score=0.5)), NOW)
    assert (row["question"], row["answer"], row["score"]) == ("How?", "So.", 0.5)


@pytest.mark.parametrize("value", [None, "text", 7, [1], {"other": 1}])
def test_a_value_without_them_leaves_them_empty(value: Any) -> None:
    """Any value at all has a row."""
    row = outcome_row(outcome(1, value), NOW)
    assert (row["question"], row["answer"], row["score"]) == (None, None, None)


def test_the_rest_comes_from_the_outcome() -> None:
    """Status, stage, attempts and times, and the error in one line."""
    row = outcome_row(outcome(1, status="failed", error=ValueError("a\nb"), stage="answering"), NOW)
    assert row == {
        "id": "1",
        "status": "failed",
        "question": None,
        "answer": None,
        "score": None,
        "error": "ValueError: a b",
        "stage": "answering",
        "attempts": 3,
        "seconds": 1.5,
        "created_at": NOW,
        "updated_at": NOW,
        "value": None,
    }


def test_a_question_that_is_not_text_goes_in_as_json() -> None:
    """Structure is kept."""
    assert outcome_row(outcome(1, {"question": {"stem": "?", "options": [1]}}), NOW)["question"] == (
        '{"stem":"?","options":[1]}'
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7.0),
        (0.5, 0.5),
        (Decimal("0.5"), 0.5),
        (Fraction(1, 2), 0.5),
        (True, None),
        ("7", None),
        (None, None),
        (float("nan"), None),
        (float("-inf"), None),
        (Decimal("sNaN"), None),
        (10**400, None),
        ([7], None),
    ],
)
def test_a_score_is_a_finite_number_or_null(value: Any, expected: float | None) -> None:
    """Databases differ in the NaNs they take, and True is no score."""
    assert score_of(value) == expected


def test_a_method_is_not_data() -> None:
    """An object's method that is called like a column is not its value."""
    assert outcome_row(outcome(1, {"question": 1}), NOW)["question"] == "1"
    with pytest.raises(ValueError, match="is not data"):
        outcome_row(outcome(1, Methods()), NOW)  # no attributes of its own: nothing to encode


def test_a_value_that_raises_when_read_is_an_error_of_this_row() -> None:
    """Whatever its ``__getattr__`` raises reaches the caller, who reports it."""
    with pytest.raises(SystemExit):
        outcome_row(outcome(1, Hostile()), NOW)


@pytest.mark.parametrize("item_id", ["a\x00", "\ud800", "x" * 256, 10**300])
def test_an_id_that_cannot_be_a_key_is_refused(item_id: Any) -> None:
    """Replacing characters or cutting could make one key of two IDs."""
    with pytest.raises(RowRefused, match="the ID"):
        outcome_row(outcome(item_id), NOW)


def test_a_long_stage_name_is_cut() -> None:
    """Its column has a length, and a name is no reason to lose a row."""
    assert outcome_row(outcome(1, stage="s" * 300), NOW)["stage"] == "s" * 255


def test_the_row_in_place_of_a_refused_one_has_the_same_columns() -> None:
    """So that it shares their statement; it says why, and holds nothing of the value."""
    item = outcome(1, {"question": "?"})
    row = refused_row(item, ValueError("no"), NOW)
    assert list(row) == list(outcome_row(item, NOW))
    assert (row["status"], row["error"], row["question"]) == ("failed", "ValueError: no", None)


def test_the_size_of_a_row_counts_bytes_and_escapes() -> None:
    """MySQL's limit is one of bytes, of the statement with its backslashes."""
    assert statement_bytes({"a": "é" * 60_000, "b": '"' * 60_000, "c": 1}) == 240_000
    assert statement_bytes({"a": b"'" * 60_000, "b": ["x" * 60_000]}) == 120_000 + 60_000 + 4 + 2
    assert statement_bytes({"a": "short"}) == 0
