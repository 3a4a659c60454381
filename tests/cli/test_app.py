"""The program as a whole: help, version, usage."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from rxpipe.store.schema.migrations import newest_version

from .program import rxpipe

HEAVY = ("sqlalchemy", "reactivex", "pydantic", "structlog", "yaml")


def test_help_names_the_commands() -> None:
    """Help comes on standard output, with every command."""
    ended = rxpipe("--help")
    assert ended.code == 0
    for command in ("run", "check", "compare", "init", "schema"):
        assert f" {command} " in ended.out


def test_help_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paragraphs fill the width, wherever the source breaks its lines."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip() for line in rxpipe("run", "--help").out.split("Arguments")[0].splitlines()]
    (begin,) = (number for number, line in enumerate(lines) if line.startswith("Run the same command again"))
    paragraph = lines[begin : lines.index("", begin)]
    assert paragraph[-1].endswith("they share the work.")
    assert all(len(line) > 60 for line in paragraph[:-1])


@pytest.mark.parametrize("command", ["", "run", "failures", "requeue", "export", "prune", "workers", "compare"])
def test_flags_take_no_value(command: str) -> None:
    """Nothing stands behind a flag that looks like a value."""
    ended = rxpipe(*command.split(), "--help")
    assert "--help" in ended.out
    assert "<bool>" not in ended.out


def test_help_imports_nothing_heavy() -> None:
    """Help does not wait for SQLAlchemy and the like."""
    code = (
        "import sys\nfrom rxpipe.cli.app import main\nsys.argv = ['rxpipe', '--help']\n"
        f"try: main()\nfinally: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "[]\n")


def test_version() -> None:
    """The version is that of the package; and that of the tables, which others may have in a database."""
    assert rxpipe("--version") == (0, f"rxpipe {version('rxpipe')}, store schema {newest_version()}\n", "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rn"], "No such command 'rn'"),
        (["run", "--cout", "3", "x.yaml"], "No such option"),
        (["run"], "Missing argument"),
        (["run", "x.yaml", "--count", "0"], "'0'; allowed: a whole number, 1 or more"),
        (["run", "x.yaml", "--count", "-3"], "'-3'; allowed: a whole number, 1 or more"),
        (["compare", "x.yaml", "--count", "0"], "'0'; allowed: a whole number, 1 or more"),
    ],
)
def test_bad_usage(arguments: list[str], told: str) -> None:
    """Bad usage ends with 2, and with a message on standard error."""
    ended = rxpipe(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in " ".join(ended.err.replace("│", " ").split())
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_missing_extra(missing: str, tmp_path: Path) -> None:
    """Without the libraries of the extra there is one message, which names it."""
    code = (
        f"import sys\nsys.modules[{missing!r}] = None\nfrom rxpipe.cli.app import main\n"
        "sys.argv = ['rxpipe', 'run', 'x.yaml']\nsys.exit(main())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(
        r'error: the command line needs the extra cli: pip install "typer>=\S+" "rich>=\S+" '
        r"""\(in rxpipe's folder: pip install "\.\[cli\]"\)\n""",
        ended.stderr,
    )
