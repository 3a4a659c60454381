"""Stages that read fields of the record which the source gave."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from llm_pipelines import outcomes
from odd_llm import odd_server, provider_at, replying

from rxpipe import Pipeline, Record, RunStore, Stage, StopRun
from rxpipe.llm import Prompt
from rxpipe.questions.llm import answer, generate, grade

REPLIES = {
    **{"question": " What hums? ", "reference": "A bee", "answer": "A bee"},
    **{"reason": "It says so.", "verdict": "correct", "score": 1.0},
}


def told_of(records: list[Any], *stages: Any, **options: Any) -> tuple[dict[Any, Any], list[str]]:
    """How the items of a run end, and the messages of each call."""
    with odd_server(replying(json.dumps(REPLIES))) as server:
        calls = [partial(call, provider=provider_at(server.url), **given) for call, given in stages]
        made = [Stage(f"s{at}", call, cache="store" in options and at > 0) for at, call in enumerate(calls)]
        found = outcomes(Pipeline(*made, **options), records)
        return found, ["\n".join(one["content"] for one in body["messages"]) for body in server.bodies]


def test_fields_of_the_record_say_what_a_question_is_about() -> None:
    """Also if it has one of the option's own name; where it is empty, the option's default counts."""
    records = [Record(1, {"topic": "bees", "level": "hard", "difficulty": "none"}), Record(2, {"level": ""})]
    found, messages = told_of(records, (generate, {"difficulty": "record.level", "kind": "record.sort?"}))
    assert [(one.value.topic, one.value.difficulty) for one in (found[1], found[2])] == [
        ("bees", "hard"),
        ("general knowledge", "medium"),
    ]
    assert sorted("hard" in message for message in messages) == [False, True]


def test_prompts_of_later_stages_have_fields_of_the_record() -> None:
    """It travels with the item."""
    grader = {"prompt": Prompt("{question} {reference} {answer}: {record.rubric}")}
    _, messages = told_of([Record(1, {"rubric": "be strict"})], (generate, {}), (answer, {}), (grade, grader))
    assert messages[-1] == "What hums? A bee A bee: be strict"


@pytest.mark.parametrize("records", [[Record(1, {"lvl": "hard"})], [1]])
def test_a_field_that_there_is_not_stops_the_run(records: list[Any]) -> None:
    """Before a call is made."""
    found, messages = told_of(records, (generate, {"difficulty": "record.level"}))
    assert isinstance(found[1].error, StopRun)
    assert str(found[1].error).startswith("difficulty: record.level: the ")
    assert messages == []


def test_a_stage_with_cache_does_not_read_the_record(tmp_path: Path) -> None:
    """Another record with an equal value would have its result."""
    grader = {"prompt": Prompt("{question} {reference} {answer}: {record.rubric}")}
    stages = [(generate, dict[str, Any]()), (answer, dict[str, Any]()), (grade, grader)]
    store = RunStore(database=f"sqlite:///{tmp_path}/bank.db")
    found, messages = told_of([Record(1, {"rubric": "be strict"})], *stages, store=store)
    assert "a stage with cache can read the record only if it is the first" in str(found[1].error)
    assert len(messages) == 2
