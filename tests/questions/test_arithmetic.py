"""The arithmetic question bank: stable results, answers from the text alone, exact grades."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from fractions import Fraction

import pytest
from hypothesis import given as for_any
from hypothesis import settings
from hypothesis import strategies as st

from rxpipe.questions.arithmetic import (
    Answered,
    Graded,
    Question,
    UnreadableQuestion,
    answer,
    generate,
    grade,
)
from rxpipe.questions.arithmetic.kinds import KINDS, Kind


def asked(text: str) -> str:
    """The answer to a text that was not generated here."""
    return answer(Question(id="theirs", kind="unknown", question=text, reference="none")).answer


def graded(given: str, reference: str) -> Graded:
    """The grade of an answer, given a reference."""
    return grade(Answered(id=1, kind="sum", question="?", reference=reference, answer=given))


@pytest.mark.parametrize(
    ("question_id", "text", "reference"),
    [
        (0, "How many metres are there in 1 kilometre?", "1000"),
        (2, "Grace rides at 45 km/h for 1 hour. How many kilometres does Grace ride?", "45"),
        (42, "Tara is 5 years old and Elena is 23 years older. How old will Elena be in 16 years?", "44"),
        (
            99,
            "Each pencil costs $2.45. Mei buys 8 and pays with $20.00. How many dollars is the change?",
            "0.40",
        ),
        ("Prüf-7", "Zoe rides 279 km in 3 hours. How many kilometres an hour is that on average?", "93"),
        (
            "题目-1",
            "A shirt costs $27.13, a bag $20.99 and a melon $12.89. How many dollars do they cost together?",
            "61.01",
        ),
    ],
)
def test_an_id_gives_the_same_question_everywhere(question_id: int | str, text: str, reference: str) -> None:
    """These texts were written down once, so that a change of what an ID gives is noticed."""
    question = generate(question_id)
    assert (question.id, question.question, question.reference) == (question_id, text, reference)


def test_an_id_gives_the_same_question_again() -> None:
    """Two calls with one ID give equal questions."""
    assert [generate(n) for n in range(200)] == [generate(n) for n in range(200)]


def test_an_int_and_its_text_give_the_same_question() -> None:
    """IDs that went through a text column still mean the same question."""
    assert replace(generate("7"), id=7) == generate(7)


def test_every_kind_occurs_early() -> None:
    """A small run already shows every kind."""
    assert {generate(n).kind for n in range(200)} == {kind.name for kind in KINDS}


def test_questions_vary() -> None:
    """Different IDs rarely give the same text."""
    assert len({generate(n).question for n in range(1000)}) > 950


def test_nouns_agree_with_their_numbers_and_articles() -> None:
    """No text says "1 apples", "2 apple" or "a apple"."""
    nouns = "(?:apple|badge|box|coin|day|hour|kilometre|page|peach|pencil|pupil|week|worker|year)"
    wrong = re.compile(rf"\b1 {nouns}e?s\b|\b(?!1 )[\d.]+ {nouns}\b|\b[Aa] [aeiou]")
    assert [text for n in range(2000) if wrong.search(text := generate(n).question)] == []


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_no_text_fits_two_wordings(kind: Kind) -> None:
    """A generated text is read by the wording that wrote it and no other, so that no question is mistaken."""
    texts = [question.question for n in range(1000) if (question := generate(n)).kind == kind.name]
    for text in texts:
        assert [k.name for k in KINDS for wording in k.wordings if wording.read(text)] == [kind.name]


def test_the_first_questions_are_answered_right() -> None:
    """The bank agrees with itself on 2,000 questions."""
    assert [n for n in range(2000) if grade(answer(generate(n))).score != 1.0] == []


def test_an_answer_carries_the_question() -> None:
    """Later stages and the sink find all of the question in the answer."""
    question = generate(5)
    assert answer(question) == Answered(**asdict(question), answer=question.reference)


def test_an_answer_comes_from_the_text_alone() -> None:
    """Kind, reference and ID may say anything at all."""
    for n in range(200):
        question = generate(n)
        assert answer(replace(question, id="?", kind="?", reference="?")).answer == answer(question).answer


# One text of each kind, with names and things that the bank does not know, and its answer worked out anew.
Solution = Callable[[int, int, int], Fraction | int]
CASES: dict[str, tuple[str, Solution]] = {
    "sum": (
        "Mr. O'Neil has {a} red roses and gets {b} more. How many red roses does Mr. O'Neil have now?",
        lambda a, b, _: a + b,
    ),
    "difference": (
        "Ann has {a} cherries and Bo has {b}. How many more cherries does Ann have than Bo?",
        lambda a, b, _: a - b,
    ),
    "product": ("Each glass holds {a} straws. How many straws do {b} glasses hold?", lambda a, b, _: a * b),
    "fraction": (
        "Jean-Luc has {a} pens and gives {b}/{c} of them to Li Na. How many pens does Li Na get?",
        lambda a, b, c: Fraction(a * b, c),
    ),
    "remaining_fraction": (
        "Ann eats 1/{a} of a tart, and Bo eats 1/{b}. What fraction of the tart is left?",
        lambda a, b, _: 1 - Fraction(a + b, a * b),
    ),
    "percentage": (
        "In a box of {a} screws, {b}% are small. How many screws are small?",
        lambda a, b, _: Fraction(a * b, 100),
    ),
    "discount": (
        "An anorak costs ${a}.50. In a sale it is {b}% cheaper. How many dollars is the sale price?",
        lambda a, b, _: Fraction(2 * a + 1, 2) - Fraction((2 * a + 1) * b, 200),
    ),
    "change": (
        "Ann buys {a} pears at ${b}.05 each and pays with ${c}. How many dollars is the change?",
        lambda a, b, c: c - a * (b + Fraction(1, 20)),
    ),
    "spending": (
        "Ann spends ${a}.25 on lunch, ${b} on a book and ${c}.1 on a gift. How many dollars is that in all?",
        lambda a, b, c: a + b + c + Fraction(35, 100),
    ),
    "distance": (
        "An airship travels at {a}.5 km/h for {b} hours. How many kilometres does it travel?",
        lambda a, b, _: a * b + Fraction(b, 2),
    ),
    "speed": (
        "A sledge travels {a} km in {b} hours. What is its average speed in km/h?",
        lambda a, b, _: Fraction(a, b),
    ),
    "duration": (
        "Ann drives {a} km at a steady {b} km/h. How many hours does Ann drive?",
        lambda a, b, _: Fraction(a, b),
    ),
    "conversion": ("Convert {a} minutes to hours.", lambda a, _, __: Fraction(a, 60)),
    "average": (
        "Ann scores {a}, {b} and {c} in three games. What is the average score?",
        lambda a, b, c: Fraction(a + b + c, 3),
    ),
    "area": (
        "A rectangular floor measures {a} m by {b} m. How many square metres of carpet cover it?",
        lambda a, b, _: a * b,
    ),
    "perimeter": (
        "A rectangular meadow is {a} m long and {b} m wide. How many metres of fence go around it?",
        lambda a, b, _: a + b + a + b,
    ),
    "age": (
        "Ann is {a} years old, {b} years younger than Bo. How old will Bo be {c} years from now?",
        lambda a, b, c: a + b + c,
    ),
    "ages": (
        "Ann is {a} times as old as Bo. Together they are {b} years old. How old is Bo?",
        lambda a, b, _: Fraction(b, 1 + a),
    ),
    "two_steps": (
        "Ann buys {a} sacks of {b} nuts and gives {c} away. How many nuts does Ann have left?",
        lambda a, b, c: a * b - c,
    ),
    "workers": (
        "{a} workers can build a wall in {b} days. How many days does it take {c} workers?",
        lambda a, b, c: Fraction(a * b, c),
    ),
}


def test_every_kind_has_a_case() -> None:
    """Kinds whose answer is one number are all in the table; two others have tests of their own."""
    assert set(CASES) | {"sharing", "sequence"} == {kind.name for kind in KINDS}


@pytest.mark.parametrize("kind", CASES)
@settings(max_examples=25, deadline=None)
@for_any(numbers=st.tuples(*[st.integers(1, 10**6)] * 3))
def test_other_numbers_give_their_own_answer(kind: str, numbers: tuple[int, int, int]) -> None:
    """The answer is right for any numbers, exactly, or there is none because it would be negative."""
    template, solution = CASES[kind]
    text, expected = template.format(**dict(zip("abc", numbers, strict=True))), solution(*numbers)
    if expected < 0:
        with pytest.raises(UnreadableQuestion, match="negative"):
            asked(text)
    else:
        assert Fraction(asked(text)) == expected


@settings(max_examples=25, deadline=None)
@for_any(by=st.integers(1, 99), each=st.integers(0, 99), left=st.integers(0, 98))
def test_sharing_gives_quotient_and_remainder(by: int, each: int, left: int) -> None:
    """What cannot be shared out evenly is left over."""
    total = by * each + left % by
    text = f"Ann shares {total} figs equally among {by} friends. How many does each get, and how many are left?"
    assert asked(text) == f"{each} remainder {left % by}"


@settings(max_examples=25, deadline=None)
@for_any(start=st.integers(0, 999), step=st.integers(0, 999))
def test_a_sequence_goes_on(start: int, step: int) -> None:
    """The next number is one more step away."""
    a, b, c, d, after = (start + step * n for n in range(5))
    assert asked(f"What number comes next in the row {a}, {b}, {c}, {d}?") == str(after)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Convert 3 hours to minutes.", "180"),
        ("Convert 1 hour to seconds.", "3600"),
        ("Convert 1,250 metres to kilometres.", "1.25"),
        ("Convert 1 second to minutes.", "1/60"),
        ("Ann buys 3 figs at $0.50 each and pays with $2. How many dollars is the change?", "0.50"),
        ("Ann eats 1/4 of a pie, and Bo eats 1/4. What fraction of the pie is left?", "1/2"),
        ("  Convert 2\n hours   to minutes. ", "120"),
    ],
)
def test_answers_are_written_as_people_write_them(text: str, expected: str) -> None:
    """Whole numbers, decimals that end, fractions that do not, and money with its cents."""
    assert asked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "What is the capital of France?",
        "Ann has many apples and gets 2 more. How many apples does Ann have now?",
        "Ann has 3 apples and gets 2 more. How many apples does Bo have now?",
        "Ann has 3 apples and gets 2 more. How many pears does Ann have now?",
        "Ann has 3 apples and gives 5 to Bo. How many apples does Ann have left?",
        "Ann shares 3 apples equally among 0 friends. How many does each get, and how many are left?",
        "Ann has 8 pens and gives 1/0 of them to Bo. How many pens does Bo get?",
        "Convert 3 hours to metres.",
        "Convert 3 hours to parsecs.",
        "What number comes next in the row 1, 2, 4, 8?",
        f"Convert {'9' * 5000} hours to minutes.",
    ],
)
def test_what_cannot_be_answered_raises(text: str) -> None:
    """Unknown wordings, mixed-up names and impossible numbers are refused, never answered wrongly."""
    with pytest.raises(UnreadableQuestion):
        asked(text)


def test_the_error_shows_the_text_in_brief() -> None:
    """A message that ends up in a row or a log stays short, however long the text is."""
    with pytest.raises(UnreadableQuestion, match="no known wording: 'Why, why") as caught:
        asked("Why, " + "why, " * 1000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("given", "reference"),
    [
        ("0.50", "1/2"),
        (".5", "0.5"),
        ("2/4", "1/2"),
        ("3 1/2", "7/2"),
        ("-3 1/2", "\u22123.5"),
        ("$1,250.00", "1250"),
        ("42.", "42"),
        (" 4 r 2 ", "4 remainder 2"),
        ("4, Rem. 2", "4 remainder 2"),
        ("4 R2", "4 remainder 2"),
        ("4", "4 remainder 0"),
        ("Paris", "paris"),
    ],
)
def test_equal_forms_are_correct(given: str, reference: str) -> None:
    """Answers are compared by value, not by how they are written."""
    assert (graded(given, reference).score, graded(given, reference).verdict) == (1.0, "correct")


@pytest.mark.parametrize(
    ("given", "reference"),
    [
        ("41", "42"),
        ("-42", "42"),
        ("0.33", "1/3"),
        ("4", "4 remainder 2"),
        ("4 remainder 3", "4 remainder 2"),
        ("42", "4 remainder 2"),
        ("1 2", "3"),
        ("1/0", "1"),
        ("1e2", "100"),
        ("9" * 5000, "9"),
        ("", "0"),
        ("I do not know", "42"),
    ],
)
def test_other_values_are_wrong(given: str, reference: str) -> None:
    """Nothing is rounded, and nothing that is no number counts as one."""
    assert (graded(given, reference).score, graded(given, reference).verdict) == (0.0, "wrong")


@for_any(value=st.fractions(max_denominator=1000), other=st.fractions(max_denominator=1000))
def test_grades_are_exact(value: Fraction, other: Fraction) -> None:
    """Two fractions are graded as equal exactly if they are."""
    assert graded(str(value), str(other)).score == float(value == other)


@pytest.mark.parametrize("question_id", [3, "3", "题目-1"])
def test_values_survive_pickle_and_json(question_id: int | str) -> None:
    """Values go through process pools, checkpoints and rows unchanged."""
    value = grade(answer(generate(question_id)))
    assert pickle.loads(pickle.dumps(value)) == value
    assert Graded(**json.loads(json.dumps(asdict(value)))) == value


def test_errors_survive_pickle() -> None:
    """A worker process can report an unreadable question."""
    error = pickle.loads(pickle.dumps(UnreadableQuestion("no known wording: 'x'")))
    assert isinstance(error, ValueError)
    assert str(error) == "no known wording: 'x'"
