"""The values that travel from stage to stage, and what the model is asked for in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

Verdict = Literal["correct", "partial", "wrong"]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question, and the answer that its author had in mind.

    Attributes:
        id: The ID that it was generated for.
        topic: What it is about.
        kind: What kind of question it is.
        difficulty: How hard it is.
        language: The language that it is in.
        question: The text, all that an answerer may look at.
        reference: The right answer.
    """

    id: int | str
    topic: str
    kind: str
    difficulty: str
    language: str
    question: str
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Question):
    """A question and the answer that was given."""

    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded(Answered):
    """An answered question and its grade.

    Attributes:
        score: From 0 (wrong) to 1 (fully correct); None if it is ungraded.
        verdict: In a word; ``ungraded`` if the grader's replies could not be read, which says nothing of the answer.
        reason: Why.
    """

    score: float | None
    verdict: Verdict | Literal["ungraded"]
    reason: str


class WrittenQuestion(BaseModel):
    """What ``generate`` asks for."""

    question: Text
    reference: Text


class WrittenAnswer(BaseModel):
    """What ``answer`` asks for."""

    answer: Text


class Grade(BaseModel):
    """What ``grade`` asks for: the reason first, so that the verdict follows from it."""

    reason: Text
    verdict: Verdict
    score: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.verdict == "correct" and self.score < 0.5) or (self.verdict == "wrong" and self.score > 0.5):
            raise ValueError(f"a verdict of {self.verdict!r} and a score of {self.score:g} contradict each other")
        return self
