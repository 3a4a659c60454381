"""The values that go from stage to stage. They are flat, to fit JSON, process pools and rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


class UnreadableQuestion(ValueError):
    """The text of a question has no known wording, or the question has no answer."""

    is_permanent = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question, and the answer that its author had in mind.

    Attributes:
        id: The ID that the question was generated from, as it was given.
        kind: The kind of the question, such as ``"sharing"``.
        question: The text. An answerer may look at nothing else.
        reference: The right answer, such as ``"42"``, ``"3/4"``, ``"12.50"`` or ``"4 remainder 2"``.
    """

    id: int | str
    kind: str
    question: str
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Question):
    """A question and an answer to it. The answer has one of the forms of a reference."""

    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded(Answered):
    """An answered question and its grade: a score of 1.0 is ``"correct"``, a score of 0.0 is ``"wrong"``."""

    score: float
    verdict: Literal["correct", "wrong"]
