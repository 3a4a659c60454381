"""``rxpipe simulate --sweep``: the curve, the map, the page, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from .program import refused, rxpipe, write_config
from .test_simulate import FAILING, STAGES

OPTIONS = ["--count=40", "--latency=one=1", "--latency=two=2", "--latency=three=0.5"]
TWO = "--sweep=stages.two.concurrency"
ONE = "--sweep=stages.one.concurrency"


@pytest.fixture
def config(folder: Path) -> Path:
    """A config that has never been run."""
    return write_config(folder, FAILING, names=STAGES)


def test_curve(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each value, the knee marked, and all of it fits a terminal."""
    monkeypatch.setenv("COLUMNS", "80")
    ended = rxpipe("simulate", config, *OPTIONS, f"{TWO}=2,3,6,9,12")
    assert (ended.code, ended.err) == (0, "")
    lines = [line.rstrip() for line in ended.out.splitlines()]
    assert lines[0] == "pipeline: stages.two.concurrency, all calls are drawn from the latencies given"
    assert [line.split()[0] for line in lines[4:9]] == ["2", "3", "6", "9", "12"]
    assert [line.endswith("◀ knee") for line in lines[4:9]] == [False, False, True, False, False]
    assert max(map(len, lines[:9])) <= 80
    assert "stages.two.concurrency=6 is the smallest that reaches 95% of the best rate" in ended.out
    assert "- one simulation each, all with seed 0" in ended.out


def test_range(config: Path) -> None:
    """``A..B`` has both ends; any setting of the config can be swept, also by what is no number."""
    ended = rxpipe("simulate", config, *OPTIONS, f"{TWO}=2..4", "--json")
    found = json.loads(ended.out)
    assert found["settings"] == {"stages.two.concurrency": [2, 3, 4]}
    assert (found["pipeline"], found["run"], found["count"]) == ("pipeline", None, 40)
    ended = rxpipe("simulate", config, *OPTIONS, "--sweep=strategy=staged,per_stage")
    assert "strategy=per_stage gives most: " in ended.out
    ended = rxpipe("simulate", config, *OPTIONS, "--sweep=pipeline_config.parallel_pipelines=2,4", "--json")
    slow, fast = (point["seconds"] for point in json.loads(ended.out)["points"])
    assert slow == pytest.approx(2 * fast, rel=0.1)


@pytest.mark.slow
def test_map(config: Path) -> None:
    """A row for each value of the first setting, and a column for each of the second."""
    ended = rxpipe("simulate", config, *OPTIONS, f"{ONE}=1,2,3", f"{TWO}=2,4,6")
    lines = [line.rstrip() for line in ended.out.splitlines()]
    assert lines[2] == "rows/s: one.concurrency down, two.concurrency to the right"
    assert lines[4].split() == ["2", "4", "6"]
    assert [line.split()[0] for line in lines[6:9]] == ["1", "2", "3"]
    assert ["◀" in line for line in lines[6:9]] == [False, False, True]
    assert "stages.one.concurrency=3 and stages.two.concurrency=6 are the smallest that reach" in ended.out


@pytest.mark.slow
@pytest.mark.parametrize("sweeps", [[f"{TWO}=2,4,8"], [f"{ONE}=1,2", f"{TWO}=2,4,8"]])
def test_page(config: Path, folder: Path, sweeps: list[str]) -> None:
    """The page is well-formed, loads nothing, and has all points, in the picture and in a table."""
    ended = rxpipe("simulate", config, *OPTIONS, *sweeps, "--html=sweep.html")
    assert ended.code == 0
    assert ended.out.endswith("\npage: sweep.html\n")
    text = (folder / "sweep.html").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))
    assert "default-src 'none'" in text
    assert "://" not in text.replace("http://www.w3.org/", "")
    rows = [["".join(cell.itertext()) for cell in row] for row in root.iter("{http://www.w3.org/1999/xhtml}tr")]
    assert len(rows) == 1 + 3 * len(sweeps) if len(sweeps) == 1 else 7
    assert sum("◀ knee" in row[0] for row in rows) == 1
    assert text.count("<circle") == 3 or text.count("<rect") == 6
    told = [one.text or "" for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(told) == len(rows) - 1
    assert all("two.concurrency" in one and "rows/s" in one for one in told)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--sweep=stages.two.concurrency"], "--sweep: given the text 'stages.two.concurrency'; allowed: KEY=A..B or"),
        ([f"{TWO}=4"], "--sweep: stages.two.concurrency: given the text '4'; allowed: A..B, or 2 to 200 values"),
        ([f"{TWO}=8..4"], "--sweep: stages.two.concurrency: given the text '8..4'; allowed: A..B with A less than B"),
        ([f"{TWO}=4,no"], "--sweep: stages.two.concurrency: given false; allowed: a whole number, 1 or more"),
        ([f"{TWO}=0..3"], "--sweep: stages.two.concurrency: given 0; allowed: a whole number, 1 or more"),
        (["--sweep=stages.tow.concurrency=1,2"], "--sweep: stages.tow.concurrency: no stage is called 'tow'; did you"),
        ([f"{TWO}=1,2", f"{TWO}=3,4"], "--sweep: stages.two.concurrency: given twice; allowed: once, in --sweep or in"),
        (["--set=stages.two.concurrency=3", f"{TWO}=3,4"], "--sweep: stages.two.concurrency: given twice"),
        ([f"{ONE}=1,2", f"{TWO}=1,2", "--sweep=strategy=staged,per_item"], "--sweep: given 3 settings; allowed: one"),
        (["--sweep=stages.two.name=a,b"], "--sweep: stages.two.name: stages keep their names in a simulation"),
        ([f"{TWO}=1,2", "--html=."], "--html: . is a directory; allowed: a file's path"),
    ],
)
def test_refused(config: Path, options: list[str], told: str) -> None:
    """One clear message says what is wrong, and what is allowed."""
    message = refused("simulate", config, *OPTIONS, *options)
    assert message.startswith(told)
    assert "\n" not in message


def test_a_page_of_what_is_no_sweep(config: Path) -> None:
    """There is none."""
    ended = rxpipe("simulate", config, *OPTIONS, "--html=a.html")
    assert (ended.code, ended.out) == (2, "")
    assert "it goes with --sweep" in ended.err
