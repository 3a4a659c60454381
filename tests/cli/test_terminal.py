"""What reaches the terminal: no control characters of foreign text, and lines that break between words."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
import structlog
from rich.cells import cell_len
from rich.live import Live
from rich.text import Text

from rxpipe.cli.messages import configure_logs, tell_error
from rxpipe.cli.views.summary import failure_line
from rxpipe.pipeline.outcome import CommonError
from rxpipe.screen.tables import Column, fitted
from rxpipe.screen.terminal import SafeConsole, hanging, say

from .program import Ended, rxpipe

EVIL = "\x1b[31m\x1b]0;title\x07\x9b2J\u202e\rx"  # colours, a window's title, clears the screen, reverses, overwrites
CODE = f"""
def first(i):
    return {{"question": {EVIL!r}, "reference": "x"}}

def second(value):
    raise ValueError({EVIL!r})
"""
LONG = "ValueError: the quick brown fox jumps over the lazy dog and goes on to tell of extraordinary circumstances"


@pytest.fixture
def evil(folder: Path) -> Path:
    """A config in which every name is full of control characters."""
    (folder / "evil_stages.py").write_text(CODE)
    (folder / "ids.txt").write_text("a\x1b[31m\nb\x1b]0;t\x07\n")
    path = folder / "evil\x1b[31m.yaml"
    stages = [
        {"name": f"first{EVIL}", "call": "evil_stages:first"},
        {"name": f"second{EVIL}", "call": "evil_stages:second", "retry": {"max_attempts": 1}},
    ]
    database = {"url": "sqlite:///evil\x1b[31m.db", "table": "rows\x1b[31m"}
    path.write_text(json.dumps({"stages": stages, "source": {"file": "ids.txt"}, "database": database}))
    return path


def controls(ended: Ended) -> set[str]:
    """The characters that a terminal would act on."""
    return {one for one in ended.out + ended.err if not one.isprintable() and one != "\n"}


def test_no_name_id_or_error_acts_on_the_terminal(evil: Path) -> None:
    """Whichever command shows it."""
    runs: list[list[str | Path]] = [["check", evil], ["preview", evil], ["run", evil], ["run", evil, "--quiet"]]
    for words in (*runs, runs[-2]):
        assert controls(rxpipe(*words)) == set()
    shown = rxpipe("failures", "latest", "-c", evil, "--all", "-v")
    assert r"\x1b[31m\x1b]0;title\x07\x9b2J\u202e\rx" in shown.out
    for command in ("show latest", "runs", "failures latest", "failures latest -v", "workers --all", "workers"):
        assert controls(rxpipe(*command.split(), "-c", evil)) == set()
    for command in (
        "requeue latest",
        "export latest out\x1b[31m.csv",
        "export latest out.\x1b",
        "prune --dry-run latest",
    ):
        assert controls(rxpipe(*command.split(), "-c", evil)) == set()
    for arguments in (["init", "new\x1b[31m"], ["check", "missing\x1b[31m.yaml"], ["failures", "1", "--stage", EVIL]):
        assert controls(rxpipe(*arguments)) == set()


def test_what_is_logged_does_not_act_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """IDs and errors are in log lines, too."""
    configure_logs()
    log = structlog.get_logger()
    log.warning("the item failed", id=EVIL, error=EVIL, also=ValueError(EVIL))
    try:
        raise ValueError(EVIL)
    except ValueError:
        log.exception("the item failed")
    assert not any(one for one in capsys.readouterr().err if not one.isprintable() and one != "\n")


def test_what_a_live_view_draws_does_not_act_on_the_terminal() -> None:
    """Its own movements are all that is sent."""
    file = StringIO()
    console = SafeConsole(file=file, force_terminal=True, width=80, color_system=None)
    with Live(Text(f"stage {EVIL}"), console=console, auto_refresh=False):
        pass
    assert r"\x1b[31m\x1b]0;title" in file.getvalue()
    assert "\x1b[31m" not in file.getvalue()
    assert "\u202e" not in file.getvalue()


def test_a_table_is_as_wide_as_what_it_shows() -> None:
    """Also where a name is shown longer than it is."""
    console = SafeConsole(file=StringIO(), width=80)
    table = fitted([Column(title="stage", cells=[EVIL, "b"], justify="left"), Column(title="n", cells=["1", "2"])], 80)
    lines = [segment for segment in console.render_lines(table) if segment]
    assert len({sum(cell_len(one.text) for one in line) for line in lines}) == 1
    assert r"\x1b[31m" in "".join(one.text for line in lines for one in line)


def test_text_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """A stage may be called ``[red]``, and an error speak of ``:smile:``."""
    SafeConsole().print("[red]x[/red] :smile:")
    say("[bold]y")
    assert capsys.readouterr().out == "[red]x[/red] :smile:\n[bold]y\n"


def shown(text: str, *, head: str = "", width: int = 80, terminal: bool = True) -> list[str]:
    """The lines on the screen."""
    console = SafeConsole(file=StringIO(), force_terminal=terminal, width=width, color_system=None)
    return hanging(console, Text(head), text).plain.split("\n")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_lines_break_between_words(width: int) -> None:
    """Below where the text begins; no line is too long."""
    lines = shown(LONG, head="error: ", width=width)
    assert all(len(line) <= width for line in lines)
    assert " ".join(line.strip() for line in lines) == f"error: {LONG}"
    assert len(lines) > (width < 110)


def test_lines_that_follow_are_indented_as_far_as_the_text() -> None:
    """If that leaves room for words."""
    assert shown("one two three", head="       12  stage  ", width=64 - 3)[0] == "       12  stage  one two three"
    assert shown("one " * 12, head="12  ", width=44)[1].startswith("    one")
    assert shown("one " * 12, head="x" * 40, width=60)[1].startswith("    one")


def test_in_a_pipe_nothing_is_broken() -> None:
    """Programs read lines."""
    assert shown(LONG * 5, terminal=False) == [LONG * 5]


def test_a_word_longer_than_a_line_is_left_whole() -> None:
    """It is a path or a URL, to be copied."""
    path = "/" + "folder/" * 20
    assert shown(f"no such file: {path} there", head="error: ") == [
        "error: no such file:",
        f"       {path}",
        "       there",
    ]


def test_wide_characters_count_twice() -> None:
    """As a terminal draws them."""
    lines = shown("题目 " * 30, width=41)
    assert max(map(cell_len, lines)) <= 41
    assert len(lines) == 4


def test_lines_of_a_message_stay_lines() -> None:
    """Each problem of a config has its own."""
    assert shown("a.yaml: x\na.yaml: y", head="error: ") == ["error: a.yaml: x", "       a.yaml: y"]
    long = shown("a.yaml: " + "x " * 30 + "\na.yaml: y", head="error: ", width=60)
    assert [line[:11] for line in long] == ["error: a.ya", "         x ", "       a.ya"]


def test_the_commonest_errors_break_between_words() -> None:
    """As all errors do."""
    console = SafeConsole(file=StringIO(), force_terminal=True, width=80)
    lines = failure_line(console, CommonError(stage="answering", text=LONG, count=12, same=False)).plain.split("\n")
    assert lines[0].startswith("       12  answering  ValueError: the quick")
    assert lines[1].startswith(" " * 22)
    assert " ".join(" ".join(lines).split()).endswith(f"{LONG} (numbers vary)")


def test_an_error_is_one_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Without colours."""
    tell_error(LONG * 3)
    assert capsys.readouterr().err == f"error: {LONG * 3}\n"
