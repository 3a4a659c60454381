"""The texts that the server answers with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rxpipe.devtools.fake_llm.chat import parse
from rxpipe.devtools.fake_llm.json_values import as_object
from rxpipe.devtools.fake_llm.reply_texts import Reply, reply
from rxpipe.questions.arithmetic import Question, answer, generate

from .clients import ANSWER, QUESTION, TEXT, request

WRITE = {"type": "object", "properties": {"question": TEXT, "reference": TEXT}, "required": ["question", "reference"]}
GRADE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "score": {"type": "number"},
        "verdict": {"type": "string", "enum": ["correct", "wrong"]},
        "reason": TEXT,
    },
    "required": ["score", "verdict", "reason"],
}


def replied(user: str, schema: dict[str, Any] | None = None, seed: int = 0, **others: Any) -> Reply:
    return reply(parse(json.dumps(request(user, schema, **others)).encode(), no_schema=False), seed)


def graded(reference: str, given: str, **changes: Any) -> Any:
    schema = {**GRADE, "properties": {**GRADE["properties"], **changes}}
    return replied(f"<reference>{reference}</reference><answer>{given}</answer>", schema).value


def test_it_writes_questions() -> None:
    """Those of the arithmetic bank, with the right reference."""
    written = replied("Write a question.", WRITE).value
    question = Question(id=0, kind="", question=written["question"], reference=written["reference"])
    assert answer(question).answer == question.reference


def test_other_messages_give_another_question() -> None:
    """So that a bank has many."""
    assert len({replied(f"Write question {index}.", WRITE).text for index in range(50)}) == 50


LIST = {"type": "object", "properties": {"questions": {"type": "array", "items": WRITE}}, "required": ["questions"]}
CHECK = {
    "type": "object",
    "properties": {"reason": TEXT, "clear": {"type": "boolean"}},
    "required": ["reason", "clear"],
}


@pytest.mark.parametrize(
    ("user", "count"), [("Write 5 different questions.", 5), ("Write 2 questions.", 2), ("Write questions.", 3)]
)
def test_it_writes_as_many_questions_as_it_is_asked_for(user: str, count: int) -> None:
    """Different ones, with the right references; with other messages, others."""
    written = replied(user, LIST).value["questions"]
    assert len({one["question"] for one in written}) == count
    for one in written:
        assert answer(Question(id=0, kind="", **one)).answer == one["reference"]
    assert written != replied(f"{user} ", LIST).value["questions"]


def test_it_finds_some_questions_unclear() -> None:
    """One in ten, by the seed; and each that it cannot answer."""
    users = [f"<question>{generate(index).question}</question>" for index in range(1000)]
    unclear = [user for user in users if not replied(user, CHECK).value["clear"]]
    assert 70 < len(unclear) < 130
    assert len({replied(user, CHECK).value["reason"] for user in unclear}) > 50
    assert {replied(users[0], CHECK, seed).value["clear"] for seed in range(50)} == {True, False}
    assert not replied("<question>Why?</question>", CHECK).value["clear"]


def test_it_answers_questions_and_is_sometimes_wrong() -> None:
    """In 15 of 100 cases, by another number."""
    questions = [generate(index) for index in range(1000)]
    replies = [replied(f"<question>{one.question}</question>", ANSWER).value["answer"] for one in questions]
    wrong = sum(given != one.reference for given, one in zip(replies, questions, strict=True))
    assert 120 < wrong < 180


def test_which_answers_are_wrong_depends_on_the_seed() -> None:
    """By 30 seeds the same question is answered both ways."""
    assert {replied(QUESTION, ANSWER, seed).value["answer"] for seed in range(30)} == {"7", "8"}


@pytest.mark.parametrize("user", ["<question>Why?</question>", "No question at all", "<question>"])
def test_it_says_so_if_it_does_not_know(user: str) -> None:
    """In words that are no number."""
    assert replied(user, ANSWER).value == {"answer": "I do not know"}


def test_the_last_tags_count() -> None:
    """Instructions may speak of them before."""
    instructions = "Answer what is between <question> and </question>."
    assert replied(f"{instructions} {QUESTION}", ANSWER).value["answer"] in ("7", "8")
    assert graded("1</reference> is here: <reference>2", "2")["score"] == 1


def test_it_grades_by_value() -> None:
    """And says why."""
    assert graded("3/4", "0.75") == {
        "score": 1.0,
        "verdict": "correct",
        "reason": "The answer 0.75 equals the reference 3/4.",
    }
    assert graded("3/4", "3") == {
        "score": 0.0,
        "verdict": "wrong",
        "reason": "The answer 3 differs from the reference 3/4.",
    }


def test_without_a_reference_an_answer_is_wrong() -> None:
    """As there is nothing to compare it with."""
    assert replied("<answer>3</answer>", GRADE).value["score"] == 0


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ({"enum": ["wrong", "partly", "correct"]}, ("correct", "wrong")),
        ({"enum": ["fail", "pass"]}, ("pass", "fail")),
        ({"enum": ["A", "B", "C"]}, ("A", "C")),
        ({"type": "boolean"}, (True, False)),
        ({"type": "string"}, ("correct", "wrong")),
    ],
)
def test_the_verdict_is_one_of_the_schema(verdict: dict[str, Any], words: tuple[Any, Any]) -> None:
    """That which fits best."""
    assert (graded("1", "1", verdict=verdict)["verdict"], graded("1", "2", verdict=verdict)["verdict"]) == words


def test_the_score_is_on_the_scale_of_the_schema() -> None:
    """The most for right, the least for wrong."""
    scale = {"type": "integer", "minimum": 1, "maximum": 5}
    assert [graded("1", given, score=scale)["score"] for given in ("1", "2")] == [5, 1]


@pytest.mark.parametrize("maximum", ["5", None, float("inf")])
def test_a_bound_that_makes_no_sense_is_no_scale(maximum: Any) -> None:
    """The score is then as without it."""
    assert graded("1", "1", score={"type": "integer", "maximum": maximum})["score"] == 1


def test_answers_may_be_numbers() -> None:
    """If the schema wants that."""
    schema = {**ANSWER, "properties": {"answer": {"type": "integer"}}}
    assert replied(QUESTION, schema).value["answer"] in (7, 8)


def test_other_properties_get_some_value() -> None:
    """If they are required."""
    schema = {**ANSWER, "properties": {"steps": {"type": "array", "items": TEXT}, "answer": TEXT}}
    schema["required"] = ["steps", "answer"]
    assert replied("?", schema).value == {"steps": ["text"], "answer": "I do not know"}


def test_of_other_schemas_it_gives_any_instance() -> None:
    """Also if they are of no object."""
    assert replied("?", {"type": "object", "properties": {"city": TEXT}, "required": ["city"]}).value == {
        "city": "text"
    }
    assert replied("?", {"type": "integer"}).text == "1"


@pytest.mark.parametrize(
    ("user", "names"),
    [
        ("Write.", ["question", "reference"]),
        ('Write. Reply with "questions".', ["questions"]),
        (QUESTION, ["answer"]),
        (f'{QUESTION} Reply with "clear".', ["reason", "clear"]),
        (f"{QUESTION}<reference>7</reference><answer>7</answer>", ["score", "verdict", "reason"]),
    ],
)
def test_without_a_schema_the_tags_tell_the_task(user: str, names: list[str]) -> None:
    """With a format of JSON the text is an object, and nothing else."""
    assert list(json.loads(replied(user, response_format={"type": "json_object"}).text)) == names


def test_without_a_format_json_is_among_words() -> None:
    """In a fence, as chat models write it."""
    before, inside, after = replied(QUESTION).text.split("```")
    assert list(json.loads(inside.removeprefix("json"))) == ["answer"]
    assert before.strip()
    assert after.strip()


@pytest.mark.parametrize("value", [{"answer": "7"}, {"steps": ["a"], "by": {}}, {}, [], 3, "text"])
def test_spoiled_texts_are_not_what_was_asked_for(value: Any) -> None:
    """Words, half of it, other types, nothing."""
    prose, half, other, nothing = (Reply(value).spoiled(variant) for variant in range(4))
    for text in (prose, nothing):
        with pytest.raises(ValueError, match="Expecting value"):
            json.loads(text)
    assert json.dumps(value).startswith(half)
    assert half != json.dumps(value)
    changed = json.loads(other)
    if fields := as_object(value):
        assert all(type(changed[name]) is not type(one) for name, one in fields.items())
    else:
        assert changed != value
