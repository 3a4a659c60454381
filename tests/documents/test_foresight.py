"""What the document of foresight prints is what rxpipe prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rxpipe.cli.parser.configs import app
from rxpipe.insight.interval import Interval
from rxpipe.screen.texts import about

from .blocks import blocks
from .pages import ROOT

DOCUMENT = ROOT / "docs" / "foresight.md"
BANK = """
stages:
  - {name: generation, call: "rxpipe.questions.arithmetic:generate", concurrency: 4}
  - {name: answering, call: "rxpipe.questions.arithmetic:answer", concurrency: 8}
  - {name: grading, call: "rxpipe.questions.arithmetic:grade", concurrency: 4}
"""


def printed(begin: str) -> list[str]:
    """What is below a command."""
    (block,) = [one for one in blocks("text", DOCUMENT) if one.text.startswith(f"$ {begin}")]
    return block.text.splitlines()


def test_a_simulated_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last digit: nothing in it is left to chance."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bank.yaml").write_text(BANK, encoding="utf-8")
    command, *lines, rest = printed("rxpipe compare bank.yaml --simulated")
    ended = CliRunner().invoke(app, shlex.split(command)[2:])
    assert ended.exit_code == 0, ended.output
    assert [line.rstrip() for line in ended.stdout.splitlines()[: len(lines)]] == lines
    assert rest == "..."
    assert [one.name for one in tmp_path.iterdir()] == ["bank.yaml"]


def test_the_time_left_reads_as_a_run_tells_it() -> None:
    """With its interval, and the cost with its own."""
    _, *lines = printed("rxpipe run bank.yaml")
    assert lines
    for line in lines:
        found = re.search(
            r"cost [\d.]+ of about [\d.]+ \([\d.]+ to [\d.]+\), (about ([\d.]+) s left \((.+) to (.+)\))$", line
        )
        assert found is not None, line
        middle, low, high = map(float, found.groups()[1:])
        assert found[1] == about(Interval(middle=middle, low=low, high=high), " left")
