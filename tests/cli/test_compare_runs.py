"""``rxpipe compare --runs``: runs that were made before, side by side in the terminal and in one file."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rxpipe.cli.views.runs_compared import PastRun, lines
from rxpipe.cli.views.runs_page import runs_page
from rxpipe.insight.reading import Heights, RunRow, Timeline
from rxpipe.insight.snapshot import Snapshot, StageSnapshot
from rxpipe.operators.core.running_call import Usage

from .program import refused, rxpipe, write_config

SVG = "{http://www.w3.org/2000/svg}"
ATTACK = '<script>alert("x")</script>\x1b[31m'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A pipeline that has run twice."""
    path = write_config(tmp_path, "def work(number):\n    return {'number': number}\n", source={"range": 30})
    for _ in range(2):
        assert rxpipe("run", path, "--fresh", "--replace", "--quiet").code == 0
    return path


@pytest.mark.slow
def test_two_runs(config: Path, tmp_path: Path) -> None:
    """A table, and a page that loads nothing; nothing is run."""
    page = tmp_path / "two.html"
    ended = rxpipe("compare", config, "--runs", "1,2", "--html", page)
    assert ended.code == 0
    told = ended.out.splitlines()
    assert told[0].split() == ["run", "1", "run", "2", "change"]
    assert next(line for line in told if line.startswith("written")).split() == ["written", "30", "30"]
    assert [line.split(":")[0] for line in told if line.startswith("run ")] == ["run 1", "run 2"]
    root = ElementTree.fromstring(page.read_text("utf-8"))
    assert len(list(root.iter(f"{SVG}svg"))) == 2
    assert len(json.loads(rxpipe("runs", "-c", config, "--json").out)) == 2
    ended = rxpipe("compare", config, "--runs", "2,1", "--json")
    assert [run["number"] for run in json.loads(ended.out)["runs"]] == [2, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--runs", "1,9"], "there is no run 9"),
        (["--runs", "1"], "numbers of runs, like 1,2"),
        (["--runs", "1,x"], "numbers of runs, like 1,2"),
        (["--runs", "1,2,1,2,1,2,1"], "allowed: 6 at most"),
        (["--runs", "1,2", "--simulated"], "leave out --simulated"),
        (["--runs", "1,2", "--html", "/nowhere/two.html"], "there is no directory /nowhere"),
    ],
)
def test_what_cannot_be_compared(config: Path, options: list[str], told: str) -> None:
    """One error says why."""
    assert told in refused("compare", config, *options)


def past(number: int, seconds: float, *, name: str = "work", cost: float = 0.0, calls: int = 10) -> PastRun:
    """A run with one stage, that was busy in its first half."""
    row = RunRow(
        number=number,
        name=name,
        state="finished",
        stages=(name,),
        counts={"written": 100},
        workers=0,
        began_at=0.0,
        ended_at=seconds,
        active_at=seconds,
        usage=Usage(cost=cost),
    )
    stage = StageSnapshot(name=name, concurrency=4, most=4, busy=2 * seconds, slot_seconds=4 * seconds)
    heights = None if calls > 10 else (Heights(stage=name, running=(4.0, 0.0), failed=(0.0, 0.0)),)
    timeline = Timeline(calls=calls, heights=heights)
    snapshot = Snapshot(at=seconds, elapsed=seconds, stages=(stage,))
    return PastRun(row=row, snapshot=snapshot, sentence=f"{name} holds the others up", timeline=timeline)


def test_figures_and_changes() -> None:
    """What is 0 in all runs is left out, and so is a change that is none."""
    told = {title: (cells, change) for title, cells, change in lines([past(1, 20.0, cost=0.5), past(2, 10.0)])}
    assert told["duration"] == (("20.0 s", "10.0 s"), "-50%")
    assert told["rows/s"] == (("5.0", "10.0"), "+100%")
    assert told["written"] == (("100", "100"), "")
    assert told["cost"] == (("0.50", "0"), "-100%")
    assert told["work: busy"] == (("50.0%", "50.0%"), "")
    assert not {"failed", "dropped", "tokens", "work: retried"} & set(told)


def test_a_page_of_names_that_attack_is_harmless_and_to_one_scale() -> None:
    """They are texts; a run that took half as long is half as wide; too many calls are told of."""
    root = ElementTree.fromstring(runs_page([past(1, 20.0, name=ATTACK), past(2, 10.0), past(3, 10.0, calls=11)]))
    assert not [one for one in root.iter() if one.tag.endswith(("script", "link", "img"))]
    widths = [float(one.attrib["width"]) for one in root.iter(f"{SVG}rect")]
    assert len(widths) == 2
    assert widths[0] == pytest.approx(2 * widths[1])
    assert "11 calls are too many to draw" in "".join(root.itertext())
