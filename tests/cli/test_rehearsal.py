"""``rxpipe run`` on a rehearsal: without its waits, and what it tells you to try next."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from rich.text import Text

from rxpipe.cli.views import next_steps

from .program import rxpipe

EXAMPLE = Path(__file__).parents[2] / "examples" / "questions.yaml"


@pytest.mark.slow
def test_fast_writes_the_rows_and_tells_what_to_try_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command that it names is one that works there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "questions.yaml").write_bytes(EXAMPLE.read_bytes())
    ended = rxpipe("run", "questions.yaml", "--fast", "--count", "20")
    assert (ended.code, ended.err) == (0, "")
    rows, _, steps = ended.out.partition("This was a rehearsal")
    assert "20 written + 0 failed" in rows
    commands = re.findall(r"^  rxpipe (.*?)(?:   |$)", steps, re.MULTILINE)
    assert [shlex.split(command)[0] for command in commands] == ["view", "compare", "preview", "init"]
    for command in commands:
        if not command.startswith(("view", "preview")):  # which go on until Ctrl-C, and which wait
            assert rxpipe(*shlex.split(command)).code == 0, command


def test_what_is_quiet_tells_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does JSON, nor a run that is no rehearsal."""
    monkeypatch.chdir(tmp_path)
    assert rxpipe("run", EXAMPLE, "--fast", "--count", "3", "--quiet").out == ""
    assert "rehearsal" not in rxpipe("run", EXAMPLE, "--fast", "--fresh", "--count", "3", "--json").out


def test_fast_is_of_rehearsals_only(tmp_path: Path) -> None:
    """One sentence says so."""
    config = tmp_path / "own.yaml"
    config.write_text("stages: [{name: one, call: 'rxpipe.questions.arithmetic:generate'}]\n", "utf-8")
    ended = rxpipe("run", config, "--fast")
    assert (ended.code, ended.out) == (2, "")
    assert "error: --fast leaves out the waits of rxpipe.questions.rehearsed" in " ".join(ended.err.split())


@pytest.mark.parametrize("installed", [True, False])
def test_steps_fit_a_terminal(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the page is yet to be installed."""
    monkeypatch.setattr(next_steps, "find_spec", {"starlette": installed, "uvicorn": installed}.get)
    lines = [Text(line) for one in next_steps.next_steps("examples/questions.yaml") for line in one.plain.split("\n")]
    assert max(line.cell_len for line in lines) <= 80
    assert any('".[web]"' in line.plain for line in lines) is not installed


def test_steps_name_the_database_that_was_given() -> None:
    """The page finds the run by it."""
    steps = "\n".join(one.plain for one in next_steps.next_steps("q.yaml", "--database sqlite:////tmp/other.db"))
    assert "rxpipe view --database sqlite:////tmp/other.db " in steps
