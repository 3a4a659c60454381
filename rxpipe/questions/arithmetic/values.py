"""The values that travel from stage to stage: flat, to fit JSON, process pools and rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


class UnreadableQuestion(ValueError):
    """The text of a question is of no known wording, or asks for something that has no answer."""

    is_permanent = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question, and the answer that its author had in mind.

    Attributes:
        id: The ID that the question was generated from, as it was given.
        kind: What the question is about, such as ``"sharing"``.
        question: The text, all that an answerer may look at.
        reference: The right answer, such as ``"42"``, ``"3/4"``, ``"12.50"`` or ``"4 remainder 2"``.
    """

    id: int | str
    kind: str
    question: str
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Question):
    """A question and the answer that was found for it, in the forms that a reference has."""

    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded(Answered):
    """An answered question and its grade: a score of 1.0 is ``"correct"``, one of 0.0 is ``"wrong"``."""

    score: float
    verdict: Literal["correct", "wrong"]
