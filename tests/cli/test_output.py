"""Commands on a config whose results go to a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .program import refused, rxpipe


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RXPIPE_DATABASE", raising=False)
    (tmp_path / "bank.yaml").write_text("source: {range: 3}\noutput: {jsonl: bank.jsonl}\n")
    return Path("bank.yaml")


def ids() -> list[int]:
    return sorted(json.loads(line)["id"] for line in Path("bank.jsonl").read_text().splitlines())


def test_run_says_where_the_rows_are(config: Path, tmp_path: Path) -> None:
    """And which file is new."""
    first = rxpipe("run", config)
    assert first.code == 0
    place = "rows: bank.jsonl, run store sqlite:///bank.jsonl.run.db"
    assert f"{place} (new file: {tmp_path / 'bank.jsonl'}), run 1" in first.out
    again = rxpipe("run", config, "--count", "4")
    assert f"{place}, run 1" in again.out
    assert ids() == [1, 2, 3, 4]


def test_check_shows_it(config: Path) -> None:
    """And makes nothing."""
    ended = rxpipe("check", config)
    assert "output     bank.jsonl, run store sqlite:///bank.jsonl.run.db" in ended.out
    assert [one.name for one in Path().iterdir()] == ["bank.yaml"]


@pytest.mark.parametrize("place", [("-c", "bank.yaml"), ("--database", "sqlite:///bank.jsonl.run.db")])
def test_commands_on_runs(config: Path, place: tuple[str, str]) -> None:
    """They find the store by the config, and by its URL."""
    rxpipe("run", config, "--quiet")
    assert "3 items = 3 written" in rxpipe("show", "latest", *place).out
    assert rxpipe("runs", *place).code == 0
    assert rxpipe("export", "latest", "all.csv", *place).code == 0
    assert len(Path("all.csv").read_text().splitlines()) == 4
    assert rxpipe("requeue", "latest", "--rows", *place).code == 0
    rxpipe("run", config, "--quiet")
    assert ids() == [1, 1, 2, 2, 3, 3]


def test_another_database(config: Path) -> None:
    """``--database`` says where the run is kept; the rows stay in the file."""
    rxpipe("run", config, "--quiet", "--database", "sqlite:///other.db")
    assert ids() == [1, 2, 3]
    assert "3 items = 3 written" in rxpipe("show", "latest", "--database", "sqlite:///other.db").out
    assert not Path("bank.jsonl.run.db").exists()


def test_what_is_refused(config: Path) -> None:
    """With the key; ``--replace`` goes on."""
    Path("bank.jsonl").write_text('{"id":17}\n')
    message = refused("run", config)
    assert message.startswith("bank.yaml: output.jsonl: ")
    assert "bank.jsonl has 10 bytes that this run store has not written" in message
    assert rxpipe("run", config, "--replace", "--quiet").code == 0
    assert ids() == [1, 2, 3, 17]


def test_another_pipeline(config: Path) -> None:
    """The key is the name, as for a table."""
    rxpipe("run", config, "--quiet")
    config.write_text("name: other\n" + config.read_text())
    message = refused("run", config)
    assert message.startswith("bank.yaml: name: ")
    assert "the file bank.jsonl has rows of pipeline bank" in message


def test_a_run_that_keeps_nothing(config: Path) -> None:
    """It does not write behind the back of a store; without one it appends."""
    rxpipe("run", config, "--quiet")
    config.write_text("source: {range: 2}\noutput: {jsonl: bank.jsonl, durable: false}\n")
    assert "bank.jsonl is written with a run store, bank.jsonl.run.db" in refused("run", config)
    config.write_text("source: {range: 2}\noutput: {jsonl: plain.jsonl, durable: false}\n")
    assert "rows: plain.jsonl (new file: " in rxpipe("run", config).out
