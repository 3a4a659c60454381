"""The stage that drops near-duplicates: as a stage, by items' IDs, by fields."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from llm_pipelines import outcomes

from rxpipe import Drop, Pipeline, SendBack, Stage, StopRun, feedback
from rxpipe.questions import distinct
from rxpipe.questions.inputs import WrongInput
from rxpipe.questions.llm import Question
from rxpipe.questions.seen_texts import close_seen, seen_on_copies

TEXTS = {
    1: "What is the capital of the country that lies north of Italy?",
    2: "What is the  capital of the country that lies north of ITALY",
    3: "Which river flows through Vienna, Bratislava, Budapest and Belgrade?",
}


@pytest.fixture
def state(tmp_path: Path) -> Generator[Path]:
    """A file that is not there yet."""
    yield tmp_path / "seen"
    close_seen()


def bank(state: Path, texts: dict[int, str], **options: Any) -> Pipeline:
    """A pipeline that has a text for each ID, one after the other: which of two comes first is kept."""
    call = partial(distinct, state=state, **options)

    def write(number: int) -> dict[str, str]:
        return {"question": texts[number]}

    return Pipeline(Stage("writing", write, concurrency=1), Stage("distinct", call, concurrency=1))


def ends(pipeline: Pipeline, source: Any) -> dict[Any, str]:
    """How each item ended."""
    return {number: outcome.status for number, outcome in outcomes(pipeline, source).items()}


def test_a_text_that_resembles_an_earlier_one_is_dropped(state: Path) -> None:
    """Whatever its case and white space; others go on as they are."""
    found = outcomes(bank(state, TEXTS), [1, 2, 3])
    assert [found[number].status for number in TEXTS] == ["written", "dropped", "written"]
    assert found[1].value == {"question": TEXTS[1]}
    assert found[2].error is not None
    assert found[2].error.args == ("near-duplicate",)


def test_the_file_is_remembered_and_an_item_is_no_duplicate_of_itself(state: Path) -> None:
    """As after a kill: what was kept is kept again, what was dropped is dropped again, in whatever order they come."""
    first = ends(bank(state, TEXTS), [1, 2, 3])
    close_seen()
    assert ends(bank(state, TEXTS), [3, 2, 1]) == first


def test_an_item_that_comes_with_another_text_is_no_duplicate_of_its_first(state: Path) -> None:
    """As it is sent back; nor is another item one of a text that is not used."""

    def write(number: int) -> dict[str, str]:
        return {"question": TEXTS[1] if number == 2 else f"{TEXTS[1]}{feedback() or ''}"}

    def check(value: dict[str, str]) -> dict[str, str]:
        if value["question"] == TEXTS[1] and not sent:
            sent.append(value)
            raise SendBack("writing", ", and of the one that is south of it, across the sea")
        return value

    sent: list[Any] = []
    stages = Stage("writing", write), Stage("distinct", partial(distinct, state=state)), Stage("check", check)
    assert ends(Pipeline(*stages, concurrency=1), [1]) == {1: "written"}
    assert ends(Pipeline(*stages, concurrency=1), [2]) == {2: "written"}
    assert len(sent) == 1


def test_children_have_ids_of_their_own(state: Path) -> None:
    """Two of one parent may be near-duplicates."""

    def two(number: int) -> list[dict[str, str]]:
        return [{"question": TEXTS[number]}] * 2

    copies = Stage("copies", two, expand=True)
    found = ends(Pipeline(copies, Stage("distinct", partial(distinct, state=state)), concurrency=1), [1])
    assert found == {1: "expanded", "1/0": "written", "1/1": "dropped"}


@dataclass
class Own:
    id: int
    text: str


def test_any_record_and_any_field(state: Path) -> None:
    """Outside of a pipeline the field ``id`` is the ID."""
    own = Own(1, TEXTS[1])
    assert distinct(own, state=state, field="text") is own
    assert distinct(own, state=state, field="text") is own
    with pytest.raises(Drop):
        distinct(Own(2, TEXTS[2]), state=state, field="text")
    question = Question(id=3, topic="", kind="", difficulty="", language="", question=TEXTS[3], reference="")
    assert distinct(question, state=state) is question


def test_what_is_no_record_is_one_clear_error(state: Path) -> None:
    """Also an item without an ID."""
    with pytest.raises(WrongInput, match="with text, but got dict with question"):
        distinct({"question": "?"}, state=state, field="text")
    with pytest.raises(WrongInput, match="distinct needs the item's ID"):
        distinct({"question": "?"}, state=state)


def test_ids_are_told_apart_by_type(state: Path) -> None:
    """As sources do."""
    assert distinct({"id": 1, "question": "Why?"}, state=state)
    with pytest.raises(Drop):
        distinct({"id": "1", "question": "Why?"}, state=state)


def test_a_missing_package_stops_the_run(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a command that installs it."""
    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(StopRun, match=r'needs the package rensa: pip install "rensa'):
        bank(state, TEXTS).run([1, 2, 3])


def test_texts_of_a_preview_are_forgotten(state: Path) -> None:
    """It works on a copy of the file."""
    assert ends(bank(state, TEXTS), [3]) == {3: "written"}
    close_seen()
    before = state.read_bytes()
    with seen_on_copies():
        assert ends(bank(state, {1: TEXTS[1], 2: TEXTS[2], 4: TEXTS[3]}), [1, 2, 4]) == {
            1: "written",
            2: "dropped",
            4: "dropped",
        }
    assert state.read_bytes() == before
    assert ends(bank(state, TEXTS), [2]) == {2: "written"}


def test_a_preview_makes_no_file(state: Path) -> None:
    """Where there is none."""
    with seen_on_copies():
        assert ends(bank(state, TEXTS), [1, 2]) == {1: "written", 2: "dropped"}
    assert list(state.parent.iterdir()) == []


def test_a_preview_says_which_file_is_none(state: Path) -> None:
    """It is not the copy."""
    state.write_text("no database")
    with seen_on_copies(), pytest.raises(StopRun, match=re.escape(str(state))):
        distinct({"id": 1, "question": "Why?"}, state=state)
