"""``output: {jsonl: FILE}``: results in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from refusing import Refused, refusing

from rxpipe import ConfigError, JsonLinesSink, RunStore, load_pipeline, run_config
from rxpipe.config import load_config


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    return refusing(tmp_path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; the config is in another one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def write(folder: Path, text: str) -> Path:
    path = folder.parent / "bank.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_what_it_means(folder: Path) -> None:
    """A sink, and a store beside the file."""
    config = write(folder, "output: {jsonl: 'a?.jsonl'}")
    pipeline = load_pipeline(config, replace=True)
    assert isinstance(pipeline.sink, JsonLinesSink)
    assert (pipeline.sink.path, pipeline.sink.replace) == ("a?.jsonl", True)
    assert isinstance(pipeline.store, RunStore)
    assert load_config(config).database.url == "sqlite:///a%3F.jsonl.run.db"
    assert run_config(config, count=2).written == 2
    assert {one.name for one in folder.iterdir()} >= {"a?.jsonl", "a?.jsonl.run.db"}


def test_it_goes_on(folder: Path) -> None:
    """From where the command runs, not from the config's folder."""
    config = write(folder, "source: {range: 3}\noutput: {jsonl: bank.jsonl}")
    assert run_config(config).written == 3
    again = run_config(config, count=3)
    assert (again.taken, again.written_before) == (0, 3)
    found = lines(folder / "bank.jsonl")
    assert sorted(one["id"] for one in found) == [1, 2, 3]
    assert found[0].keys() == {"id", "status", "value", "error", "stage", "attempts", "seconds"}


def test_not_durable(folder: Path) -> None:
    """There is a file, and nothing else; the next run appends."""
    config = write(folder, "source: {range: 2}\noutput: {jsonl: bank.jsonl, durable: false}")
    assert load_pipeline(config).store is None
    run_config(config)
    run_config(config)
    assert [one.name for one in folder.iterdir()] == ["bank.jsonl"]
    assert len(lines(folder / "bank.jsonl")) == 4


def test_columns_and_rows(folder: Path) -> None:
    """By the paths of a table's columns; what is no text stays what it is."""
    (folder.parent / "records.jsonl").write_text('{"key": 7, "tags": ["a"]}\n')
    config = write(
        folder,
        "source: {jsonl: records.jsonl, id: key}\n"
        "stages: [{name: s, call: 'output_stages:drop_or_not'}]\n"
        "output: {jsonl: bank.jsonl, rows: [written, dropped],\n"
        "  columns: {n: id, tags: record.tags, first: tags.0, none: 'no.where?', end: status, all: value}}",
    )
    (folder.parent / "output_stages.py").write_text("def drop_or_not(value):\n    return value\n")
    run_config(config)
    all_of_it = {"key": 7, "tags": ["a"]}
    assert lines(folder / "bank.jsonl") == [
        {"n": 7, "tags": ["a"], "first": "a", "none": None, "end": "written", "all": all_of_it}
    ]


def test_without_a_status_only_written_items_have_lines(folder: Path) -> None:
    """As nothing would tell a failed one from a good one."""
    (folder.parent / "failing_stages.py").write_text("def work(n):\n    return 1 // (n - 2)\n")
    config = write(
        folder,
        "source: {range: 3}\npipeline_config: {retry: {max_attempts: 1}}\n"
        "stages: [{name: s, call: 'failing_stages:work'}]\noutput: {jsonl: bank.jsonl, columns: {id: id}}",
    )
    assert run_config(config).failed == 1
    assert sorted(one["id"] for one in lines(folder / "bank.jsonl")) == [1, 3]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("output: bank.jsonl", "output: given the text 'bank.jsonl'; allowed: a mapping with the keys jsonl"),
        ("output: {columns: {id: id}}", "output.jsonl"),
        ("output: {jsonl: ' '}", "output.jsonl: given the text ' '; allowed: text that is not blank"),
        ("output: {jsonl: a, table: b}", "output.table"),
        ("output: {jsonl: a}\ndatabase: {table: b}", "database: given beside output; allowed: one of them"),
        ("output: {jsonl: a, durable: true}\nstrategy: staged", "output.durable: given true"),
        ("output: {jsonl: a}\nsource: {sql: select 1}", "source: given sql without url, beside output"),
        (
            "output: {jsonl: a, durable: false}\nsource: {rows: [{a: 1}], id: a, on_change: redo}",
            "source.on_change: given the text 'redo'",
        ),
    ],
)
def test_what_is_refused(refused: Refused, text: str, told: str) -> None:
    """With file, line and key."""
    message = refused(text)
    assert message.startswith("pipeline.yaml")
    assert told in message


def test_a_folder_that_is_not_there(folder: Path) -> None:
    """Nothing is made."""
    with pytest.raises(Exception, match="there is no directory"):
        run_config(write(folder, "output: {jsonl: no/such.jsonl}"))
    assert list(folder.iterdir()) == []


def test_fresh_needs_a_store(folder: Path) -> None:
    """As with a database."""
    with pytest.raises(ConfigError, match="fresh: a run that keeps no progress"):
        load_pipeline(write(folder, "output: {jsonl: a.jsonl, durable: false}"), fresh=True)
