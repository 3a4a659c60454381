"""A run as a flat table: which columns there are, what is in them, and children beside their parents."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from rxpipe.store.maintenance.export import STATUSES, Status, export, has_children, has_integer_ids, is_among
from rxpipe.store.maintenance.export_cells import Fields, fields_of_run, with_kinds
from rxpipe.store.maintenance.export_files import records_file
from rxpipe.store.queries.history import run

from .family import add_checkpoint, add_item, add_run
from .stores import connected, looking

pytest_plugins = ("store.store_fixtures",)

KINDS = ("jsonl", "csv", "parquet")
ORDER = ["1", "1/0", "1/1", "1/2", "2", "2/0", "2/1", "3", "3/0", "4", "4/0", "4/1", "5", "6", "6/0", "7"]


def table(
    url: str, file: Path, *paths: str, statuses: Collection[Status] = STATUSES, bom: bool = False
) -> list[dict[str, Any]]:
    """The latest run as a flat table, with these columns, or with all fields."""
    with looking(url) as connection:
        one = run(connection)
        which = is_among(statuses)
        fields = Fields(names=paths, chosen=True) if paths else fields_of_run(connection, one, which)
        fields = with_kinds(fields, connection, one, which)
        parents, integer_ids = has_children(connection, one), has_integer_ids(connection, one)
        with records_file(file, [], integer_ids=integer_ids, parents=parents, fields=fields, bom=bom) as records:
            export(connection, one, records, statuses=statuses)
    return read(file)


def read(file: Path) -> list[dict[str, Any]]:
    """The records of a file."""
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    if file.suffix == ".csv":
        with file.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
    return rows


def made(url: str, *outputs: Any) -> None:
    """A run of items of one stage, with these outputs."""
    with connected(url) as connection:
        add_run(connection, ["work"])
        for number, output in enumerate(outputs):
            add_item(connection, str(number), "written", 1, seq=number)
            add_checkpoint(connection, str(number), 0, output)
        connection.commit()


@pytest.mark.parametrize("kind", KINDS)
def test_children_beside_their_parents(family_url: str, tmp_path: Path, kind: str) -> None:
    """A parent comes before its children, which are in the order in which they were made, and name it."""
    rows = table(family_url, tmp_path / f"out.{kind}")
    assert [str(row["id"]) for row in rows] == ORDER
    assert list(rows[0])[:3] == ["id", "parent", "status"]
    parents = {str(row["id"]): row["parent"] for row in rows}
    assert [bool(parents[one]) for one in ORDER] == ["/" in one for one in ORDER]
    assert parents["1/2"] == (1 if kind == "jsonl" else "1")


def test_what_ends_items_have(family_url: str, tmp_path: Path) -> None:
    """Its status, why and where it failed or was dropped, and what it is by now: at first what the source gave."""
    rows = {row["id"]: row for row in table(family_url, tmp_path / "out.jsonl", "topic", "question", "score")}
    ends = {one: (row["status"], row["failed_stage"], row["error"]) for one, row in rows.items()}
    assert ends["1/0"] == ("collected", None, None)
    assert ends["1/1"] == ("failed", "answering", "ValueError: no answer")
    assert ends["1/2"] == ("dropped", "answering", "no question")
    assert ends[2] == ends["2/1"] == ("unfinished", None, None)
    assert ends[4] == ("failed", "voting", "ValueError: a tie")
    assert ends[5] == ("dropped", "splitting", "topic 5 is too short")
    assert ends[6] == ("expanded", None, None)
    assert [rows[5][name] for name in ("topic", "question", "score")] == ["topic 5", None, None]
    assert [rows["1/1"][name] for name in ("topic", "question")] == [None, "question 1/1"]
    assert rows[1]["score"] == -5


@pytest.mark.parametrize("kind", KINDS)
def test_statuses(family_url: str, tmp_path: Path, kind: str) -> None:
    """Only items that are wanted, and only the fields that these have."""
    rows = table(family_url, tmp_path / f"out.{kind}", statuses=["written", "dropped"])
    assert [str(row["id"]) for row in rows] == ["1", "1/2", "5", "6/0", "7"]
    rows = table(family_url, tmp_path / f"out.{kind}", statuses=["unfinished"])
    assert [str(row["id"]) for row in rows] == ["2", "2/1", "3/0"]
    assert list(rows[0])[3:5] == ["topic", "question"]


def test_grandchildren(no_runs_url: str, tmp_path: Path) -> None:
    """Whatever their IDs and numbers, each parent is followed by all that is below it."""
    family = {"b": None, "b/9": "b", "b/10": "b", "10": "b/9", "9": "b/9", "b!": None, "a": None, "a/0": "a"}
    depths: dict[str, int] = {}
    with connected(no_runs_url) as connection:
        add_run(connection, ["first", "second"])
        for place, (key, parent) in enumerate(family.items()):
            depths[key] = depths[parent] + 1 if parent else 0
            made_as = {"parent_key": parent, "number": place, "depth": depths[key]} if parent else {}
            add_item(connection, key, "written", 2, seq=place, **made_as)
        connection.commit()
    rows = table(no_runs_url, tmp_path / "out.jsonl", "x")
    assert [row["id"] for row in rows] == ["b", "b/9", 10, 9, "b/10", "b!", "a", "a/0"]
    assert [row["parent"] for row in rows] == [None, "b", "b/9", "b/9", "b", None, None, "a"]


def test_a_run_without_children_has_no_parents(no_runs_url: str, tmp_path: Path) -> None:
    """It looks as it always did."""
    made(no_runs_url, {"a": 1})
    names = ["id", "status", "a", "error", "failed_stage", "attempts", "failures"]
    assert list(table(no_runs_url, tmp_path / "out.csv")[0]) == names


VALUE = {"a": {"b": [{"c": "deep"}, 2], "d.e": 1}, "text": "-5", "n": -5, "=f": "x", "id": 9, "nothing": None}


@pytest.mark.parametrize(
    ("path", "data", "cell"),
    [
        ("n", -5, "-5"),
        ("text", "-5", "-5"),
        ("a.b.0.c", "deep", "deep"),
        ("a.b.1", 2, "2"),
        ("a.b.2", None, ""),
        ("a.b.x", None, ""),
        ("a.d.e", 1, "1"),
        ("a.b", [{"c": "deep"}, 2], '[{"c": "deep"}, 2]'),
        ("n.x", None, ""),
        ("nothing", None, ""),
        ("value", None, ""),
    ],
)
def test_paths(no_runs_url: str, tmp_path: Path, path: str, data: Any, cell: str) -> None:
    """A path leads into mappings and lists; where it leads nowhere there is nothing."""
    made(no_runs_url, VALUE)
    assert table(no_runs_url, tmp_path / "out.jsonl", path)[0][path] == data
    assert table(no_runs_url, tmp_path / "out.csv", path)[0][path] == cell


def test_names_that_are_taken(no_runs_url: str, tmp_path: Path) -> None:
    """A column that is called like one that there always is gets another name; none of them is a formula."""
    made(no_runs_url, VALUE)
    (row,) = table(no_runs_url, tmp_path / "out.csv", "id", "=f")
    assert (row["id"], row["id_output"], row["'=f"]) == ("0", "9", "x")


def test_values_without_fields(no_runs_url: str, tmp_path: Path) -> None:
    """They are the field ``value`` themselves."""
    made(no_runs_url, "plain", 3)
    assert [row["value"] for row in table(no_runs_url, tmp_path / "out.jsonl", "value")] == ["plain", 3]
    assert [row["value"] for row in table(no_runs_url, tmp_path / "out.parquet")] == ["plain", "3"]


@pytest.mark.parametrize(
    ("outputs", "cells"),
    [
        ([1, None, -3], [1, None, -3]),
        ([1, 2.5], [1.0, 2.5]),
        ([2**60 + 1, 0.5], [float(2**60), 0.5]),
        ([2**70, 1], [str(2**70), "1"]),
        ([True, False], [True, False]),
        ([True, 1], ["true", "1"]),
        ([1, "x"], ["1", "x"]),
        ([[1], {"b": 2}], ["[1]", '{"b": 2}']),
        ([None], [None]),
    ],
)
def test_types_of_parquet(no_runs_url: str, tmp_path: Path, outputs: list[Any], cells: list[Any]) -> None:
    """A column of numbers or truth values has that type; any other is text."""
    made(no_runs_url, *({"a": output} for output in outputs))
    found = [row["a"] for row in table(no_runs_url, tmp_path / "out.parquet", "a")]
    assert [(type(one), one) for one in found] == [(type(one), one) for one in cells]


@pytest.mark.parametrize("bom", [True, False])
def test_byte_order_mark(no_runs_url: str, tmp_path: Path, bom: bool) -> None:
    """Excel knows UTF-8 by it; others need none."""
    made(no_runs_url, {"a": "回"})
    file = tmp_path / "out.csv"
    table(no_runs_url, file, bom=bom)
    assert file.read_bytes().startswith(b"\xef\xbb\xbfid," if bom else b"id,")
    assert file.read_text("utf-8-sig").splitlines()[1].startswith("0,written,回,")
