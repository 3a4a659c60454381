"""Every bad input ends with 2 and one message that says what to do, and nothing is written."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from .program import refused, run_program

BAD_CONFIGS = {
    "unknown key": ("stragety: staged", ["stragety", "'strategy'"]),
    "wrong type": ("pipeline_config: {parallel_pipelines: many}", ["parallel_pipelines", "'many'", "whole number"]),
    "negative timeout": ("pipeline_config: {timeouts: {grading: -1}}", ["timeouts.grading", "-1", "above 0"]),
    "zero concurrency": (
        "stages: [{name: a, call: 'm:f', concurrency: 0}]",
        ["stages[0].concurrency", "given 0", "1 or more"],
    ),
    "zero pipelines": ("pipeline_config: {parallel_pipelines: 0}", ["parallel_pipelines", "given 0", "1 or more"]),
    "tab": ("pipeline_config:\n\tparallel_pipelines: 3", ["line 2", "tab"]),
    "empty": ("", ["empty", "a mapping with the keys"]),
    "list": ("- strategy: staged", ["a list", "a mapping with the keys"]),
    "stage under timeouts": ("pipeline_config: {timeouts: {graading: 1}}", ["timeouts.graading", "'grading'"]),
    "negative allowance": (
        "stages: [{name: a, call: 'm:f', max_abandoned: -1}]",
        ["stages[0].max_abandoned", "given -1", "0 or more"],
    ),
    "two arguments": (
        "stages: [{name: a, call: 'math:pow'}]",
        ["stages[0].call", "'math:pow'", "must take one argument", "(x, y, /)"],
    ),
    "missing module": ("stages: [{name: a, call: 'no_such_module:f'}]", ["stages[0].call", "no_such_module"]),
    "missing function": (
        "stages: [{name: a, call: 'rxpipe.questions.arithmetic:answr'}]",
        ["stages[0].call", "'answr'", "'answer'"],
    ),
}


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("bad", BAD_CONFIGS)
def test_bad_config(folder: Path, bad: str, command: str) -> None:
    """A config that cannot be used is explained: file, key, value, what is allowed."""
    text, told = BAD_CONFIGS[bad]
    Path("bad.yaml").write_text(text, encoding="utf-8")
    message = refused(command, "bad.yaml")
    assert message.startswith("bad.yaml")
    for part in told:
        assert part in message
    assert len(message.splitlines()) == 1
    assert [path.name for path in folder.iterdir()] == ["bad.yaml"]


@pytest.mark.parametrize("command", ["run", "check", "compare"])
def test_missing_config(folder: Path, command: str) -> None:
    """A config that is not there is named."""
    assert "nowhere.yaml" in refused(command, "nowhere.yaml")
    assert list(folder.iterdir()) == []


BAD_IDS = {
    "blank": (b"a\n\nb\n", ["line 2", "blank"]),
    "repeated": (b"a\nb\na\n", ["line 3", "'a'", "earlier"]),
    "bad UTF-8": (b"a\n\xff\xfe\n", ["line 2", "UTF-8"]),
}


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("bad", BAD_IDS)
def test_bad_id_file(folder: Path, bad: str, command: str) -> None:
    """A bad ID is found before anything runs, and named with its line."""
    data, told = BAD_IDS[bad]
    Path("ids.txt").write_bytes(data)
    Path("bank.yaml").write_text("source: {file: ids.txt}", encoding="utf-8")
    message = refused(command, "bank.yaml")
    for part in ["bank.yaml", "source.file", "ids.txt", *told]:
        assert part in message
    assert sorted(path.name for path in folder.iterdir()) == ["bank.yaml", "ids.txt"]


def test_unreachable_database(folder: Path) -> None:
    """A server that is not there is told with its URL, but not its password."""
    with socket.socket() as taken:  # bound, and not listening: whoever connects is refused
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://me:s3cret@127.0.0.1:{taken.getsockname()[1]}/bank"
        Path("bank.yaml").write_text(f"database: {{url: '{url}'}}", encoding="utf-8")
        message = refused("run", "bank.yaml")
    assert "127.0.0.1" in message
    assert "s3cret" not in message
    assert [path.name for path in folder.iterdir()] == ["bank.yaml"]


@pytest.mark.parametrize(("place", "told"), [("nowhere/bank.db", "there is no directory"), (".", "is a directory")])
@pytest.mark.parametrize("command", ["run", "check"])
def test_unwritable_path(folder: Path, place: str, told: str, command: str) -> None:
    """A path where no file can be is told."""
    Path("bank.yaml").write_text(f"database: {{url: 'sqlite:///{folder / place}'}}", encoding="utf-8")
    message = refused(command, "bank.yaml")
    assert message.startswith("bank.yaml: database.url: ")
    assert told in message
    assert str(folder) in message
    assert [path.name for path in folder.iterdir()] == ["bank.yaml"]


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--strategy", "per_step", "per_stage, per_item or staged"),
        ("--scheduler", "thread", "threads or asyncio"),
        ("--database", "bank.db", "a database URL"),
    ],
)
def test_bad_override(folder: Path, option: str, value: str, allowed: str) -> None:
    """An option is checked as the key is that it stands for."""
    Path("bank.yaml").write_text("source: {range: 3}", encoding="utf-8")
    message = refused("run", "bank.yaml", option, value)
    assert re.match(rf"{option}: given the text '{value}'.*[;?] allowed: {allowed}", message)
    assert [path.name for path in folder.iterdir()] == ["bank.yaml"]


@pytest.mark.parametrize("where", ["module", "call"])
def test_foreign_text_cannot_act_on_the_terminal(folder: Path, where: str) -> None:
    """Escape sequences in what users' code raises are shown, not sent."""
    raising = "raise ValueError('\\x1b[2Jgone')"
    (folder / f"hostile_{where}.py").write_text(
        raising if where == "module" else f"def ids():\n    {raising}\ndef f(x): ...", encoding="utf-8"
    )
    stage = f"hostile_{where}:f"
    source = "" if where == "module" else "source: {call: 'hostile_call:ids'}\n"
    Path("bank.yaml").write_text(f"{source}stages: [{{name: a, call: '{stage}'}}]", encoding="utf-8")
    message = refused("run", "bank.yaml")
    assert "\x1b" not in message
    assert "gone" in message


@pytest.mark.slow
def test_program_ends_with_2(folder: Path) -> None:
    """The program itself, too: 2, one line on standard error, no traceback."""
    Path("bad.yaml").write_text("pipeline_config: {parallel_pipelines: 0}", encoding="utf-8")
    ended = run_program("run", "bad.yaml", cwd=folder)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: bad.yaml")
    assert len(ended.err.splitlines()) == 1
