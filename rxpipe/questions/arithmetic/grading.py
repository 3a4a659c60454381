"""The stage that grades answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, overload

from rxpipe.questions.arithmetic.numbers import NUMBER, read
from rxpipe.questions.arithmetic.values import Answered, Graded, Question
from rxpipe.questions.inputs import Becomes, as_given, record, takes

_N = rf"(?:{NUMBER}|\.[0-9]+)"
_FORM = re.compile(
    rf"(?P<sign>[-+\u2212]?) ?\$?(?:(?P<whole>{_N}) (?={_N} ?/))?"  # the 1 of 1 1/2
    rf"(?P<top>{_N})(?: ?/ ?(?P<bottom>{_N}))?(?:,? ?r(?:em(?:ainder)?)?\.? ?(?P<left>{_N}))?\.?"
)


@overload
def grade(answered: Answered) -> Graded: ...
@overload
def grade(answered: Mapping[str, Any]) -> dict[str, Any]: ...
@takes("reference", "answer", gives=lambda _: Becomes(Question, Graded))
def grade(answered: Answered | Mapping[str, Any]) -> Graded | dict[str, Any]:
    """Compare an answer with the reference by value: 1.0 and ``"correct"`` if they are equal, else 0.0 and ``"wrong"``.

    The form of a number does not matter. These are equal:

    - ``0.5``, ``.50``, ``1/2`` and ``2/4``
    - ``7/2`` and ``3 1/2``
    - ``1250`` and ``$1,250.00``
    - ``4 remainder 2`` and ``4 r 2``
    - ``4 remainder 0`` and ``4``

    Nothing is rounded: ``0.33`` is not ``1/3``. Answers that are no numbers are compared as text, in any case.

    Args:
        answered: The question and its answer, or a record with the fields ``reference`` and ``answer``. For a record
            the result is a dict.

    Raises:
        WrongInput: The value is not usable.
    """
    known = record(answered, grade)
    given, expected = str(known["answer"]), str(known["reference"])
    right = given == expected or _value(given) == _value(expected)
    verdict = {"score": 1.0 if right else 0.0, "verdict": "correct" if right else "wrong"}
    return as_given(answered, Question, Graded, {**known, **verdict})


def _value(answer: str) -> tuple[Fraction, Fraction] | str:
    """Returns the number and the remainder of an answer, or its text if the answer is no number."""
    text = " ".join(answer.casefold().split())
    form = _FORM.fullmatch(text)
    if form is None:
        return text
    try:
        whole, top, bottom, left = (
            Fraction(read(form[group] or default))
            for group, default in (("whole", "0"), ("top", "0"), ("bottom", "1"), ("left", "0"))
        )
        value = whole + top / bottom
    except (ValueError, ZeroDivisionError):  # too many digits to read, or a denominator of 0
        return text
    return (-value if form["sign"] in ("-", "\u2212") else value), left
