"""Stages that expand, collect, batch and so on, as a config describes them."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rxpipe import Batch, ConfigError, Stage, StopRun, load_pipeline, run_config
from rxpipe.config import load_config
from rxpipe.config.build import pipeline_of
from rxpipe.config.value_fields import FieldOf, FieldsAre

Write = Callable[..., Path]

STAGES = """
def split(row):
    return [{"word": word, "topic": row["topic"]} for word in row["text"].split()]

def lengths(values):
    return [{**value, "length": len(value["word"])} for value in values]

def shout(value):
    return {**value, "word": value["word"].upper()}

def total(children):
    return {"total": sum(one["length"] for one in children.values), "words": [one["word"] for one in children.values]}

def is_long(value):
    return value["length"] > 1

def topic(value):
    return value["topic"]
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a config, and a module of stages beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow_stages.py").write_text(STAGES)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "flow_stages", raising=False)

    def writing(text: str) -> Path:
        path = tmp_path / "pipeline.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return writing


def stage(write: Write, keys: str) -> Stage:
    """A stage with these keys."""
    return load_pipeline(write(f"stages: [{{name: a, call: 'flow_stages:shout', {keys}}}]")).stages[0]


@pytest.mark.parametrize(
    ("keys", "option", "expected"),
    [
        ("expand: true", "expand", True),
        ("batch: 7", "batch", Batch(max_items=7)),
        ("batch: {max_seconds: 0}", "batch", Batch(max_seconds=0)),
        ("batch: {max_items: 2, max_seconds: 1.5}", "batch", Batch(max_items=2, max_seconds=1.5)),
        ("max_rounds: 0", "max_rounds", 0),
        ("timeout: 3", "max_rounds", 3),
        ("when: {topic: sums}", "when", FieldsAre({"topic": "sums"})),
        ("key: topic", "key", FieldOf("topic")),
    ],
)
def test_keys_are_options_of_the_stage(write: Write, keys: str, option: str, expected: Any) -> None:
    """Under the same names, with the same defaults."""
    assert getattr(stage(write, keys), option) == expected


def test_functions_by_their_names(write: Write) -> None:
    """A predicate and a key may be functions of the user's module."""
    made = stage(write, "when: 'flow_stages:is_long', key: 'flow_stages:topic'")
    assert made.when is not None
    assert made.key is not None
    assert (made.when({"length": 2}), made.when({"length": 1}), made.key({"topic": "sums"})) == (True, False, "sums")


@pytest.mark.parametrize(("key", "value"), [("when", "flow_stages:is_lng"), ("key", "flow_stages:topc")])
def test_a_function_that_is_not_there(write: Write, key: str, value: str) -> None:
    """The file and the key are told."""
    with pytest.raises(ConfigError, match=rf"pipeline\.yaml: stages\[0\]\.{key}: {value}: .*did you mean"):
        stage(write, f"{key}: '{value}'")


SOURCE = "source: {csv: a.csv, id: n, on_change: %s}\nstages: [{name: a, call: 'flow_stages:shout'}]"


@pytest.mark.parametrize(
    ("name", "text", "option", "expected"),
    [
        ("DatabaseSink", "database: {rows: [written, dropped]}", "rows", ("written", "dropped")),
        ("DatabaseSink", "{}", "rows", None),
        ("RunStore", SOURCE % "redo", "on_change", "redo"),
        ("RunStore", SOURCE % "keep", "on_change", None),
        ("Stage", "stages: [{name: a, call: 'flow_stages:shout', cache: true}]", "cache", True),
        ("Stage", "stages: [{name: a, call: 'flow_stages:shout'}]", "cache", None),
    ],
)
def test_options_of_others_are_passed_on(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str, text: str, option: str, expected: Any
) -> None:
    """Only if they are given."""
    given: dict[str, Any] = {}

    def made(*_: Any, **options: Any) -> None:
        given.update(options)
        raise LookupError(name)

    config = load_config(write(text))
    monkeypatch.setattr(f"rxpipe.config.build.{name}", made)
    with pytest.raises(LookupError, match=name):
        pipeline_of(config)
    assert given.get(option) == expected


@pytest.mark.parametrize(
    ("wanted", "value", "expected"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, True),
        ({"a": 1, "b?": 2}, {"a": 1}, False),
        ({"a": [1, 2]}, {"a": 2}, True),
        ({"a": [1, 2]}, {"a": 3}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": True}, {"a": True}, True),
        ({"a": None}, {}, True),
        ({"a": 1}, SimpleNamespace(a=1), True),
        ({"real?": 1}, 1, False),
        ({"a": [None, 1]}, {}, True),
    ],
)
def test_fields_that_must_be_so(wanted: dict[str, Any], value: Any, expected: bool) -> None:
    """All of them, and each one of those that a list names."""
    assert FieldsAre(wanted)(value) is expected


def test_a_field_that_is_a_key() -> None:
    """Of a mapping or an object; one that is not there fails the item."""
    assert FieldOf("a")({"a": 3}) == FieldOf("a")(SimpleNamespace(a=3)) == 3
    with pytest.raises(LookupError, match="a dict has no 'b', which is to be its key"):
        FieldOf("b?")({"a": 3})


@pytest.mark.parametrize(
    ("rate", "waits"), [("50", [0, 0.02]), ("{limit: 3000, seconds: 60}", [0, 0.02]), ("{limit: 1, burst: 2}", [0, 0])]
)
def test_a_rate_of_items(write: Write, rate: str, waits: list[float]) -> None:
    """So many a second, or in other seconds."""
    batch = stage(write, f"batch: {{item_rate: {rate}}}").batch
    assert batch is not None
    assert batch.item_rate is not None
    assert [batch.item_rate.reserve(0.0) for _ in range(2)] == waits


def test_records_need_stages_of_their_own(write: Write) -> None:
    """The question bank, which is there by default, takes IDs."""
    with pytest.raises(ConfigError, match=r"stages: missing; the source gives records, .* needed: such as \[\{name"):
        load_pipeline(write("source: {csv: texts.csv, id: number}"))


@pytest.mark.parametrize("ask", [FieldsAre({"topik": "sums"}, "x.yaml: stages[0].when"), FieldOf("topik")])
def test_a_field_that_no_value_has(ask: Callable[[Any], object]) -> None:
    """The first value tells, and the run stops."""
    with pytest.raises(StopRun, match=r"(when|key): a dict has no field 'topik': it has topic, text; if only some .*"):
        ask({"topic": "sums", "text": "?"})


def test_a_field_that_earlier_values_had() -> None:
    """Then it is not misspelt."""
    ask = FieldsAre({"topic": "sums"})
    assert [ask({"topic": "sums"}), ask({})] == [True, False]


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (
            "when: {topic: sums}",
            "when: {topik: sums}",
            r"stages\[1\]\.when: the value has no field 'topik'; did you mean",
        ),
        ("key: topic", "key: topik", r"stages\[1\]\.key: the value has no field 'topik'; did you mean 'topic'"),
        (
            "total: total",
            "total: totl",
            r"database\.columns\.total: the value has no field 'totl'; did you mean 'total'",
        ),
        ("record.topic", "record.topik", r"database\.columns\.of: the first record has no field 'topik'; did you mean"),
    ],
)
def test_a_misspelt_field_is_found_before_anything_runs(
    write: Write, tmp_path: Path, before: str, after: str, text: str
) -> None:
    """Where annotations tell the fields, or the source does."""
    (tmp_path / "texts.csv").write_text("number,topic,text\n1,sums,one and two\n2,sets,a b\n")
    typed = "from typing import TypedDict\nclass Word(TypedDict):\n    word: str\n    topic: str\n"
    total = "class Total(TypedDict):\n    total: int\n    words: list\n"
    functions = STAGES.replace("split(row)", "split(row) -> list[Word]").replace(
        "total(children)", "total(children) -> Total"
    )
    (tmp_path / "flow_stages.py").write_text(typed + total + functions)
    run_config(write(FLOW.replace("database:", "database:\n  url: 'sqlite:///first.db'")))
    with pytest.raises(ConfigError, match=text):
        run_config(write(FLOW.replace(before, after)))
    assert not (tmp_path / "pipeline.db").exists()


FLOW = """
source: {csv: texts.csv, id: number}
stages:
  - {name: splitting, call: "flow_stages:split", expand: true}
  - {name: shouting, call: "flow_stages:shout", when: {topic: sums}, key: topic}
  - {name: measuring, call: "flow_stages:lengths", batch: {max_items: 2, max_seconds: 0.01}}
  - {name: adding, call: "flow_stages:total", collect: true}
database:
  durable: false
  columns: {number: id, of: record.topic, total: total, first: words.0, status: status}
"""


def test_records_go_through_a_flow(write: Write, tmp_path: Path) -> None:
    """From a CSV file, through children, batches and branches, into a table of the user's own."""
    (tmp_path / "texts.csv").write_text("number,topic,text\n1,sums,one and two\n2,sets,a b\n")
    report = run_config(write(FLOW))

    assert (report.taken, report.spawned, report.collected, report.written) == (2, 5, 5, 2)
    with closing(sqlite3.connect("pipeline.db")) as connection:
        query = "SELECT number, \"of\", total, first FROM results WHERE status = 'written' ORDER BY 1"
        rows = connection.execute(query).fetchall()
    assert rows == [("1", "sums", "9", "ONE"), ("2", "sets", "2", "a")]


def test_a_count_of_records(write: Write, tmp_path: Path) -> None:
    """So many are taken."""
    (tmp_path / "texts.csv").write_text("number,topic,text\n1,sums,one and two\n2,sets,a b\n")

    assert run_config(write(FLOW), count=1).taken == 1


def test_another_strategy_that_does_not_fit(write: Write) -> None:
    """A config that is changed after it was checked is told all the same."""
    config = load_config(write("stages: [{name: a, call: 'flow_stages:split', expand: true}]"))
    with pytest.raises(ConfigError, match=r"pipeline\.yaml: stages: stage a: strategy staged has no expand"):
        pipeline_of(config.model_copy(update={"strategy": "staged"}))


@pytest.mark.parametrize("source", ["{csv: a.csv, id: n}", "{call: 'flow_stages:split'}"])
def test_a_shipped_stage_takes_records(write: Write, source: str) -> None:
    """The first one need not take an ID, where it gets what the source gives."""
    load_pipeline(write(f"source: {source}\nstages: [{{name: a, call: 'rxpipe.questions.arithmetic:answer'}}]"))


def test_a_shipped_stage_takes_children(write: Write) -> None:
    """What is behind a stage that expands gets no list."""
    (Path("many_stages.py")).write_text("def many(value) -> list[dict]: return []\n")
    stages = (
        "[{name: a, call: 'many_stages:many', expand: true}, {name: b, call: 'rxpipe.questions.arithmetic:answer'}]"
    )
    load_pipeline(write(f"stages: {stages}"))


@pytest.mark.parametrize(
    ("text", "given", "expected"), [("", None, 9), ("", 3, 3), ("until: 5", None, 5), ("until: 5", 3, 3)]
)
def test_how_many_are_to_be_written(write: Write, text: str, given: int | None, expected: int) -> None:
    """The caller's number goes before the config's."""
    report = run_config(
        write(f"source: {{range: 9}}\n{text}\nstages: [{{name: a, call: 'builtins:abs'}}]"), until=given
    )
    assert report.written == expected
