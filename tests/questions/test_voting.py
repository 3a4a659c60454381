"""Copies of a question, and the answer that most of them were given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from llm_pipelines import outcomes
from pydantic import BaseModel

from rxpipe import Children, Drop, Outcome, Pipeline, Retry, Stage
from rxpipe.pipeline.outcome import Origin
from rxpipe.questions import majority, samples
from rxpipe.questions.inputs import WrongInput


def children(*values: Any) -> Children[Any]:
    """Those of item 7; an exception is how one failed."""
    outcomes = [
        Outcome(
            id=f"7/{number}",
            status="failed" if isinstance(value, Exception) else "collected",
            value=value,
            error=value if isinstance(value, Exception) else None,
            stage=None,
            attempts=1,
            seconds=0,
            origin=Origin(parent=7),
        )
        for number, value in enumerate(values)
    ]
    return Children(7, None, outcomes)


def voted(*answers: str) -> tuple[str, int, float]:
    found = majority(children(*({"answer": answer} for answer in answers)))
    return found["answer"], found["votes"], found["agreement"]


def test_the_commonest_answer_wins() -> None:
    """As it was written first, with all that is in that copy."""
    copies = [{"question": "?", "answer": answer, "model": answer} for answer in ("9", "Eight.", "eight", "7")]
    assert majority(children(*copies)) == {
        **{"question": "?", "answer": "Eight.", "model": "Eight."},
        **{"votes": 2, "agreement": 0.5},
    }


def test_of_equally_common_answers_the_earlier_wins() -> None:
    """In the order of the copies."""
    assert voted("b", "a", "a", "b") == ("b", 2, 0.5)


@pytest.mark.parametrize(
    "same",
    [
        ("Paris", " paris.", "PARIS!", "\u201cParis\u201d", "**Paris**"),
        ("It's four", "Its four", "it\u2019s  four"),
        ("well-known", "well known"),
        ("1,000", "1000", "1000.", "\uff11\uff10\uff10\uff10"),
        ("-7", "\u22127", "(-7)"),
        ("北京", "北京。", "「北京」"),
        ("3.5", "3.5."),
        ("3, 5", "3 5"),
    ],
)
def test_answers_that_are_the_same(same: tuple[str, ...]) -> None:
    """In other words none of them, but as they are written."""
    assert voted(*same)[1:] == (len(same), 1)


@pytest.mark.parametrize(
    "different",
    [
        ("3.5", "35"),
        ("-7", "7"),
        ("1/2", "12", "1:2", "1 2"),
        ("1,2", "12", "1.2"),
        ("50%", "50"),
        ("$5", "5"),
        ("C", "C++", "C#"),
        ("a", "b"),
        (".5", "5"),
        ("?", "!"),
    ],
)
def test_answers_that_are_not_the_same(different: tuple[str, ...]) -> None:
    """A sign that makes a difference stays."""
    assert voted(*different) == (different[0], 1, 1 / len(different))


@dataclass
class Own:
    answer: str


class Model(BaseModel):
    answer: str


def test_copies_may_be_of_any_class_and_some_may_have_no_answer() -> None:
    """Those do not count."""
    found = majority(children(ValueError("no"), Own("a"), {"question": "?"}, 7, Model(answer="A"), {"answer": "b"}))
    assert found == {"answer": "a", "votes": 2, "agreement": 2 / 3}


@pytest.mark.parametrize(
    ("copies", "ends"),
    [
        (
            (ValueError("no"), ValueError("yes"), 7),
            r"3 children of 7 \(2 failed, 1 collected; first: ValueError: no\)",
        ),
        ((), r"0 children of 7 \(no child\)"),
    ],
)
def test_if_none_has_an_answer_that_is_one_clear_error(copies: tuple[object, ...], ends: str) -> None:
    """Which says how they ended."""
    with pytest.raises(WrongInput, match=f"^majority takes children with answers, but none of the {ends} has one$"):
        majority(children(*copies))


def test_a_vote_is_taken_in_a_pipeline() -> None:
    """Copies that fail or are dropped have no vote; without any vote the item fails after one call."""
    given: dict[int, list[Any]] = {
        1: ["a", "b", "a", ValueError("no")],
        2: [ValueError("no")] * 4,
        3: ["a", Drop("?")] * 2,
    }

    def answer(number: int) -> dict[str, Any]:
        found = given[number].pop(0)
        if isinstance(found, Exception):
            raise found
        return {"number": number, "answer": found}

    pipeline = Pipeline(
        Stage("sampling", partial(samples, count=4), expand=True),
        Stage("answering", answer, concurrency=1),
        Stage("voting", majority, collect=True, retry=Retry(max_attempts=3)),
    )
    found = outcomes(pipeline, [1, 2, 3])
    assert found[1].value == {"number": 1, "answer": "a", "votes": 2, "agreement": 2 / 3}
    assert found[3].value == {"number": 3, "answer": "a", "votes": 2, "agreement": 1}
    assert (found[2].status, found[2].attempts) == ("failed", 2)  # one call made the copies, one counted the votes
