"""Ctrl-C and SIGTERM, sent to the program itself."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from .program import rows, started, write_config

pytestmark = pytest.mark.slow

# Calls wait for a file: so that the test says when they go on.
WAITS = {
    "threads": (
        "import pathlib, time\ndef work(i):\n    print('a call has started', flush=True)\n"
        "    while not pathlib.Path('go').exists(): time.sleep(0.01)\n    return i\n"
    ),
    "asyncio": (
        "import asyncio, pathlib\nasync def work(i):\n    print('a call has started', flush=True)\n"
        "    while not pathlib.Path('go').exists(): await asyncio.sleep(0.01)\n    return i\n"
    ),
}
KEYS: dict[str, Any] = {"source": {"range": 100}, "pipeline_config": {"parallel_pipelines": 2}}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_first_signal_drains(folder: Path, scheduler: str, number: signal.Signals, code: int) -> None:
    """It says so, takes no more, and finishes and writes what was taken."""
    config = write_config(folder, WAITS[scheduler], scheduler=scheduler, **KEYS)
    with started("run", config, "--json", cwd=folder) as program:
        program.wait_for("a call has started", 2)
        program.send(number)
        program.wait_for("Ctrl-C again to cancel them")
        (folder / "go").touch()
        ended = program.end()
    report = json.loads(ended.out)
    assert ended.code == code
    (told,) = re.findall(r"stopping: finishing (\d+) items within 25 s, Ctrl-C again to cancel them\n", ended.err)
    assert 2 <= int(told) <= report["taken"]
    assert report["taken"] == report["written"] < 100
    assert len(rows(folder / "bank.db")) == report["written"]


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_second_signal_cancels(folder: Path, scheduler: str) -> None:
    """The second Ctrl-C cancels what was taken, and the summary says how much."""
    config = write_config(folder, WAITS[scheduler], scheduler=scheduler, **KEYS)
    with started("run", config, cwd=folder) as program:
        program.wait_for("a call has started", 2)
        program.send(signal.SIGINT)
        program.wait_for("stopping: ")
        program.send(signal.SIGINT)
        ended = program.end()
    assert ended.code == 130
    assert "cancelling " in ended.err
    assert "Traceback" not in ended.err
    counts = ended.out.splitlines()
    assert counts[0] == "stopped by Ctrl-C"
    taken, written, failed, cancelled = (int(word) for word in counts[1].split() if word.isdigit())
    assert (written, failed) == (0, 0)
    assert taken == cancelled >= 2


def test_signal_while_quiet(folder: Path) -> None:
    """Also --quiet answers to Ctrl-C, as nothing else would tell that it was heard."""
    config = write_config(folder, WAITS["threads"], **KEYS)
    with started("run", config, "--quiet", cwd=folder) as program:
        program.wait_for("a call has started", 2)
        program.send(signal.SIGINT)
        program.wait_for("stopping: ")
        (folder / "go").touch()
        ended = program.end()
    assert (ended.code, ended.out) == (130, "")


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_live_view(folder: Path, scheduler: str) -> None:
    """On a terminal the stages and the whole are drawn, and what Ctrl-C does; the summary comes after it."""
    config = write_config(folder, WAITS[scheduler], scheduler=scheduler, **KEYS)
    with started("run", config, cwd=folder, terminal=True) as program:
        program.wait_for("waiting  running")
        program.wait_for("2/2")
        program.wait_for("0 of 100  0%")
        program.wait_for("0 written · 0 failed")
        program.send(signal.SIGINT)
        program.wait_for("stopping: finishing ")
        (folder / "go").touch()
        ended = program.end()
    assert ended.code == 130
    assert "stopped by Ctrl-C" in ended.out
    assert "\x1b[?25h" in ended.err.rpartition("\x1b[?25l")[2]  # the cursor is back


def test_prints_do_not_tear_the_live_view(folder: Path) -> None:
    """What stages print, log and write to old streams goes above the view, each on a line of its own."""
    stages = (
        "import logging, sys\nlogging.basicConfig(format='%(message)s')\n"
        "def work(i):\n    print('printed', i)\n    logging.warning('logged %s', i)\n    return i\n"
    )
    with started("run", write_config(folder, stages), cwd=folder, terminal=True) as program:
        ended = program.end()
    assert ended.code == 0
    lines = {re.sub("\x1b\\[[?0-9;]*[A-Za-z]|\r", "", line) for line in ended.err.splitlines()}
    assert {f"{what} {i}" for what in ("printed", "logged") for i in (1, 2, 3)} <= lines


@pytest.mark.parametrize(("variable", "value"), [("TERM", "dumb"), ("TTY_INTERACTIVE", "0")])
def test_terminal_that_cannot_be_drawn_on(folder: Path, variable: str, value: str) -> None:
    """A terminal that cannot move the cursor gets plain lines: none, in a run this short."""
    config = write_config(folder, "def work(i): return i")
    with started("run", config, cwd=folder, terminal=True, **{variable: value}) as program:
        ended = program.end()
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_thread_of_a_pool_that_does_not_return(folder: Path, scheduler: str) -> None:
    """Python would wait for it at the program's end, for ever."""
    stages = (
        "import asyncio, threading, rxpipe.cli.app\nrxpipe.cli.app._LEAVING = 0.1\n"
        "async def work(i):\n    print('a call has started', flush=True)\n"
        "    await asyncio.to_thread(threading.Event().wait)\n"
    )
    config = write_config(folder, stages, scheduler=scheduler, **KEYS)
    with started("run", config, "--grace", "0.1", cwd=folder) as program:
        program.wait_for("a call has started", 2)
        program.send(signal.SIGTERM)
        ended = program.end()
    assert ended.code == 143
    assert "0 written" in ended.out + ended.err
