"""``rxpipe init``: a start that works as it stands."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from rxpipe.config import Config

from .program import refused, rows, rxpipe

FILES = ["my_stages.py", "pipeline.schema.json", "pipeline.yaml"]


@pytest.fixture(autouse=True)
def fresh_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a module of that name."""
    monkeypatch.delitem(sys.modules, "my_stages", raising=False)


@pytest.mark.parametrize("name", ["bank", "a folder/in another"])
def test_it_runs_at_once(folder: Path, name: str) -> None:
    """The command that it prints runs, and writes graded rows."""
    ended = rxpipe("init", name)
    assert (ended.code, ended.err) == (0, "")
    assert sorted(path.name for path in (folder / name).iterdir()) == FILES
    (command,) = [line.removeprefix("next: rxpipe ") for line in ended.out.splitlines() if line.startswith("next: ")]
    assert rxpipe(*shlex.split(command)).code == 0
    database = f"{Path(name).name.replace(' ', '_')}.db"
    assert {row[1:] for row in rows(folder / database)} == {("written", 1.0)}
    sys.modules.pop("my_stages")


def test_a_file_is_no_folder(folder: Path) -> None:
    """It is refused, and left as it is."""
    (folder / "bank").write_text("mine", encoding="utf-8")
    assert "bank is a file; allowed: a folder" in refused("init", "bank")
    assert (folder / "bank").read_text(encoding="utf-8") == "mine"


def test_what_it_writes_is_valid(folder: Path) -> None:
    """The config passes the check, and the schema is that of the config."""
    rxpipe("init", ".")
    assert rxpipe("check", "pipeline.yaml").code == 0
    assert json.loads(Path("pipeline.schema.json").read_text(encoding="utf-8")) == Config.model_json_schema()
    assert "$schema=pipeline.schema.json" in Path("pipeline.yaml").read_text(encoding="utf-8")
    sys.modules.pop("my_stages")


@pytest.mark.parametrize("there", FILES)
def test_nothing_is_overwritten(folder: Path, there: str) -> None:
    """If one of the files is there, it is named, and none is written."""
    Path(there).write_text("mine", encoding="utf-8")
    assert there in refused("init", ".")
    assert [path.name for path in folder.iterdir()] == [there]
    assert Path(there).read_text(encoding="utf-8") == "mine"


def test_no_folder(folder: Path) -> None:
    """Where no folder can be made, that is told."""
    Path("file").touch()
    assert "file" in refused("init", "file/bank")
