"""Stages that do not fit together, told before anything is called."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rxpipe import ConfigError, load_pipeline
from rxpipe.config import load_config
from rxpipe.config.build import pipeline_of
from rxpipe.config.field_fits import check_source_fields
from rxpipe.config.sources import read_source

Load = Callable[..., None]

CHECK = "rxpipe.questions.llm:check"
GENERATE = "{name: generation, call: 'rxpipe.questions.llm:generate', with: {provider: m%s}%s}"
ONE, SEVERAL = GENERATE % ("", ""), GENERATE % (", per_call: 3", ", expand: true")
SAMPLES = "{name: samples, call: 'rxpipe.questions:samples', expand: true}"
ANSWER = "{name: answering, call: 'rxpipe.questions.llm:answer', with: {provider: m}%s}"
GRADE = "{name: grading, call: 'rxpipe.questions.llm:grade', with: {provider: m}}"
MAJORITY = "{name: voting, call: 'rxpipe.questions:majority', collect: true}"


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a config with these stages."""

    def loading(stages: str, rest: str = "") -> None:
        path = tmp_path / "p.yaml"
        providers = "providers: {m: {model: m, base_url: 'http://127.0.0.1:9/v1'}}\n"
        path.write_text(f"{providers}stages: [{stages}]\n{rest}", encoding="utf-8")
        load_pipeline(path)

    return loading


def check(options: str = "") -> str:
    return f"{{name: checking, call: '{CHECK}', with: {{provider: m{options}}}}}"


@pytest.mark.parametrize(
    "stages",
    [
        (ONE, check(), SAMPLES, ANSWER % "", MAJORITY, GRADE),
        (SEVERAL, check(", unclear: drop"), "{name: d, call: 'rxpipe.questions:distinct', with: {state: s}}"),
        (SEVERAL, ANSWER % "", MAJORITY, check()),
        (ONE, SAMPLES, check(", back_to: checking")),
        (ONE, SAMPLES, ANSWER % "", check(", back_to: answering")),
    ],
)
def test_stages_that_fit(load: Load, stages: tuple[str, ...]) -> None:
    """Also those between which there are many items of each, or that go on with what came in."""
    load(", ".join(stages))


@pytest.mark.parametrize(
    ("stages", "error"),
    [
        (
            (GENERATE % (", per_call: 3", ""), ANSWER % ""),
            r"stages\[1\]\.call: .*:answer takes .* but gets list: that is",
        ),
        (
            (GENERATE % ("", ", expand: true"),),
            r"stages\[0\]\.call: a stage with expand gives many values, but .*:generate is",
        ),
        (
            (SEVERAL, ANSWER % ", collect: true"),
            r"stages\[1\]\.call: .*:answer takes .* but gets the children of an item",
        ),
        ((ONE, ANSWER % ", batch: 5"), r"stages\[1\]\.call: .*:answer takes .* but gets list"),
        ((SEVERAL, MAJORITY), r"with answer, but gets Question with id, topic"),
        (
            (ONE, ANSWER % "", MAJORITY.replace("true", "false")),
            r":majority takes the children of an item: its stage needs",
        ),
        (
            (SEVERAL, check()),
            r"check cannot send items back to 'generation': generation makes many items .* unclear: drop",
        ),
        ((ONE, SAMPLES, check()), r"cannot send items back to 'generation': samples makes many items of each"),
        (
            (ONE, SAMPLES, ANSWER % "", MAJORITY, check(", back_to: answering")),
            r"back to 'answering': samples makes many",
        ),
        (
            (ONE, check(", back_to: elsewhere")),
            r"'elsewhere': there is no stage of that name before it; there are generation$",
        ),
        (
            (ONE, check(", unclear: forget")),
            r"stages\[1\]\.with\.unclear: given the text 'forget'; allowed: 'send_back' or 'drop'",
        ),
        ((GENERATE % (", per_call: 0", ""),), r"stages\[0\]\.with\.per_call: given 0; allowed: "),
    ],
)
def test_stages_that_do_not_fit(load: Load, stages: tuple[str, ...], error: str) -> None:
    """What is wrong, and where."""
    with pytest.raises(ConfigError, match=error):
        load(", ".join(stages))


def test_an_extra_that_is_missing(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is called, and so paid for."""
    monkeypatch.setitem(sys.modules, "rensa", None)
    stages = f"{ONE}, {{name: d, call: 'rxpipe.questions:distinct', with: {{state: s}}}}"
    with pytest.raises(
        ConfigError, match=r'stages\[1\].call: .*:distinct needs the extra distinct: pip install "rensa'
    ):
        load(stages)


COLUMNS = "database: {columns: {id: id, question: question, %s}}"


@pytest.mark.parametrize(
    ("stages", "named"),
    [
        ((ONE, ANSWER % "", GRADE), "created_at: created_at"),
        ((ONE, ANSWER % "", GRADE), "score: scor"),
        ((ONE, ANSWER % ""), "score: score"),
        ((ONE, ANSWER % "", GRADE.replace("}}", "}, when: {topic: sums}}")), "note: note"),
        (
            tuple(f"{{name: s{n}, call: 'rxpipe.questions.arithmetic:{n}'}}" for n in ("generate", "answer", "grade")),
            "a: b",
        ),
    ],
)
def test_columns_that_shipped_stages_do_not_return(load: Load, stages: tuple[str, ...], named: str) -> None:
    """Before anything is paid for; those that they return, and those that only some values have, are fine."""
    load(", ".join(stages), COLUMNS % "verdict: 'verdict?', answer: answer")
    field = named.split()[-1]
    with pytest.raises(ConfigError, match=rf"database\.columns\..*: the value has no field '{field}'") as refused:
        load(", ".join(stages), COLUMNS % named)
    assert ("DEFAULT CURRENT_TIMESTAMP" in str(refused.value)) is (field == "created_at")


def test_columns_of_records(load: Load) -> None:
    """A shipped stage that gets a dict returns one, with fields that no annotation tells."""
    call = "{name: own, call: 'builtins:dict'}"
    load(f"{call}, {ANSWER % ''}", COLUMNS % "level: level")


@pytest.fixture
def started(tmp_path: Path) -> Load:
    """Checks a config with these options of ``generate`` and this source, and calls nothing."""
    (tmp_path / "topics.csv").write_text("number,topic,level\n1,sums,hard\n", encoding="utf-8")
    (tmp_path / "ask.md").write_text("{topic} {record.level} {record.note?}", encoding="utf-8")
    (tmp_path / "wrong.md").write_text("{topic} {record.lvl}", encoding="utf-8")

    def checking(options: str, source: str = "{csv: topics.csv, id: number}") -> None:
        path = tmp_path / "p.yaml"
        providers = "providers: {m: {model: m, base_url: 'http://127.0.0.1:9/v1'}}\n"
        stages = f"stages: [{GENERATE % (', ' + options, '')}]\n"
        path.write_text(f"{providers}source: {source}\n{stages}", encoding="utf-8")
        config = load_config(path)
        pipeline_of(config)
        check_source_fields(config, read_source(config))

    return checking


@pytest.mark.parametrize(
    ("options", "wrong", "text"),
    [
        (
            "difficulty: record.level",
            "difficulty: record.lvl",
            r"with\.difficulty: .* no field 'lvl'; did you mean 'level'",
        ),
        (
            "prompt: ask.md",
            "prompt: wrong.md",
            r"with\.prompt: the first record has no field 'lvl'; did you mean 'level'",
        ),
    ],
)
def test_options_and_prompts_that_name_fields_of_the_record(started: Load, options: str, wrong: str, text: str) -> None:
    """One that it lacks is told before anything is called, and so is a source of IDs."""
    started(options)
    with pytest.raises(ConfigError, match=r"stages\[0\]\." + text):
        started(wrong)
    with pytest.raises(ConfigError, match=r"record\.\w+ is a field of records, and the source gives IDs"):
        started(options, "{range: 3}")
