"""The question bank in Chinese: its prompts, how a language is chosen, and rows in Chinese."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from llm_pipelines import CALLS
from odd_llm import odd_server, provider_at, replying, run

from rxpipe import ConfigError, StopRun, load_pipeline, run_config
from rxpipe.devtools.fake_llm import Behaviour, serving
from rxpipe.llm import Prompt
from rxpipe.questions.llm import Answered, Question, answer, check, generate, grade, stages
from rxpipe.questions.llm import languages as module

EXAMPLE = Path(__file__).parents[2] / "examples" / "questions_zh.yaml"
FOLDER = Path(stages.__file__).parent / "prompts"
HAN = re.compile(r"[\u4e00-\u9fff]")
REPLY = replying(
    '{"question": "一加一等于几？", "reference": "2", "answer": "2", "reason": "一致。", "verdict": "correct",'
    ' "score": 1, "clear": true}'
)
ABOUT: dict[str, Any] = {"topic": "加法", "kind": "应用题", "difficulty": "容易"}


def messages(call: Any, value: Any, **options: Any) -> str:
    """What is sent."""
    with odd_server(REPLY) as server:
        run(call(value, provider=provider_at(server.url), **options))
    return "\n".join(message["content"] for message in server.bodies[-1]["messages"])


def question(language: str) -> Question:
    return Question(id=7, **ABOUT, language=language, question="一加一等于几？", reference="2")


@pytest.mark.parametrize("language", ["zh", "zh-CN", "zh_Hans", "Chinese", "中文", "简体中文"])
def test_chinese_is_asked_for_in_chinese(language: str) -> None:
    """By a code or a name; a code is told by its name, and the row has what was given."""
    text = messages(generate, 7, language=language, **ABOUT)
    assert "请为题库写第 7 题" in text
    assert "- 语言：中文" in text
    assert "Write question" not in text


@pytest.mark.parametrize(("language", "said"), [("English", "English"), ("en", "English"), ("French", "French")])
def test_other_languages_are_asked_for_in_english(language: str, said: str) -> None:
    """As before."""
    text = messages(generate, 7, language=language)
    assert f"- language: {said}\n" in text
    assert HAN.search(text) is None


def test_defaults_are_in_the_language() -> None:
    """There is no English in the request, but for the names of JSON's fields and tags."""
    text = messages(generate, 7, language="zh")
    assert set(re.findall(r"[A-Za-z]+", text)) <= {"JSON", "question", "reference", "feedback"}
    assert "- topic: general knowledge" in messages(generate, 7)


@pytest.mark.parametrize("call", [check, answer, grade])
def test_later_stages_follow_the_question(call: Any) -> None:
    """Unless they are told otherwise; and a prompt of one's own stays as it is."""
    chinese, other = (Answered(**vars_of(question(language)), answer="2") for language in ("zh", "German"))
    assert "JSON 对象回复" in messages(call, chinese)
    assert "Reply with a JSON object" in messages(call, chinese, language="en")
    assert "Reply with a JSON object" in messages(call, other)
    assert "JSON 对象回复" in messages(call, other, language="zh")
    assert messages(call, chinese, prompt=Prompt("Hm, {question}?")) == "Hm, 一加一等于几？?"


def vars_of(value: Question) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def test_several_of_a_call_are_asked_for_in_chinese() -> None:
    """By the prompt that says how many."""
    with serving(Behaviour()) as server:
        several = run(generate(7, provider=provider_at(server.url), language="zh", per_call=4))
    assert [bool(HAN.search(one.question)) for one in several] == [True] * 4


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.md")))
def test_both_languages_have_the_same_fields_and_names(name: str) -> None:
    """Fields, tags and the names of JSON's fields and words."""
    found = [
        sorted(set(re.findall(r'\{\w+\}|</?\w+>|"\w+"', (FOLDER / folder / name).read_text("utf-8"))))
        for folder in ("", "zh")
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("stage", "language"), [("generation", "fr"), ("generation", "[zh, tlh]"), ("grading", "xx-YY")]
)
def test_a_code_without_prompts_is_one_sentence(stage: str, language: str, tmp_path: Path) -> None:
    """Before anything is called; in code, the first call stops the run."""
    lines = [
        f'  - {{name: {name}, call: "rxpipe.questions.llm:{call.__name__}", with: {{provider: main'
        + (f", language: {language}" if name == stage else "")
        + "}}"
        for name, call in CALLS.items()
    ]
    path = tmp_path / "bank.yaml"
    provider = 'providers: {main: {base_url: "http://127.0.0.1:9/v1", model: m}}\n'
    path.write_text(provider + "stages:\n" + "\n".join(lines), "utf-8")
    with pytest.raises(ConfigError, match=r"language: .*allowed: .*en, zh, or a language's name, such as French"):
        load_pipeline(path)


def test_a_code_without_prompts_stops_a_run() -> None:
    """No call is made."""
    with odd_server(REPLY) as server:
        calls: list[tuple[Any, Any]] = [(generate, 7), (answer, question("zh"))]
        for call, value in calls:
            with pytest.raises(StopRun, match="language 'fr'; allowed: en, zh"):
                run(call(value, provider=provider_at(server.url), language="fr"))
    assert server.calls == 0
    assert module.prompts_of("fr") is None


@pytest.mark.slow
def test_twenty_questions_in_chinese(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example, against the fake server: each row is in Chinese, and most answers are right."""
    monkeypatch.chdir(tmp_path)
    text = EXAMPLE.read_text("utf-8")
    assert text.count(":8397/v1") == 1
    with serving(Behaviour()) as server:
        (tmp_path / "bank.yaml").write_text(text.replace("http://127.0.0.1:8397/v1", server.url), "utf-8")
        report = run_config("bank.yaml")
    assert (report.written, report.failed) == (20, 0)
    with closing(sqlite3.connect("questions_zh.db")) as database:
        rows = database.execute(
            "SELECT question, answer, value ->> 'reason', value ->> 'verdict', value ->> 'language' FROM questions"
        ).fetchall()
    assert len({row[0] for row in rows}) == 20
    assert all(HAN.search(row[0]) and HAN.search(row[2]) and row[4] == "zh" for row in rows)
    assert [row[1] for row in rows if HAN.search(row[1])] == []  # each was read and solved
    assert 10 <= sum(row[3] == "correct" for row in rows) < 20
