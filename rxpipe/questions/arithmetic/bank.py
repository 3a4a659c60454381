"""The stages that write and solve questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

from rxpipe.questions.arithmetic.kinds import KINDS
from rxpipe.questions.arithmetic.values import Answered, Question, UnreadableQuestion
from rxpipe.questions.arithmetic.wording import Facts
from rxpipe.questions.arithmetic.words import Dice
from rxpipe.questions.inputs import Becomes, as_given, record, takes


def generate(question_id: int | str) -> Question:
    """Write the question that belongs to an ID.

    An ID always gives the same question, in every process and Python version. The int 7 and the string ``"7"`` give the
    same text.
    """
    dice = Dice(f"arithmetic {question_id}")
    kind = dice.pick(KINDS)
    wording = dice.pick(kind.wordings)
    facts = Facts(kind.draw(dice), wording.cast(dice))
    return Question(id=question_id, kind=kind.name, question=wording.write(facts), reference=kind.solve(facts))


@overload
def answer(question: Question) -> Answered: ...
@overload
def answer(question: Mapping[str, Any]) -> dict[str, Any]: ...
@takes("question", gives=lambda _: Becomes(Question, Answered))
def answer(question: Question | Mapping[str, Any]) -> Answered | dict[str, Any]:
    """Solve a question from its text alone, in exact arithmetic.

    The text may come from any source. It needs one of the known wordings, with any numbers, names and things.

    Args:
        question: The question, or a record with the field ``question``. For a record the result is a dict.

    Raises:
        UnreadableQuestion: The text has no known wording, or no answer: it divides by zero, or gives away more than
            there is.
        WrongInput: The value is not usable.
    """
    known = record(question, answer)
    return as_given(question, Question, Answered, {**known, "answer": _solve(str(known["question"]))})


def _solve(question: str) -> str:
    text = " ".join(question.split())
    try:
        for kind in KINDS:
            for wording in kind.wordings:
                if (facts := wording.read(text)) is not None:
                    return kind.solve(facts)
    except (ValueError, ArithmeticError) as error:
        raise UnreadableQuestion(f"no answer to {_short(text)}: {error}") from error
    raise UnreadableQuestion(f"no known wording: {_short(text)}")


def _short(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:199] + "…")
