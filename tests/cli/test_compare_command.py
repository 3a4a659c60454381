"""``rxpipe compare``: options, table and page; what is compared is tested with ``rxpipe.devtools.compare``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .program import SEED, refused, rxpipe, write_config

WAYS = [(strategy, on) for on in ("threads", "asyncio") for strategy in ("staged", "per_item", "per_stage")]
WORDS = {word for way in WAYS for word in way}


@pytest.mark.slow
def test_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each way, and word of it on standard error as it begins; the config's database is left alone."""
    monkeypatch.setenv("COLUMNS", "80")
    ended = rxpipe("compare", SEED, "--count", "5")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[0].split()[0] == "run"
    assert [tuple(word for word in re.split(r"\W+", line) if word in WORDS) for line in lines[2:8]] == WAYS
    assert max(map(len, lines[:9])) <= 80
    assert [tuple(word for word in re.split(r"\W+", line) if word in WORDS) for line in ended.err.splitlines()] == WAYS
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_latency_and_page(folder: Path) -> None:
    """Latencies reach the stages they name, and the page is written."""
    ended = rxpipe("compare", SEED, "--count", "3", "--latency", "generation=0.001, grading=0.002", "--html", "c.html")
    assert ended.code == 0
    assert "generation 0.001 s, grading 0.002 s" in " ".join(ended.out.split())
    assert ended.out.endswith("timelines: c.html\n")
    assert Path("c.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.slow
def test_items_that_fail(folder: Path) -> None:
    """Failed items are counted; they were worked on, so that the comparison holds."""
    config = write_config(folder, "def work(i): raise ValueError", pipeline_config={"retry": {"max_attempts": 1}})
    ended = rxpipe("compare", config, "--count", "3")
    assert ended.code == 0
    assert ended.out.count("0, 3 failed") == 6


@pytest.mark.slow
def test_run_that_fails(folder: Path) -> None:
    """A comparison in which a run did not end well gives 1."""
    code = "import threading\ndef work(i): threading.Event().wait()\n"
    shared = {"parallel_pipelines": 1, "timeouts": {"work": 0.02}, "retry": {"max_attempts": 1}}
    ended = rxpipe("compare", write_config(folder, code, source={"range": 9}, pipeline_config=shared))
    assert ended.code == 1
    assert "stalled" in ended.out


@pytest.mark.slow
def test_control_characters_of_an_error_do_not_reach_the_terminal(folder: Path) -> None:
    """What stopped a run may be a server's text."""
    code = "from rxpipe import StopRun\n" + r"def work(i): raise StopRun('\x1b[2Jgone [bold]')"
    ended = rxpipe("compare", write_config(folder, code))
    assert ended.code == 1
    assert "\x1b" not in ended.out + ended.err
    assert r"StopRun: \x1b[2Jgone [bold]" in ended.out


@pytest.mark.parametrize(
    ("latency", "told"),
    [
        ("generatin=1", "no stage is called 'generatin'; did you mean 'generation'?"),
        ("generation=-1", "generation: given the text '-1'; allowed: a number of seconds, 0 or more"),
        ("generation=fast", "generation: given the text 'fast'"),
        ("generation=nan", "generation: given the text 'nan'"),
        ("generation=inf", "generation: given the text 'inf'"),
        ("generation=", "generation: given the text ''"),
        ("generation", "given the text 'generation'; allowed: stage=seconds"),
        ("0.03", "given the text '0.03'; allowed: stage=seconds"),
        ("generation=1,generation=2", "generation: given twice"),
        ("generation=60", "timeout of 60"),
    ],
)
def test_bad_latency(folder: Path, latency: str, told: str) -> None:
    """A latency that cannot be is told before anything runs."""
    message = refused("compare", SEED, "--latency", latency)
    assert message.removeprefix("--").startswith("latency: ")
    assert told in message


@pytest.mark.parametrize(("page", "told"), [(".", "is a directory"), ("nowhere/c.html", "there is no directory")])
def test_bad_page(folder: Path, page: str, told: str) -> None:
    """A page that cannot be written is told before anything runs."""
    message = refused("compare", SEED, "--html", page)
    assert message.startswith("--html: ")
    assert told in message


def test_simulated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is called, and that is said first; an hour's work takes a second."""
    monkeypatch.setenv("COLUMNS", "80")
    ended = rxpipe("compare", SEED, "--simulated", "--latency", "generation=30,grading=30", "--html", "c.html")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[0] == "simulated: nothing was called"
    assert [tuple(word for word in re.split(r"\W+", line) if word in WORDS) for line in lines[3:9]] == WAYS
    assert max(map(len, lines[:9])) <= 80
    assert "(simulated)" in Path("c.html").read_text(encoding="utf-8")
    assert [one.name for one in folder.iterdir()] == ["c.html"]


def test_simulated_as_json(folder: Path) -> None:
    """The figures, and that they are simulated; without latencies and without a recorded run there are none."""
    plain = json.loads(rxpipe("compare", SEED, "--simulated", "--latency", "grading=30", "--json").out)
    assert plain["simulated"] is True
    assert len(plain["runs"]) == len(WAYS)
    assert refused("compare", SEED, "--simulated").startswith("--simulated: give --latency, or a config with")
