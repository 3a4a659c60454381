"""``rxpipe compare --runs``: runs that were made before, side by side in the terminal and in one file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rxpipe.cli.views.past_run import PastRun, held_up_by, idle_seconds, one_after_the_other, with_most_slots
from rxpipe.cli.views.runs_compared import lines
from rxpipe.cli.views.runs_headline import headline
from rxpipe.cli.views.runs_page import runs_page
from rxpipe.insight.finding import Finding
from rxpipe.insight.reading import Heights, RunRow, Timeline, WorkerRow
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


def past(
    number: int, seconds: float, *, name: str = "work", cost: float = 0.0, calls: int = 10, slots: int = 4
) -> PastRun:
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
    stage = StageSnapshot(name=name, concurrency=slots, most=slots, busy=2 * seconds, slot_seconds=4 * seconds)
    heights = None if calls > 10 else (Heights(stage=name, running=(4.0, 0.0), failed=(0.0, 0.0)),)
    timeline = Timeline(calls=calls, heights=heights)
    snapshot = Snapshot(at=seconds, elapsed=seconds, stages=(stage,))
    return PastRun(
        row=row,
        snapshot=snapshot,
        sentence=f"{name} holds the others up",
        timeline=timeline,
        usage={name: Usage(cost=cost)},
    )


def test_figures_and_changes() -> None:
    """What is 0 in all runs is left out, and so is a change that is none."""
    told = {title: (cells, change) for title, cells, change in lines([past(1, 20.0, cost=0.5), past(2, 10.0)])}
    assert told["duration"] == (("20.0 s", "10.0 s"), "-50%")
    assert told["rows/s"] == (("5.0", "10.0"), "+100%")
    assert told["written"] == (("100", "100"), "")
    assert told["cost"] == told["work: cost"] == (("0.50", "0"), "-100%")
    assert told["work: busy"] == (("50.0%", "50.0%"), "")
    assert not {"failed", "dropped", "tokens", "work: retried", "work: tokens"} & set(told)


def test_small_counts_have_no_percentage() -> None:
    """They have a difference."""
    told = {title: change for title, _, change in lines([past(1, 20.0), past(2, 10.0, slots=8)])}
    assert told["work: slots"] == "+4"
    few, many = past(1, 20.0), past(2, 20.0)
    few.row.counts["failed"], many.row.counts["failed"] = 20, 40
    assert {title: change for title, _, change in lines([few, many])}["failed"] == "+100%"


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (past(2, 10.0, cost=0.5, slots=8), "Changed: work 4 → 8 slots. 50% sooner (20.0 s → 10.0 s), the same cost."),
        (past(2, 24.0, cost=0.4), "20% later (20.0 s → 24.0 s), 20% lower cost (0.50 → 0.40)."),
        (past(2, 20.0), "As fast (20.0 s → 20.0 s)."),
    ],
)
def test_a_headline(last: PastRun, told: str) -> None:
    """It says what changed and what that gave, as far as it is known."""
    assert headline(past(1, 20.0, cost=0.5), last) == told


def test_a_headline_of_unequal_runs() -> None:
    """Runs of other counts of rows are compared by rows per second, and by the cost of a row."""
    last = past(2, 20.0, cost=1.0)
    last.row.counts["written"] = 200
    told = "100 → 200 rows, 100% more rows/s (5.0 → 10.0), the same cost of 1,000 rows."
    assert headline(past(1, 20.0, cost=0.5), last) == told
    last.row.counts["written"] = 0
    assert headline(past(1, 20.0), last) == ""


def worker(state: str, began: float, heartbeat: float, ended: float | None) -> WorkerRow:
    times = {"began_at": began, "heartbeat_at": heartbeat, "ended_at": ended}
    return WorkerRow(id="1", host="here", pid=1, state=state, held=0, **times)  # type: ignore[arg-type]  # times


def test_time_in_which_no_process_worked() -> None:
    """It is not in the duration. A killed process worked until its last heartbeat, and while its calls ran."""
    run = past(1, 20.0)
    none = Timeline(heights=None)
    late = worker("stopped", 12.0, 12.0, 20.0)
    stopped, lost = worker("stopped", 0.0, 0.0, 10.0), worker("lost", 0.0, 5.0, 12.1)
    assert one_after_the_other([late, stopped])
    assert not one_after_the_other([late, worker("stopped", 0.0, 0.0, 12.5)])
    assert not one_after_the_other([late])
    assert idle_seconds(run.row, [late, stopped], none) == pytest.approx(2.0)
    assert idle_seconds(run.row, [late, lost], none) == pytest.approx(7.0)
    calls = Timeline(heights=(Heights(stage="work", running=(1.0,) * 8 + (0.0,) * 12, failed=(0.0,) * 20),))
    assert idle_seconds(run.row, [late, lost], calls) == pytest.approx(4.0)
    paused = replace(run, idle=2.0)
    assert paused.seconds == 18.0
    assert paused.rate == pytest.approx(100 / 18)
    assert paused.note == "18.0 s, without 2.00 s in which no process worked"
    assert paused.note in runs_page([paused, run])


def test_what_held_up_a_run_of_several_processes() -> None:
    """The last one's verdict stays; without one, the reports of the processes are named."""
    run = past(1, 20.0)
    assert run.snapshot is not None
    one, two = worker("stopped", 0.0, 0.0, 10.0), worker("stopped", 12.0, 12.0, 20.0)
    found = Finding(verdict="found", kind="stage", name="work", sentence="work holds the others up")
    assert held_up_by(run.row, [replace(run.snapshot, finding=found)], [two, one]) == found.sentence
    assert "2 processes one after the other" in held_up_by(run.row, [run.snapshot], [two, one])
    assert held_up_by(run.row, [run.snapshot], [one]).startswith("not enough has gone through")


def test_slots_are_the_most_at_any_one_moment() -> None:
    """Not those of the last moment, when processes may have gone."""
    snapshots = [one.snapshot for one in (past(1, 1.0, slots=8), past(1, 2.0, slots=4)) if one.snapshot is not None]
    last = with_most_slots(snapshots)
    assert last is not None
    assert (last.at, last.stages[0].concurrency) == (2.0, 8)
    assert with_most_slots([]) is None


def test_a_page_of_names_that_attack_is_harmless_and_to_one_scale() -> None:
    """They are texts; a run that took half as long is half as wide; too many calls are told of."""
    root = ElementTree.fromstring(runs_page([past(1, 20.0, name=ATTACK), past(2, 10.0), past(3, 10.0, calls=11)]))
    assert not [one for one in root.iter() if one.tag.endswith(("script", "link", "img"))]
    widths = [float(one.attrib["width"]) for one in root.iter(f"{SVG}rect")]
    assert len(widths) == 2
    assert widths[0] == pytest.approx(2 * widths[1])
    assert "11 calls are too many to draw" in "".join(root.itertext())
