"""The stages that a language model fills: what each asks, what it sees, and what comes of odd replies."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import pytest
from llm_pipelines import SOON, outcomes
from odd_llm import Call, OddServer, completion, in_turn, odd_server, provider_at, replying, run
from pydantic import ValidationError

from rxpipe import ConfigError, Drop, Pipeline, Record, Retry, SendBack, Stage, StopRun
from rxpipe.devtools.fake_llm import Behaviour, serving
from rxpipe.llm import InvalidOutput, Prompt, Unavailable
from rxpipe.questions.inputs import WrongInput
from rxpipe.questions.llm import Answered, Graded, Question, answer, check, generate, generate_several, grade
from rxpipe.questions.llm.values import Grade, WrittenQuestion

ABOUT: dict[str, Any] = {"topic": "bees", "kind": "a riddle", "difficulty": "hard", "language": "German"}
QUESTION = Question(id=7, **ABOUT, question="What hums?", reference="A secret swarm")
ANSWERED = Answered(**asdict(QUESTION), answer="A fridge")

WRITTEN = {"question": " What hums? ", "reference": "A bee"}
GRADE = {"reason": "It says so.", "verdict": "correct", "score": 1.0}


def calling(reply: Any, call: Callable[..., Any], value: Any, running: Call | None = None) -> Any:
    """What a stage's function returns, and the messages that it sent."""
    text = reply if isinstance(reply, str) else json.dumps(reply)
    with odd_server(replying(text)) as server:
        value = run(call(value, provider=provider_at(server.url)), running)
    return value, sent(server)


def sent(server: OddServer) -> str:
    """All messages of its last call."""
    return "\n".join(message["content"] for message in server.bodies[-1]["messages"])


def test_generate_asks_for_what_the_bank_is_about() -> None:
    """And remembers it with the question."""
    question, messages = calling(WRITTEN, partial(generate, **ABOUT), 7)
    assert question == Question(id=7, **ABOUT, question="What hums?", reference="A bee")
    assert [text for text in ("question number 7", *ABOUT.values()) if text not in messages] == []


def test_answer_sees_the_question_only() -> None:
    """The reference is in no message of its call."""
    given, messages = calling({"answer": "A bee"}, answer, QUESTION)
    assert given == Answered(**asdict(QUESTION), answer="A bee")
    assert "What hums?" in messages
    assert "secret" not in messages


def test_the_reference_is_no_field_of_answers_prompt() -> None:
    """Neither a file can put it there, nor a prompt in code."""
    default = inspect.signature(answer).parameters["prompt"].default
    with pytest.raises(ConfigError, match=r"field \{reference\}; allowed"):
        Prompt("{question} {reference}", default.fields)
    with odd_server(replying("No.")) as server, pytest.raises(StopRun, match=r"\{reference\}"):
        run(answer(QUESTION, provider=provider_at(server.url), prompt=Prompt("{question} {reference}")))
    assert server.calls == 0


def test_grade_sees_question_reference_and_answer() -> None:
    """Each between tags of its own."""
    graded, messages = calling(GRADE, grade, ANSWERED)
    assert graded == Graded(**asdict(ANSWERED), score=1, verdict="correct", reason="It says so.")
    for tag, text in [("question", "What hums?"), ("reference", "A secret swarm"), ("answer", "A fridge")]:
        assert f"<{tag}>\n{text}\n</{tag}>" in messages


@pytest.mark.parametrize(("call", "value"), [(generate, 7), (check, QUESTION), (answer, QUESTION), (grade, ANSWERED)])
def test_a_prompt_can_be_replaced(call: Callable[..., Any], value: Any) -> None:
    """With the fields that the stage has."""
    reply = {**WRITTEN, **GRADE, "answer": "A bee", "clear": True}
    topic = {"topic": "bees"} if call is generate else {}
    _, messages = calling(reply, partial(call, prompt=Prompt("Hm, {topic}?"), **topic), value)
    assert messages == "Hm, bees?"


@pytest.mark.parametrize(("call", "value"), [(generate, 7), (answer, QUESTION), (grade, ANSWERED)])
def test_parameters_of_the_request_can_be_given(call: Callable[..., Any], value: Any) -> None:
    """By default they are the model's own."""
    reply = replying(json.dumps({**WRITTEN, **GRADE, "answer": "A bee"}))
    with odd_server(reply) as server:
        provider = provider_at(server.url)
        run(call(value, provider=provider))
        run(call(value, provider=provider, temperature=0.3, max_tokens=99))
    assert [(body.get("temperature"), body.get("max_tokens")) for body in server.bodies] == [(None, None), (0.3, 99)]


# Several questions a call


SEVERAL = [{"question": f"Question {number}?", "reference": f"{number}"} for number in range(4)]


def written(reply: Any, per_call: int = 3, value: Any = 7) -> list[Question]:
    """The questions of one call."""
    found: list[Question] = calling(reply, partial(generate, per_call=per_call), value)[0]
    return found


def test_generate_asks_for_several_questions() -> None:
    """With one prompt, which says how many; each has the ID of the item that it will be."""
    questions, messages = calling({"questions": SEVERAL[:3]}, partial(generate, per_call=3, **ABOUT), 7)
    assert questions == [Question(id=f"7/{number}", **ABOUT, **SEVERAL[number]) for number in range(3)]
    assert [
        text for text in ("Write 3 different questions", "number 7 of", *ABOUT.values()) if text not in messages
    ] == []


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        ({"questions": SEVERAL}, [0, 1, 2]),
        ({"questions": SEVERAL[:1]}, [0]),
        ({"questions": [{"question": "?"}, SEVERAL[3], "text", None, {**SEVERAL[1], "reference": " "}]}, [3]),
        ({"questions": [SEVERAL[0], {**SEVERAL[1], "question": " QUESTION  0? "}, SEVERAL[2]]}, [0, 2]),
        (json.dumps({"questions": SEVERAL})[:120], [0]),
        (SEVERAL[2], [2]),
    ],
)
def test_of_several_questions_the_good_ones_are_kept(reply: Any, kept: list[int]) -> None:
    """Too many, too few, unreadable, the same twice, cut off: their numbers have no gaps."""
    found = written(reply)
    assert [question.reference for question in found] == [f"{number}" for number in kept]
    assert [question.id for question in found] == [f"7/{number}" for number in range(len(kept))]


@pytest.mark.parametrize(
    "reply", ["No.", {"questions": []}, {"questions": [{"question": "?"}]}, {"questions": "?"}, {}]
)
def test_without_any_good_question_the_call_fails(reply: Any) -> None:
    """It is made again, as one for a single question."""
    with pytest.raises(InvalidOutput):
        written(reply)


def test_children_have_the_ids_of_their_questions() -> None:
    """Also when their parent was sent back: then they are others."""

    def again(children: Any) -> list[Any]:
        if len(children) and children[0].id == "7/0":
            raise SendBack("generation", "They are too easy.")
        return [(child.id, child.value.id) for child in children]

    with odd_server(replying(json.dumps({"questions": SEVERAL}))) as server:
        stage = Stage(
            "generation", partial(generate_several, provider=provider_at(server.url), per_call=2), expand=True
        )
        found = outcomes(Pipeline(stage, Stage("collecting", again, collect=True)), [7])
        assert "They are too easy." in sent(server)
    assert found[7].value == [("7/1.0", "7/1.0"), ("7/1.1", "7/1.1")]


# Records


def test_a_record_says_what_its_question_is_about() -> None:
    """As far as it does; its ID is that of its item."""
    with odd_server(replying(json.dumps(WRITTEN))) as server:
        stage = Stage("generation", partial(generate, provider=provider_at(server.url), **ABOUT))
        record = Record("b7", {"topic": "trees", "difficulty": ["easy"], "language": None, "id": 3})
        (outcome,) = outcomes(Pipeline(stage), [record]).values()
    assert outcome.value == Question(id="b7", **{**ABOUT, "topic": "trees", "difficulty": "easy"}, **GOOD_ONE)


GOOD_ONE = {"question": "What hums?", "reference": "A bee"}


def test_outside_of_a_pipeline_a_record_needs_an_id() -> None:
    """Else nobody knows which question to write."""
    assert calling(WRITTEN, generate, {"id": 3})[0].id == 3
    with pytest.raises(WrongInput, match="generate takes an ID, or a record with the ID of its item, but got dict"):
        calling(WRITTEN, generate, {"topic": "trees"})


# Checks


CLEAR = {"reason": "All is said.", "clear": True}
UNCLEAR = {"reason": "It hums, and what is it?", "clear": False}


def test_a_clear_question_goes_on_as_it_is() -> None:
    """The checker sees the question, not the reference."""
    found, messages = calling(CLEAR, check, QUESTION)
    assert found is QUESTION
    assert "What hums?" in messages
    assert "secret" not in messages


def test_an_unclear_question_goes_back_with_the_reason() -> None:
    """Or is dropped."""
    with pytest.raises(SendBack) as raised:
        calling(UNCLEAR, partial(check, back_to="writing"), QUESTION)
    assert (raised.value.stage, raised.value.feedback) == ("writing", UNCLEAR["reason"])
    with pytest.raises(Drop, match=r"^unclear$"):
        calling(UNCLEAR, partial(check, unclear="drop"), QUESTION)


def test_the_reason_is_in_the_next_prompt() -> None:
    """In the first round there is none."""
    replies = [WRITTEN, UNCLEAR, {**WRITTEN, "question": "Which insect hums?"}, CLEAR]
    with odd_server(in_turn([(200, completion(json.dumps(reply)), {}) for reply in replies])) as server:
        provider = provider_at(server.url)
        stages = (
            Stage("generation", partial(generate, provider=provider)),
            Stage("check", partial(check, provider=provider)),
        )
        (outcome,) = outcomes(Pipeline(*stages), [7]).values()
        first, _, second, _ = (body["messages"][-1]["content"] for body in server.bodies)
    assert outcome.value.question == "Which insect hums?"
    assert "feedback" not in first
    assert "sent back" not in first
    assert second == f"{first}\n\nYour last question was sent back, for this reason. Write a better one.\n" + (
        f"<feedback>\n{UNCLEAR['reason']}\n</feedback>"
    )


@pytest.mark.slow
@pytest.mark.parametrize("structured", ["json_schema", "json_object", "text"])
def test_a_bank_with_all_of_it_from_the_fake_server(structured: Any) -> None:
    """Whatever form it is asked in, and however it fails."""
    retry = Retry(max_attempts=20, initial=0, max_delay=0)
    with serving(Behaviour(invalid=0.1, fail=0.1, length=0.1, seed=5)) as server:
        provider = provider_at(server.url, structured=structured)
        several = Stage(
            "generation", partial(generate_several, provider=provider, per_call=4), expand=True, retry=retry
        )
        dropping = Stage("check", partial(check, provider=provider, unclear="drop"), retry=retry)
        report = Pipeline(several, dropping).run(range(20))
        assert (report.expanded, report.failed) == (20, 0)
        assert 60 < report.spawned <= 80
        assert 0 < report.dropped < 20
        single = Stage("generation", partial(generate, provider=provider), retry=retry)
        report = Pipeline(single, Stage("check", partial(check, provider=provider), retry=retry)).run(range(40))
    assert (report.written, report.failed) == (40, 0)
    assert report.stages[0].done > 40  # some of them more than once, as they were sent back


# Topics


TOPICS = ["animals", "geography", "food", "music", "sports"]
CHOOSING = f"""
from rxpipe.questions.llm.stages import _choice
print([_choice(number, "topic", {TOPICS!r}) for number in range(50)])
"""


def chosen(count: int, **lists: Any) -> list[Question]:
    """What questions are about."""

    async def all_of_them() -> list[Question]:
        return [await generate(number, provider=provider, **lists) for number in range(count)]

    with odd_server(replying(json.dumps(WRITTEN))) as server:
        provider = provider_at(server.url)
        found: list[Question] = run(all_of_them())
        return found


def test_a_topic_is_chosen_by_the_id() -> None:
    """All come about equally often; that of one list does not follow that of another."""
    questions = chosen(300, topic=TOPICS, difficulty=["easy", "hard"])
    topics = Counter(question.topic for question in questions)
    assert set(topics) == set(TOPICS)
    assert min(topics.values()) > 35
    assert len({(question.topic, question.difficulty) for question in questions}) == 10


@pytest.mark.slow
def test_a_topic_is_the_same_in_every_process() -> None:
    """However Python hashes there."""
    here = str([question.topic for question in chosen(50, topic=TOPICS)])
    for seed in ("1", "2"):
        ended = subprocess.run(
            [sys.executable, "-c", CHOOSING], capture_output=True, text=True, env={"PYTHONHASHSEED": seed}, check=True
        )
        assert ended.stdout.strip() == here


def test_ids_may_be_text() -> None:
    """Of any sort."""
    for number in ("a", "", "漢字", "{topic}"):
        question, _ = calling(WRITTEN, partial(generate, topic=TOPICS), number)
        assert question.topic in TOPICS


# Replies that are not what was asked for


@pytest.mark.parametrize(
    "reply",
    [
        "No.",
        {"verdict": "wrong", "score": 0},
        {**GRADE, "verdict": "perfect"},
        {**GRADE, "score": 2},
        {**GRADE, "score": None},
        {**GRADE, "verdict": "correct", "score": 0},
        {**GRADE, "verdict": "correct", "score": 0.4},
        {**GRADE, "verdict": "wrong", "score": 1},
        {**GRADE, "verdict": "wrong", "score": 0.6},
        '{"reason": "x", "verdict": "wrong", "score": NaN}',
    ],
)
def test_a_grade_that_cannot_be_read_is_none(reply: Any) -> None:
    """It is asked for again; after the last attempt the answer is ungraded, not wrong."""
    with pytest.raises(InvalidOutput):
        calling(reply, grade, ANSWERED)
    graded, _ = calling(reply, grade, ANSWERED, Call(last=True))
    assert (graded.score, graded.verdict) == (None, "ungraded")
    assert graded.reason.startswith("main: ")


@pytest.mark.parametrize(("verdict", "score"), [("correct", 0.5), ("partial", 0.2), ("wrong", 0.5), ("wrong", 0)])
def test_a_grade_that_agrees_with_itself_counts(verdict: Any, score: float) -> None:
    """Within reason."""
    assert Grade(reason="x", verdict=verdict, score=score).score == score


@pytest.mark.parametrize("text", ["", "  ", "x" * 20_001])
def test_a_text_is_neither_blank_nor_endless(text: str) -> None:
    """It is invalid output."""
    with pytest.raises(ValidationError):
        WrittenQuestion(question=text, reference="x")


@pytest.mark.parametrize(
    ("retry", "calls"),
    [
        (SOON, 3),
        (Retry(max_attempts=1), 1),
        (Retry(max_attempts=3, initial=0, max_delay=0, retry_on=("transient",)), 1),
        (Retry(max_attempts=3, initial=0, max_delay=0, retry_on=("invalid_output",)), 3),
    ],
)
def test_in_a_pipeline_an_answer_is_ungraded_after_the_last_attempt(retry: Retry, calls: int) -> None:
    """Also where the policy does not name invalid output."""
    with odd_server(replying("No.")) as server:
        stage = Stage("grading", partial(grade, provider=provider_at(server.url)), retry=retry)
        (outcome,) = outcomes(Pipeline(Stage("a", lambda _: ANSWERED), stage), [7]).values()
        assert server.calls == calls
    assert (outcome.status, outcome.value.verdict, outcome.value.score) == ("written", "ungraded", None)


def test_a_grader_that_cannot_be_reached_grades_nothing() -> None:
    """That is an error of the call, which fails the item or stops the run."""
    with odd_server(replying("No.")) as server:
        provider = provider_at(server.url)
    with pytest.raises(Unavailable):
        run(grade(ANSWERED, provider=provider))


@pytest.mark.slow
def test_a_bank_is_graded_whatever_the_server_does() -> None:
    """No item ends as wrong that was answered rightly."""
    retry = Retry(max_attempts=20, initial=0, max_delay=0)
    calls: dict[str, Any] = {"generation": generate, "answering": answer, "grading": grade}
    with serving(Behaviour(invalid=0.2, fail=0.1, limited=0.1, length=0.1, retry_after=0.001, seed=5)) as server:
        provider = provider_at(server.url)
        stages = (Stage(name, partial(call, provider=provider), retry=retry) for name, call in calls.items())
        found = outcomes(Pipeline(*stages), range(20))
    for outcome in found.values():
        assert outcome.status == "written"
        assert (outcome.value.verdict == "correct") == (outcome.value.answer == outcome.value.reference)
