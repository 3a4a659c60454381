"""The values that go from stage to stage, and the replies that the model is asked for."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    create_model,
    model_validator,
)

Verdict = Literal["correct", "partial", "wrong"]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question, and the answer that its author had in mind: a frozen dataclass.

    ::

        longer = dataclasses.replace(question, question=f"{question.question} Explain your steps.")
        row = dataclasses.asdict(question)

    Attributes:
        id: The ID of the question's item. If one call writes several questions for the ID 17, their IDs are ``17/0``,
            ``17/1`` and so on.
        topic: The topic of the question.
        kind: The kind of the question.
        difficulty: The difficulty of the question.
        language: The language of the question.
        question: The text. An answerer may look at nothing else.
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
    """A question and an answer to it. Has all attributes of a ``Question``, too.

    Attributes:
        answer: The answer.
    """

    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded(Answered):
    """An answered question and its grade. Has all attributes of an ``Answered``, too.

    Attributes:
        score: From 0 (wrong) to 1 (fully correct); None if the answer is ungraded.
        verdict: The grade in a word. ``ungraded`` means that the grader's replies could not be read, and says nothing
            about the answer.
        reason: The reason for the grade.
    """

    score: float | None
    verdict: Verdict | Literal["ungraded"]
    reason: str


class WrittenQuestion(BaseModel):
    """What ``generate`` asks for."""

    question: Text
    reference: Text


def _readable(entries: object) -> object:
    """Returns the entries that are questions, each text once."""
    if not isinstance(entries, list):
        return entries
    found: dict[str, WrittenQuestion] = {}
    for entry in cast("list[object]", entries):
        with suppress(ValidationError):
            one = WrittenQuestion.model_validate(entry)
            found.setdefault(" ".join(one.question.casefold().split()), one)
    return list(found.values())


class WrittenQuestions(BaseModel):
    """What ``generate`` asks for when a call writes several; entries that cannot be read are left out."""

    questions: Annotated[list[WrittenQuestion], BeforeValidator(_readable), Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _of_one(cls, reply: Any) -> object:
        """Use the first entry of a reply that was cut off."""
        fields = cast("dict[str, object]", reply) if isinstance(reply, dict) else {}
        return {"questions": [fields]} if "question" in fields else cast("object", reply)


@cache
def written_questions(count: int) -> type[WrittenQuestions]:
    """Returns ``WrittenQuestions`` with the count in its schema, for servers that hold the model to the schema."""
    bounds = Field(min_length=1, json_schema_extra={"minItems": count, "maxItems": count})
    questions: Any = (Annotated[list[WrittenQuestion], BeforeValidator(_readable), bounds], ...)
    return create_model("WrittenQuestions", __base__=WrittenQuestions, questions=questions)


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


class Clarity(BaseModel):
    """What ``check`` asks for: the reason first, so that the verdict follows from it."""

    reason: Text
    clear: bool
