"""What the shipped stages take besides their own values: records, and one clear error for anything else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import pytest
from odd_llm import odd_server, provider_at, replying, run
from pydantic import BaseModel

from rxpipe import ConfigError, Pipeline, Retry, Stage
from rxpipe.config import load_config
from rxpipe.config.build import pipeline_of
from rxpipe.questions import arithmetic, llm
from rxpipe.questions.inputs import WrongInput

TAKES = "a mapping (or a dataclass, or a pydantic model) with"
OWN = {"question": "What is 1 plus 1?", "reference": "2", "url": "http://h/1"}
GRADE = {"reason": "Same.", "verdict": "correct", "score": 1.0}


@dataclass
class OwnQuestion:
    question: str
    reference: str


class OwnModel(BaseModel):
    question: str
    reference: str


class NoReference(TypedDict):
    question: str
    answer: str


class Bare(Mapping[Any, Any]):
    """A mapping that is no dict."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getitem__(self, key: Any) -> Any:
        return self._values[key]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def asked(call: Callable[..., Any], value: Any) -> tuple[Any, list[str]]:
    """What one of the model's stages returns, and the texts of the calls that it made."""
    with odd_server(replying(json.dumps({"answer": "2", **GRADE}))) as server:
        result = run(call(value, provider=provider_at(server.url)))
        return result, [message["content"] for body in server.bodies for message in body["messages"]]


def test_a_record_goes_through_the_models_stages_with_all_that_is_in_it() -> None:
    """One's own fields travel on; the answerer still does not see the reference."""
    answered, texts = asked(llm.answer, OWN | {"reference": "a secret"})
    assert answered == OWN | {"reference": "a secret", "answer": "2"}
    assert "secret" not in "".join(texts)
    graded, texts = asked(llm.grade, answered)
    assert graded == answered | GRADE
    assert "secret" in "".join(texts)


@pytest.mark.parametrize(
    "value",
    [
        OwnQuestion("Why?", "So."),
        OwnModel(question="Why?", reference="So."),
        Bare({"question": "Why?", "reference": "So."}),
    ],
)
def test_records_may_be_of_any_class(value: Any) -> None:
    """With fields or keys that can be told."""
    assert asked(llm.answer, value)[0] == {"question": "Why?", "reference": "So.", "answer": "2"}


def test_an_answered_question_can_be_answered_again() -> None:
    """The later answer counts."""
    question = llm.Question(id=1, topic="", kind="", difficulty="", language="", question="Why?", reference="So.")
    once, _ = asked(llm.answer, question)
    assert asked(llm.answer, once)[0] == once


def test_records_go_through_the_arithmetic_stages() -> None:
    """As through those of a model."""
    question = arithmetic.generate(7)
    own = {"question": question.question, "reference": question.reference, "url": "u"}
    graded = arithmetic.grade(arithmetic.answer(own))
    assert graded == own | {"answer": question.reference, "score": 1.0, "verdict": "correct"}


@pytest.mark.parametrize(
    ("call", "value", "message"),
    [
        (arithmetic.answer, 7, f"answer takes {TAKES} question, but got int"),
        (arithmetic.answer, {"text": "Why?"}, f"answer takes {TAKES} question, but got dict with text"),
        (arithmetic.answer, {}, f"answer takes {TAKES} question, but got dict with nothing in it"),
        (arithmetic.grade, OWN, f"grade takes {TAKES} reference, answer, but got dict with question, reference, url"),
        (arithmetic.answer, OwnQuestion, f"answer takes {TAKES} question, but got type"),
    ],
)
def test_anything_else_is_one_clear_error(call: Callable[[Any], Any], value: Any, message: str) -> None:
    """What came and what is needed, without the values."""
    with pytest.raises(WrongInput) as raised:
        call(value)
    assert str(raised.value) == message


@pytest.mark.parametrize("value", ["text", None, {"text": "Why?"}])
def test_wrong_input_reaches_no_model_and_is_not_tried_again(value: Any) -> None:
    """Each item fails with one attempt."""
    with odd_server(replying("{}")) as server:
        answer = partial(llm.answer, provider=provider_at(server.url))
        stages = Stage("generation", lambda _: value), Stage("answering", answer, retry=Retry(max_attempts=3))
        report = Pipeline(*stages).run([1, 2])
        assert server.calls == 0
    assert (report.failed, report.stages[1].retried) == (2, 0)


def test_an_unreadable_question_is_not_tried_again() -> None:
    """Its text stays the same."""
    question: Stage = Stage("g", lambda _: {"question": "Hm?"})
    report = Pipeline(question, Stage("a", arithmetic.answer, retry=Retry(max_attempts=3))).run([1])
    assert (report.failed, report.stages[1].retried) == (1, 0)


STAGES = """
from typing import Any, TypedDict
from pydantic import BaseModel
from rxpipe.questions.arithmetic import Question

class NoReference(TypedDict):
    question: str
    answer: str

class Model(BaseModel):
    question: str

def unknown(i): ...
def anything(i) -> Any: ...
def mapping(i) -> dict[str, str]: ...
def text(i) -> str: ...
async def texts(i) -> list[str]: ...
def nothing(i) -> None: ...
def no_reference(i) -> NoReference: ...
def model(i) -> Model: ...
def question(i) -> Question: ...
def perhaps(i) -> Question | None: ...
def either(i) -> str | bytes: ...
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the module of stages is, which a process imports once."""
    found = tmp_path_factory.mktemp("own")
    (found / "own_inputs.py").write_text(STAGES)
    return found


@pytest.mark.parametrize(
    ("own", "shipped", "came"),
    [
        ("unknown", "answer", None),
        ("anything", "answer", None),
        ("mapping", "grade", None),
        ("model", "answer", None),
        ("question", "answer", None),
        ("perhaps", "answer", None),
        ("text", "answer", "str"),
        ("texts", "answer", "list"),
        ("nothing", "answer", "None"),
        ("either", "answer", "str or bytes"),
        ("no_reference", "grade", "NoReference with question, answer"),
        ("question", "grade", "Question with id, kind, question, reference"),
    ],
)
def test_what_cannot_fit_is_told_before_anything_is_called(
    folder: Path, own: str, shipped: str, came: str | None
) -> None:
    """As far as annotations say."""
    target = f"rxpipe.questions.arithmetic:{shipped}"
    stages = f"[{{name: a, call: 'own_inputs:{own}'}}, {{name: b, call: '{target}'}}]"
    (folder / "p.yaml").write_text(f"stages: {stages}\n")
    config = load_config(folder / "p.yaml")
    if came is None:
        pipeline_of(config)
        return
    needed = "question" if shipped == "answer" else "reference, answer"
    with pytest.raises(ConfigError) as raised:
        pipeline_of(config)
    assert str(raised.value).removeprefix(f"{folder}/") == (
        f"p.yaml: stages[1].call: {target} takes {TAKES} {needed}, but gets {came}: "
        f"that is what own_inputs:{own} is annotated to return"
    )


def test_the_first_stage_gets_the_id(tmp_path: Path) -> None:
    """A stage that needs a question cannot be the first."""
    (tmp_path / "p.yaml").write_text(
        "stages: [{name: a, call: 'rxpipe.questions.llm:answer', with: {provider: m}}]\n"
        "providers: {m: {model: m, base_url: 'http://127.0.0.1:9/v1'}}\n"
    )
    with pytest.raises(ConfigError, match=r"but gets int or str: it is the first stage and gets the ID$"):
        pipeline_of(load_config(tmp_path / "p.yaml"))
