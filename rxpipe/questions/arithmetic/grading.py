"""The stage that grades answers."""

from __future__ import annotations

import re
from fractions import Fraction

from rxpipe.questions.arithmetic.numbers import NUMBER, read
from rxpipe.questions.arithmetic.values import Answered, Graded

_N = rf"(?:{NUMBER}|\.[0-9]+)"
_FORM = re.compile(
    rf"(?P<sign>[-+\u2212]?) ?\$?(?:(?P<whole>{_N}) (?={_N} ?/))?"  # the 1 of 1 1/2
    rf"(?P<top>{_N})(?: ?/ ?(?P<bottom>{_N}))?(?:,? ?r(?:em(?:ainder)?)?\.? ?(?P<left>{_N}))?\.?"
)


def grade(answered: Answered) -> Graded:
    """Compares an answer with the reference by value: 1.0 and ``"correct"`` if they are equal, else 0.0.

    The form does not matter: ``0.5``, ``.50``, ``1/2`` and ``2/4`` are equal, as are ``7/2`` and ``3 1/2``,
    ``1250`` and ``$1,250.00``, ``4 remainder 2`` and ``4 r 2``, ``4 remainder 0`` and ``4``. Nothing is
    rounded: ``0.33`` is not ``1/3``. Answers that are no numbers are compared as text, in any case.
    """
    given, expected = answered.answer, answered.reference
    right = given == expected or _value(given) == _value(expected)
    return Graded(
        id=answered.id,
        kind=answered.kind,
        question=answered.question,
        reference=answered.reference,
        answer=answered.answer,
        score=1.0 if right else 0.0,
        verdict="correct" if right else "wrong",
    )


def _value(answer: str) -> tuple[Fraction, Fraction] | str:
    """The number and the remainder that an answer stands for, or its text if it is no number."""
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
    except (ValueError, ZeroDivisionError):  # too many digits to read, or a fraction of nothing
        return text
    return (-value if form["sign"] in ("-", "\u2212") else value), left
