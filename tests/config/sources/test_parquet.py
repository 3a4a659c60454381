"""Records of Parquet files."""

from __future__ import annotations

import importlib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from rxpipe import Record

from .source_helpers import Configured, listed, read, refusal

pytestmark = pytest.mark.slow  # to import pyarrow takes long


def table(path: Path, columns: dict[str, list[Any]]) -> None:
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    arrow: Any = importlib.import_module("pyarrow")
    parquet.write_table(arrow.table(columns), path, row_group_size=2)


def test_rows_are_records(configured: Configured, tmp_path: Path) -> None:
    """The value is a plain dict, with the types that the columns have."""
    table(tmp_path / "q.parquet", {"n": [3, 1, 2], "on": [date(2026, 1, 2), None, None], "tags": [["a"], [], None]})
    config = configured("{parquet: q.parquet, id: n}")

    assert listed(config, 1) == [Record(3, {"n": 3, "on": date(2026, 1, 2), "tags": ["a"]})]
    assert len(read(config)) == 3  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - it has a length


def test_an_id_of_the_content(configured: Configured, tmp_path: Path) -> None:
    """Also of dates."""
    table(tmp_path / "q.parquet", {"on": [date(2026, 1, 2), date(2026, 1, 3)]})

    assert len({one.id for one in listed(configured("{parquet: q.parquet, id: hash}"))}) == 2


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, None, 2], "row 2: the ID is blank; give each an ID of its own, or use id: hash"),
        ([1, 2, 1], "row 3 (1): an ID that an earlier one has; keep each once"),
        ([1.0, 2.5], "rows 1 (1.0), 2 (2.5): the ID is neither a whole number nor text"),
    ],
)
def test_rows_without_an_id_of_their_own(configured: Configured, tmp_path: Path, ids: list[Any], message: str) -> None:
    """They are told by their numbers."""
    table(tmp_path / "q.parquet", {"n": ids})

    assert refusal(configured("{parquet: q.parquet, id: n}")) == f"pipeline.yaml: source.parquet: q.parquet, {message}"


def test_a_column_that_is_not_there(configured: Configured, tmp_path: Path) -> None:
    """Those that there are are told."""
    table(tmp_path / "q.parquet", {"n": [1], "text": ["a"]})
    told = refusal(configured("{parquet: q.parquet, id: txt}"))

    assert (
        told == "pipeline.yaml: source.id: q.parquet: no column is called 'txt'; did you mean 'text'? allowed: n, text"
    )


@pytest.mark.parametrize("raw", [b"", b"id,text\n1,a\n", b"PAR1" + bytes(100) + b"PAR1"])
def test_what_is_no_parquet(configured: Configured, tmp_path: Path, raw: bytes) -> None:
    """It is told, and why."""
    pytest.importorskip("pyarrow.parquet")
    (tmp_path / "q.parquet").write_bytes(raw)

    told = refusal(configured("{parquet: q.parquet, id: n}"))
    assert told.startswith("pipeline.yaml: source.parquet: ")
    assert "cannot be read" in told


def test_a_page_that_is_damaged(configured: Configured, tmp_path: Path) -> None:
    """In one line."""
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    path = tmp_path / "q.parquet"
    parquet.write_table(pyarrow.table({"n": list(range(1000))}), path)
    raw = path.read_bytes()
    path.write_bytes(raw[:4] + b"\xff" * 200 + raw[204:])

    told = refusal(configured("{parquet: q.parquet, id: n}"))
    assert "q.parquet' cannot be read: Couldn't deserialize thrift" in told
    assert "\n" not in told


def test_without_pyarrow(configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is told."""
    (tmp_path / "q.parquet").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)

    assert "a Parquet file needs pyarrow: pip install" in refusal(configured("{parquet: q.parquet, id: n}"))
