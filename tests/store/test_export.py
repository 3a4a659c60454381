"""A run as a file: each kind holds the same, complete or not at all."""

from __future__ import annotations

import csv
import json
import os
import sys
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, update

from rxpipe.errors import ConfigError
from rxpipe.identity.signature import StageSignature, to_text
from rxpipe.store.maintenance.export import ItemRecord, export, has_integer_ids
from rxpipe.store.maintenance.export_cells import Fields, fields_of_run
from rxpipe.store.maintenance.export_files import columns, records_file
from rxpipe.store.queries.history import run
from rxpipe.store.schema.tables import CHECKPOINTS, ITEMS, RUNS

from .stores import FAILED, IDS, connected, looking

pytest_plugins = ("store.store_fixtures",)

KINDS = ("jsonl", "csv", "parquet")
COLUMNS = [
    "id",
    "status",
    "generation",
    "answering",
    "grading",
    "value",
    "error",
    "failed_stage",
    "attempts",
    "failures",
]


def exported(url: str, file: Path) -> Counter[str]:
    """Export the latest run."""
    with looking(url) as connection:
        one = run(connection)
        stages = [stage.name for stage in one.stages]
        with records_file(file, stages, integer_ids=has_integer_ids(connection, one)) as records:
            return export(connection, one, records)


def read(file: Path) -> list[dict[str, Any]]:
    """The records of a file."""
    if file.suffix == ".jsonl":
        return [json.loads(line, parse_constant=refuse) for line in file.read_text("utf-8").splitlines()]
    if file.suffix == ".csv":
        with file.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
    return rows


def refuse(constant: str) -> None:
    """JSON has no NaN, whatever Python reads."""
    raise AssertionError(constant)


def record(number: int, *outputs: str | None, **fields: Any) -> ItemRecord:
    """A record that was made up."""
    given: dict[str, Any] = {"error": None, "failed_stage": None, "attempts": 1, "failures": 0, **fields}
    return ItemRecord(id=number, status="written", outputs=outputs, **given)


def written(file: Path, stages: Sequence[str], *records: ItemRecord) -> list[dict[str, Any]]:
    """What is read again of records."""
    with records_file(file, stages, integer_ids=True) as writer:
        writer.write(records)
    return read(file)


@pytest.mark.parametrize("kind", KINDS)
def test_one_record_for_each_item(bank_url: str, tmp_path: Path, kind: str) -> None:
    """Every item is there, in the order in which they were taken, with all fields; and counted."""
    file = tmp_path / f"out.{kind}"
    assert exported(bank_url, file) == {"written": 6, "failed": 4}
    rows = read(file)
    assert [str(row["id"]) for row in rows] == [str(item_id) for item_id in IDS]
    assert list(rows[0]) == COLUMNS


def test_json_lines(bank_url: str, tmp_path: Path) -> None:
    """IDs are what they were, and outputs are data: also of pickled ones, and null for what JSON has not."""
    exported(bank_url, tmp_path / "out.jsonl")
    rows = {row["id"]: row for row in read(tmp_path / "out.jsonl")}
    assert list(rows) == list(IDS)
    assert rows["回"] == {
        "id": "回",
        "status": "written",
        "generation": {"question": 'what is "回"?', "number": "回", "weight": None},
        "answering": {"number": "回", "text": "42\nor so"},
        "grading": 0.5,
        "value": 0.5,
        "error": None,
        "failed_stage": None,
        "attempts": 3,
        "failures": 0,
    }


def test_failed_items(bank_url: str, tmp_path: Path) -> None:
    """A failed item has what it came to, where it failed and why."""
    exported(bank_url, tmp_path / "out.jsonl")
    rows = {row["id"]: row for row in read(tmp_path / "out.jsonl") if row["status"] == "failed"}
    assert {item_id: row["failed_stage"] for item_id, row in rows.items()} == FAILED
    assert (rows[3]["error"], rows[3]["attempts"], rows[3]["failures"]) == ("ValueError: no answer to 3", 3, 2)
    assert (rows[3]["answering"], rows[3]["value"]) == (None, None)
    assert rows[4]["answering"] == {"number": 4, "text": "42\nor so"}
    assert rows[8]["error"].startswith("RowRefused: ")


@pytest.mark.parametrize("kind", KINDS)
def test_unfinished_items(halted_url: str, tmp_path: Path, kind: str) -> None:
    """What has not ended is there, too, with what it has come to."""
    file = tmp_path / f"out.{kind}"
    assert exported(halted_url, file) == {"written": 1, "unfinished": 2}
    rows = read(file)
    assert [row["status"] for row in rows] == ["written", "unfinished", "unfinished"]
    assert [row["generation"] for row in rows] == ([1, 2, 3] if kind == "jsonl" else ["1", "2", "3"])
    assert not rows[1]["answering"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_cells(bank_url: str, tmp_path: Path, kind: str) -> None:
    """Text is as it is, numbers are text, anything else is JSON."""
    exported(bank_url, tmp_path / f"out.{kind}")
    rows = {str(row["id"]): row for row in read(tmp_path / f"out.{kind}")}
    assert rows["7"]["value"] == rows["7"]["grading"] == "seven"
    assert rows["1"]["value"] == "0.5"
    assert json.loads(rows["1"]["answering"]) == {"number": 1, "text": "42\nor so"}
    assert json.loads(rows["1"]["generation"], parse_constant=refuse)["weight"] is None
    assert not rows["8"]["grading"]


def test_types_of_parquet(halted_url: str, tmp_path: Path) -> None:
    """IDs are numbers where all are."""
    exported(halted_url, tmp_path / "out.parquet")
    assert [row["id"] for row in read(tmp_path / "out.parquet")] == [1, 2, 3]


def test_types_of_mixed_ids(bank_url: str, tmp_path: Path) -> None:
    """Else they are text, all of them."""
    exported(bank_url, tmp_path / "out.parquet")
    assert [row["id"] for row in read(tmp_path / "out.parquet")] == [str(item_id) for item_id in IDS]


def test_large_ids(halted_url: str, tmp_path: Path) -> None:
    """A number that a column of numbers does not take is text in one."""
    with connected(halted_url) as connection:
        connection.execute(update(ITEMS).where(ITEMS.c.item_key == "3").values(item_key=str(10**30)))
        connection.commit()
    exported(halted_url, tmp_path / "out.parquet")
    assert [row["id"] for row in read(tmp_path / "out.parquet")][2] == str(10**30)
    exported(halted_url, tmp_path / "out.jsonl")
    assert [row["id"] for row in read(tmp_path / "out.jsonl")][2] == 10**30


def exported_fields(url: str, file: Path) -> list[dict[str, Any]]:
    """The latest run, exported with the fields of its values."""
    with looking(url) as connection:
        one = run(connection)
        fields = fields_of_run(connection, one)
        with records_file(file, [], integer_ids=True, fields=fields) as records:
            export(connection, one, records)
    return read(file)


def test_fields_of_values(bank_url: str, tmp_path: Path) -> None:
    """In CSV each field of the newest output has a column, whatever stage it is of."""
    rows = {row["id"]: row for row in exported_fields(bank_url, tmp_path / "out.csv")}
    fields = ["value", "question", "number", "weight", "text"]
    assert list(rows["1"]) == ["id", "status", *fields, "error", "failed_stage", "attempts", "failures"]
    assert [rows["1"][name] for name in fields] == ["0.5", "", "", "", ""]
    assert [rows["3"][name] for name in fields] == ["", 'what is "3"?', "3", "", ""]
    assert [rows["4"][name] for name in fields] == ["", "", "4", "", "42\nor so"]


@pytest.mark.parametrize(
    ("output", "row"),
    [
        ('{"a": {"b": 1, "c": {"d": null, "e": {}}}, "f": [1]}', {"a.b": "1", "a.c.d": "", "a.c.e": "{}", "f": "[1]"}),
        ('{"id": 7, "status": "x"}', {"id_output": "7", "status_output": "x"}),
        ('{"id": 0, "question": "x"}', {"question": "x"}),
        ("{}", {"value": "{}"}),
        ("[1, 2]", {"value": "[1, 2]"}),
        ('"text"', {"value": "text"}),
        ("null", {"value": ""}),
        (json.dumps({f"n{number}": 1 for number in range(150)}), None),
    ],
)
def test_fields_of_odd_values(no_runs_url: str, tmp_path: Path, output: str, row: dict[str, str] | None) -> None:
    """Inner mappings have fields, too; what has none, or too many, is one cell."""
    with connected(no_runs_url) as connection:
        add_items(connection, 1, output)
    (found,) = exported_fields(no_runs_url, tmp_path / "out.csv")
    cells = dict(list(found.items())[2:-4])
    assert cells == ({"value": output} if row is None else row)


HARMLESS = {"-5": "-5", "+1.5e3": "+1.5e3", "text": "text", "": "", "a=b": "a=b"}
FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1+1", "-inf", "+"]


@pytest.mark.parametrize(
    ("text", "cell"), [*HARMLESS.items(), *((formula, f"'{formula}") for formula in FORMULAS)], ids=repr
)
@pytest.mark.parametrize("fields", [None, Fields(names=("value",))], ids=["stages", "fields"])
def test_formulas(tmp_path: Path, text: str, cell: str, fields: Fields | None) -> None:
    """No cell of CSV is one, unless that is wanted; numbers stay numbers."""
    failed = record(1, json.dumps(text), error=text)
    file = tmp_path / "out.csv"
    with records_file(file, ["=stage"], integer_ids=True, fields=fields) as writer:
        writer.write([failed])
    (row,) = read(file)
    assert (row["value"], row["error"]) == (cell, cell)
    assert "=stage" not in row
    with records_file(file, ["=stage"], integer_ids=True, fields=fields, formulas=True) as writer:
        writer.write([failed])
    assert read(file)[0]["value"] == text


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_are_too_long(tmp_path: Path, kind: str) -> None:
    """One that an earlier version kept as a number does not make the export fail."""
    digits = "1" + "0" * 5000
    (row,) = written(tmp_path / f"out.{kind}", ["work"], record(1, f"[{digits}]"))
    assert row["value"] == ([digits] if kind == "jsonl" else f"[{digits}]")


@pytest.mark.parametrize("kind", KINDS)
def test_run_without_items(no_runs_url: str, tmp_path: Path, kind: str) -> None:
    """A file without records is one, too."""
    assert written(tmp_path / f"out.{kind}", ["work"]) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("output", "data", "cell"),
    [
        ('"text"', "text", "text"),
        ('"\\ud83d half a pair"', "\ufffd half a pair", "\ufffd half a pair"),
        ("true", True, "true"),
        ("null", None, None),
        ("NaN", None, None),
        ("-Infinity", None, None),
        ('{"a": [1, NaN]}', {"a": [1, None]}, '{"a": [1, null]}'),
        ('"NaN is text"', "NaN is text", "NaN is text"),
        ("[" * 150 + "]" * 150, json.loads("[" * 150 + "]" * 150), "[" * 150 + "]" * 150),
    ],
)
def test_outputs(tmp_path: Path, kind: str, output: str, data: Any, cell: str | None) -> None:
    """Whatever a stage has returned comes out."""
    (row,) = written(tmp_path / f"out.{kind}", ["work"], record(1, output))
    expected = data if kind == "jsonl" else (cell or "") if kind == "csv" else cell
    assert row["work"] == row["value"] == expected


def test_stages_that_are_called_like_fields() -> None:
    """A stage's column has another name where its own is taken."""
    assert columns(["value", "work", "id"])[2:5] == ["value_output", "work", "id_output"]
    assert columns(["value", "value_output"])[2:4] == ["value_output_output", "value_output"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_half_written(bank_url: str, tmp_path: Path, kind: str) -> None:
    """When something goes wrong, what was there is still there, and nothing else."""
    file = tmp_path / "files" / f"out.{kind}"
    file.parent.mkdir()
    file.write_text("before")
    with suppress(KeyboardInterrupt), records_file(file, ["work"], integer_ids=True) as writer:
        writer.write([record(1, "1")])
        raise KeyboardInterrupt
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert file.read_text() == "before"


def test_a_file_is_replaced(tmp_path: Path) -> None:
    """A complete file takes the place of an earlier one, also where that is a link."""
    real, link = tmp_path / "real.jsonl", tmp_path / "out.jsonl"
    real.write_text("before")
    link.symlink_to(real)
    assert len(written(link, ["work"], record(1, "1"))) == 1
    assert link.is_symlink()
    assert len(read(real)) == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("out.xlsx", "allowed: .jsonl, .csv or .parquet"),
        ("-", "allowed: .jsonl, .csv or .parquet"),
        ("nowhere/out.csv", "there is no directory"),
        ("folder.csv", "it is a directory"),
    ],
)
def test_file_that_cannot_be(tmp_path: Path, name: str, told: str) -> None:
    """What cannot be written is told before anything is."""
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match=told), records_file(tmp_path / name, ["work"], integer_ids=True):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


def test_ending_in_capitals(tmp_path: Path) -> None:
    """The ending may be in capitals."""
    file = tmp_path / "OUT.JSONL"
    with records_file(file, ["work"], integer_ids=True) as writer:
        writer.write([record(1, "1")])
    assert json.loads(file.read_text())["work"] == 1


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full is one clear error."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    file = tmp_path / "out.csv"
    with pytest.raises(ConfigError, match="cannot be written: No space left"), records_file(file, [], integer_ids=True):
        pass
    assert list(tmp_path.iterdir()) == []


def test_parquet_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One error names the extra, and the other kinds need nothing."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    file = tmp_path / "out.parquet"
    with pytest.raises(ConfigError, match='needs the extra parquet: pip install "pyarrow>='):
        written(file, ["work"], record(1, "1"))
    assert len(written(tmp_path / "out.csv", ["work"], record(1, "1"))) == 1


def add_items(connection: Connection, count: int, output: str) -> None:
    """A finished run of many items, as one that really made them would take long."""
    stages = to_text([StageSignature("work", "module:work", None)])
    connection.execute(insert(RUNS).values(id=1, name="big", generation=1, stages=stages, created_at=0, finished_at=1))
    common = {"run_id": 1, "stage": 1, "fence": 1}
    item = {"is_integer": True, "state": "written", "attempts": 1, "failures": 0, "crashes": 0, **common}
    connection.execute(insert(ITEMS), [{**item, "item_key": str(number), "seq": -number} for number in range(count)])
    checkpoint = {**common, "stage": 0, "output": output, "at": 0}
    connection.execute(insert(CHECKPOINTS), [{**checkpoint, "item_key": str(number)} for number in range(count)])
    connection.commit()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_memory(no_runs_url: str, tmp_path: Path, kind: str) -> None:
    """A run of many items is never in memory as a whole, and its order is that in which they were taken."""
    count, output = 1_500, json.dumps({"text": "x" * 20_000})
    with connected(no_runs_url) as connection:
        add_items(connection, count, output)
    file = tmp_path / f"out.{kind}"
    tracemalloc.start()
    try:
        exported(no_runs_url, file)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 25_000_000 < count * len(output)
    assert [int(row["id"]) for row in read(file)] == list(range(count - 1, -1, -1))
