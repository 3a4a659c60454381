"""Records of files with a JSON object a line, and records that stand in the config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rxpipe import Record, content_id
from rxpipe.config import Config

from .source_helpers import Configured, listed, refusal

FromJsonl = Callable[..., Config]


@pytest.fixture
def from_jsonl(configured: Configured, tmp_path: Path) -> FromJsonl:
    """A config whose source is such a file with these bytes."""

    def writing(raw: bytes | str, more: str = "id: id") -> Config:
        (tmp_path / "q.jsonl").write_bytes(raw.encode() if isinstance(raw, str) else raw)
        return configured(f"{{jsonl: q.jsonl, {more}}}")

    return writing


def test_lines_are_records(from_jsonl: FromJsonl) -> None:
    """The value is the object; an ID has the type that it has there. Blank lines are none."""
    config = from_jsonl('{"id": 7, "a": [1, null]}\r\n\n{"id": "7x", "文": "\\ud83d\\ude00"}\n')

    assert listed(config) == [Record(7, {"id": 7, "a": [1, None]}), Record("7x", {"id": "7x", "文": "😀"})]
    assert len(listed(config, 1)) == 1


@pytest.mark.parametrize(
    ("raw", "more"), [('{"a": "ü"}'.encode("utf-16"), ""), ('{"a": "ü"}'.encode("latin-1"), ", encoding: latin-1")]
)
def test_encodings(from_jsonl: FromJsonl, raw: bytes, more: str) -> None:
    """A byte order mark tells it, or the config."""
    assert listed(from_jsonl(raw, f"id: hash{more}")) == [Record(content_id({"a": "ü"}), {"a": "ü"})]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"id": 1}\n{"id": 2\n', "line 2 (Expecting ',' delimiter, column 9): not JSON"),
        (b'{"id": 1}\n[2]\n3\n', "lines 2, 3: no JSON object; keep one object a line"),
        (b'{"id": 1}\n{"ID": 2}\n', "line 2: no field 'id' to be the ID"),
        (b'{"id": 1}\n{"id": "1"}\n', "line 2 ('1'): an ID that an earlier one has; keep each once"),
        (b'{"id": null}\n', "line 1: the ID is blank; give each an ID of its own, or use id: hash"),
        (b'{"id": 1.5}\n', "line 1 (1.5): the ID is neither a whole number nor text"),
        (b'{"id": true}\n', "line 1 (true): the ID is neither a whole number nor text"),
        (b'{"id": 1}\n{"id": "\xff"}\n', "line 2: not UTF-8; save the file so, or give its encoding with encoding:"),
        (b"[" * 100_000, "line 1: not JSON: nested too deeply"),
    ],
)
def test_what_is_no_record(from_jsonl: FromJsonl, raw: bytes, message: str) -> None:
    """The file, the lines and what to do are told."""
    assert refusal(from_jsonl(raw)) == f"pipeline.yaml: source.jsonl: q.jsonl, {message}"


def test_the_same_content_twice(from_jsonl: FromJsonl) -> None:
    """It would have one ID."""
    told = refusal(from_jsonl('{"a": 1, "b": 2}\n{"b": 2, "a": 1}\n', "id: hash"))

    assert told.endswith("q.jsonl, line 2: the content of an earlier one; keep each once")


def test_records_in_the_config(configured: Configured) -> None:
    """A list of mappings, whose dates are dates as in all YAML."""
    config = configured("{rows: [{id: 1, question: why}, {id: b, at: 2026-01-02}], id: id}")

    first, second = listed(config)
    assert first == Record(1, {"id": 1, "question": "why"})
    assert (second.id, str(second.value["at"])) == ("b", "2026-01-02")
    assert listed(config, 1) == [first]


def test_records_in_the_config_by_their_content(configured: Configured) -> None:
    """Also where they hold what is no JSON."""
    first, second = listed(configured("{rows: [{at: 2026-01-02}, {at: '2026-01-02T'}], id: hash}"))

    assert len({first.id, second.id}) == 2


def test_records_in_the_config_without_ids_of_their_own(configured: Configured) -> None:
    """They are told by their numbers."""
    told = refusal(configured("{rows: [{id: 1}, {id: 1}, {}], id: id}"))

    assert told.splitlines() == [
        "pipeline.yaml: source.rows, row 2 (1): an ID that an earlier one has; keep each once",
        "pipeline.yaml: source.rows, row 3: no field 'id' to be the ID",
    ]
