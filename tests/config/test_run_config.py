"""A config as one call of Python code."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import rxpipe
from rxpipe import ConfigError, ItemView, Listener, Outcome

CODE = "def shout(value):\n    return f'{value}!'\n"
TEXT = """
name: shouting
source: {range: 50}
stages: [{name: shout, call: "MODULE:shout"}]
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module = f"shouting_{uuid.uuid4().hex}"  # Python keeps those of other tests
    (tmp_path / f"{module}.py").write_text(CODE)
    (tmp_path / "shouting.yaml").write_text(TEXT.replace("MODULE", module))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "shouting.yaml"


def rows() -> list[Any]:
    with closing(sqlite3.connect("shouting.db")) as connection:
        return sorted(int(row) for (row,) in connection.execute("SELECT id FROM results"))


def test_a_config_runs_over_its_source(path: Path) -> None:
    """As many IDs as asked for, then all that are left; into its own database, under its own name."""
    assert rxpipe.run_config(path, count=5).written == 5
    assert rows() == [1, 2, 3, 4, 5]
    report = rxpipe.run_config(str(path))
    assert (report.written_before, report.written, report.run) == (5, 45, 1)
    assert rxpipe.run_config(path, count=5, fresh=True).run == 2


def test_who_listens_is_told(path: Path) -> None:
    """Of a config's pipeline as of any other."""
    told: list[Any] = []

    class Told(Listener):
        def ended(self, item: ItemView, outcome: Outcome[Any]) -> None:
            told.append((item.id, outcome.status))

    rxpipe.run_config(path, count=3, listeners=[Told()])
    assert sorted(told) == [(1, "written"), (2, "written"), (3, "written")]
    pipeline = rxpipe.load_pipeline(path, listeners=[Told()], max_cost=2.5)
    assert (pipeline.name, pipeline.max_cost, len(pipeline.listeners)) == ("shouting", 2.5, 1)


def test_what_is_wrong_is_one_error(path: Path) -> None:
    """Which names file and key; nothing is run."""
    with pytest.raises(ConfigError, match="count: given -3"):
        rxpipe.run_config(path, count=-3)
    path.write_text(path.read_text().replace("range: 50", "range: -1"))
    with pytest.raises(ConfigError, match=r"shouting.yaml.*source.range"):
        rxpipe.run_config(path)
    with pytest.raises(ConfigError, match=r"missing.yaml"):
        rxpipe.run_config("missing.yaml")
    assert not Path("shouting.db").exists()


def test_options_that_cannot_be(path: Path) -> None:
    """One that does not exist is named, with those that do; a run that is not kept cannot be gone on with."""
    options: Any = {"frseh": True}
    with pytest.raises(TypeError, match="no option frseh; it has fresh, listeners, max_cost, replace, resume"):
        rxpipe.run_config(path, **options)
    path.write_text(path.read_text() + "database: {durable: false}\n")
    with pytest.raises(ConfigError, match="resume: a run that keeps no progress"):
        rxpipe.load_pipeline(path, resume=True)
    with pytest.raises(ConfigError, match="fresh: a run that keeps no progress"):
        rxpipe.run_config(path, fresh=True)
    assert not Path("shouting.db").exists()


def test_on_a_running_loop(path: Path) -> None:
    """It is refused, as ``Pipeline.run`` is, with what to write instead."""

    async def main() -> None:
        rxpipe.run_config(path)

    with pytest.raises(RuntimeError, match="run_async"):
        asyncio.run(main())
